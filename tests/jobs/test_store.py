"""Jobs outlive the process that made them, one server at a time has them, and what is wrong is said in words."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from proxy.errors import JobsUnavailable, NotFound
from proxy.jobs.store import FILE, MAX_STARTS, RESTS_S, Job, JobStore

ROOT = Path(__file__).parents[2]


def job(number: int, model: str = "fake") -> Job:
    return Job(
        id=f"job-{number}", kind="work", model=model, parameters='{"size":1}', status="queued", created=1000.0 + number
    )


def ended(one: Job, **changes: object) -> Job:
    return msgspec.structs.replace(one, ended=2000.0, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    opened = JobStore(tmp_path)
    opened.open()
    yield opened
    opened.close()


def reopened(store: JobStore, tmp_path: Path) -> JobStore:
    store.close()
    store.open()
    store.recover()
    return store


def test_store_when_nothing_was_ever_kept_then_nothing_is_made(tmp_path: Path) -> None:
    assert not JobStore(tmp_path / "jobs").exists
    assert list(tmp_path.iterdir()) == []


def test_job_when_kept_then_it_is_read_as_it_was_also_by_the_next_server(store: JobStore, tmp_path: Path) -> None:
    store.add(job(1))
    store.add(job(2))
    store.begin("job-2", 1500.0)
    store.end(ended(job(2), status="done", fraction=1.0, result={"vector": "v-1"}))
    after = reopened(store, tmp_path)
    assert after.get("job-1") == job(1)
    done = ended(job(2), status="done", fraction=1.0, result={"vector": "v-1"}, started=1500.0)
    assert after.get("job-2") == done
    assert after.find(None, 9) == [done, job(1)]
    assert after.queued() == [job(1)]
    assert after.find("other", 9) == []


def test_job_when_there_is_none_then_not_found(store: JobStore) -> None:
    with pytest.raises(NotFound, match="no job 'job-9'") as caught:
        store.get("job-9")
    assert caught.value.code == "job_not_found"


def test_job_when_the_server_ends_while_it_runs_then_it_waits_again_in_its_place(
    store: JobStore, tmp_path: Path
) -> None:
    for number in (1, 2):
        store.add(job(number))
    store.begin("job-1", 1500.0)
    store.progressed("job-1", "answering", 0.25)
    first, second = reopened(store, tmp_path).queued()
    assert (first.id, second.id) == ("job-1", "job-2")
    assert (first.status, first.doing, first.fraction, first.started) == ("queued", "answering", 0.25, 1500.0)


def test_job_when_it_ends_one_server_after_the_other_then_it_is_given_up(store: JobStore, tmp_path: Path) -> None:
    store.add(job(1))
    for _ in range(MAX_STARTS - 1):
        store.begin("job-1", 1500.0)
        assert reopened(store, tmp_path).get("job-1").status == "queued"
    store.begin("job-1", 1500.0)
    given_up = reopened(store, tmp_path).get("job-1")
    assert given_up.status == "failed" and given_up.ended is not None
    assert given_up.error == "the server ended 6 times while it ran, each time without getting further"


def test_job_when_servers_ended_while_it_ran_then_it_rests_longer_each_time(store: JobStore, tmp_path: Path) -> None:
    store.add(job(1))
    store.add(job(2))
    rests = []
    for _ in range(MAX_STARTS - 1):
        store.begin("job-1", 1500.0)
        rests.append(reopened(store, tmp_path).rests())
    assert rests == [{}, {}, *({"job-1": rest_s} for rest_s in RESTS_S)]
    store.begin("job-1", 1500.0)
    store.progressed("job-1", "answering", 0.1)
    assert reopened(store, tmp_path).rests() == {}


@pytest.mark.parametrize("further", [True, False])
def test_job_when_it_gets_further_each_time_then_it_is_not_given_up(
    store: JobStore, tmp_path: Path, further: bool
) -> None:
    store.add(job(1))
    for time in range(2 * MAX_STARTS):
        store.begin("job-1", 1500.0)
        store.progressed("job-1", "answering", 0.1 * time if further else 0.0)
        reopened(store, tmp_path)
    assert store.get("job-1").status == ("queued" if further else "failed")


def test_job_when_it_is_interrupted_in_order_then_that_does_not_count(store: JobStore, tmp_path: Path) -> None:
    store.add(job(1))
    for _ in range(2 * MAX_STARTS):
        store.begin("job-1", 1500.0)
        store.put_back(["job-1"])
    store.begin("job-1", 1500.0)
    assert reopened(store, tmp_path).get("job-1").status == "queued"


def test_job_when_cancelled_while_it_is_about_to_begin_then_it_stays_so(store: JobStore, tmp_path: Path) -> None:
    store.add(job(1))
    store.end(ended(job(1), status="cancelled"))
    store.begin("job-1", 1500.0)
    store.put_back(["job-1"])
    assert reopened(store, tmp_path).get("job-1").status == "cancelled"


def test_open_when_another_server_has_it_then_it_says_so_until_that_one_is_gone(
    store: JobStore, tmp_path: Path
) -> None:
    store.add(job(1))
    store.close()
    hold = (
        "import sys; from pathlib import Path; from proxy.jobs.store import JobStore; s = JobStore(Path(sys.argv[1]))"
    )
    code = f"{hold}; s.open(); s.begin('job-1', 1.0); print('open', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    with other:
        assert other.stdout is not None and other.stdout.readline() == b"open\n"
        with pytest.raises(JobsUnavailable, match="Another server runs the jobs of .*; give each its own jobs_dir"):
            store.open()
        other.send_signal(signal.SIGKILL)
    store.open()
    store.recover()
    assert store.get("job-1").status == "queued"


def test_open_when_the_file_is_something_else_then_it_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(os.urandom(4096))
    with pytest.raises(JobsUnavailable, match=f"{FILE} can't be used: file is not a database"):
        JobStore(tmp_path).open()


def test_open_when_a_newer_server_wrote_it_then_it_is_left_alone(store: JobStore, tmp_path: Path) -> None:
    store.add(job(1))
    store.close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JobsUnavailable, match="written by a newer version"):
        store.open()


def test_open_when_the_folder_can_not_be_made_then_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JobsUnavailable, match="can't be used"):
        JobStore(tmp_path / "file" / "jobs").open()


def test_store_when_closed_then_it_says_so(store: JobStore) -> None:
    store.close()
    store.close()
    with pytest.raises(JobsUnavailable, match="closed"):
        store.find(None, 9)


def test_list_when_there_are_many_then_it_comes_in_pages(store: JobStore) -> None:
    for number in range(5):
        store.add(job(number))
    assert [each.id for each in store.find(None, 2)] == ["job-4", "job-3"]
    assert [each.id for each in store.find(None, 9, after="job-3")] == ["job-2", "job-1", "job-0"]
    with pytest.raises(NotFound):
        store.find(None, 9, after="job-9")


def test_list_when_a_row_is_damaged_then_the_others_are_told(store: JobStore, tmp_path: Path) -> None:
    for number in range(3):
        store.add(job(number))
    store.close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE jobs SET result = '{' WHERE id = 'job-1'")
        connection.execute("UPDATE jobs SET status = 'odd' WHERE id = 'job-2'")
    connection.close()
    store.open()
    assert [each.id for each in store.find(None, 9)] == ["job-0"]
    with pytest.raises(NotFound):
        store.get("job-1")


def test_add_when_the_file_is_gone_then_it_says_so(store: JobStore, tmp_path: Path) -> None:
    (tmp_path / FILE).unlink()
    with pytest.raises(JobsUnavailable, match="gone"):
        store.add(job(1))

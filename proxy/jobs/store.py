"""Where jobs are kept: one SQLite file, which one server at a time holds open.

Knows what a job's record is, and nothing of what jobs do or of who runs them. Safe from any thread.
"""

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from proxy.errors import JobsUnavailable, NotFound
from proxy.protocol.jobs import JobPoint, JobStatus

logger = logging.getLogger(__name__)

FILE = "jobs.sqlite"
FORMAT = 1
# So many starts in a row, each ended by the server's end and none getting further, may be chance: a crash of something
# else, or the machine's. A job that has had more of them rests first, longer each time, so that a server that it ends
# is of use meanwhile. One that ends servers also after its rests has failed: it is the job that ends them.
MAX_STARTS_AT_ONCE = 3
RESTS_S = (60.0, 240.0, 960.0)
MAX_STARTS = MAX_STARTS_AT_ONCE + len(RESTS_S)
LOCK_TIMEOUT_S = 1.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    parameters TEXT NOT NULL,
    status TEXT NOT NULL,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    doing TEXT NOT NULL DEFAULT '',
    fraction REAL NOT NULL DEFAULT 0,
    error TEXT,
    result TEXT,
    starts INTEGER NOT NULL DEFAULT 0
)
"""
Values = Sequence[Any] | Mapping[str, Any]  # of a statement's places: in order, or by name

FIELDS = "id, kind, model, parameters, status, created, started, ended, doing, fraction, error, result"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job's record. Times are Unix seconds.

    `parameters` are those of its kind, as JSON. `doing` says in words what it is at, `fraction` how much of it is done,
    0 to 1, and `left_s` how long the rest may take, None where that is not known. `error` is why it failed, in words;
    `result` is what a done one made. `points` are those of the curve it measures, while it runs; they are not kept.
    """

    id: str
    kind: str
    model: str
    parameters: str
    status: JobStatus
    created: float
    started: float | None = None
    ended: float | None = None
    doing: str = ""
    fraction: float = 0.0
    left_s: float | None = None
    error: str | None = None
    result: dict[str, Any] | None = None
    points: tuple[JobPoint, ...] = ()


def unknown(job_id: str) -> NotFound:
    """The error for an id that is no job's."""
    return NotFound(f"There is no job {job_id!r}.", param="job_id", code="job_not_found")


class JobStore:
    """The jobs of one folder. Every method but `exists` and `close` raises JobsUnavailable, in words, where the file
    can't be used."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @property
    def exists(self) -> bool:
        """Whether there ever was a job."""
        return self._path.exists()

    def open(self) -> None:
        """Take the file, and make it where there is none. From now on no other server can use it."""
        with self._saying_why():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self._path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                # Two servers would both go on with the same unfinished jobs.
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("BEGIN EXCLUSIVE")
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version not in (0, FORMAT):
                    raise JobsUnavailable(f"{self._path} was written by a newer version of this server")
                connection.execute(SCHEMA)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
        with self._lock:
            self._connection = connection

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def recover(self) -> None:
        """Make those that ran when the last server ended wait again. One that has ended several servers in a row, as
        by using up all memory, has failed."""
        error = f"the server ended {MAX_STARTS} times while it ran, each time without getting further"
        self._write(
            "UPDATE jobs SET status = 'failed', error = ?, ended = ? WHERE status = 'running' AND starts >= ?",
            (error, time.time(), MAX_STARTS),
        )
        self._write("UPDATE jobs SET status = 'queued' WHERE status = 'running'")

    def add(self, job: Job) -> None:
        """Keep a new job."""
        if not self._path.exists():  # SQLite would go on writing into a file that is gone from its folder
            raise JobsUnavailable(f"{self._path} is gone; start the server again.")
        self._write(
            "INSERT INTO jobs (id, kind, model, parameters, status, created) VALUES (?, ?, ?, ?, ?, ?)",
            (job.id, job.kind, job.model, job.parameters, job.status, job.created),
        )

    def get(self, job_id: str) -> Job:
        """One job. NotFound."""
        for job in self._read("WHERE id = ?", (job_id,)):
            return job
        raise unknown(job_id)

    def find(self, model: str | None, limit: int, after: str | None = None) -> list[Job]:
        """Up to `limit` jobs, of this model if given, newest first, from the one that follows the job `after` on.
        NotFound for an `after` that is no job's."""
        if after is not None:
            self.get(after)
        return self._read(
            "WHERE (:model IS NULL OR model = :model) "
            "AND (:after IS NULL OR number < (SELECT number FROM jobs WHERE id = :after)) "
            "ORDER BY number DESC LIMIT :limit",
            {"model": model, "after": after, "limit": limit},
        )

    def queued(self) -> list[Job]:
        """The jobs that wait, in the order they came."""
        return self._read("WHERE status = 'queued' ORDER BY number", ())

    def rests(self) -> dict[str, float]:
        """How many seconds waiting jobs are to rest before they start, by their ids; the others need none."""
        found = self._execute(
            "SELECT id, starts FROM jobs WHERE status = 'queued' AND starts >= ?", (MAX_STARTS_AT_ONCE,)
        )
        return {job_id: RESTS_S[starts - MAX_STARTS_AT_ONCE] for job_id, starts in found}

    def begin(self, job_id: str, started: float) -> None:
        """It runs now, as it first did at `started`."""
        self._write(
            "UPDATE jobs SET status = 'running', started = ?, starts = starts + 1 WHERE id = ? AND ended IS NULL",
            (started, job_id),
        )

    def progressed(self, job_id: str, doing: str, fraction: float) -> None:
        """How far a running job is."""
        self._write(
            "UPDATE jobs SET doing = :doing, starts = iif(:fraction > fraction, 1, starts), "
            "fraction = max(fraction, :fraction) WHERE id = :id",
            {"doing": doing, "fraction": fraction, "id": job_id},
        )

    def put_back(self, job_ids: Iterable[str]) -> None:
        """Running jobs wait again: they were interrupted, and that was no fault of theirs."""
        for job_id in job_ids:
            self._write("UPDATE jobs SET status = 'queued', starts = 0 WHERE id = ? AND ended IS NULL", (job_id,))

    def end(self, job: Job) -> None:
        """It has ended as the record says."""
        result = None if job.result is None else msgspec.json.encode(job.result).decode()
        self._write(
            "UPDATE jobs SET status = ?, ended = ?, doing = ?, fraction = ?, error = ?, result = ? WHERE id = ?",
            (job.status, job.ended, job.doing, job.fraction, job.error, result, job.id),
        )

    def _write(self, statement: str, values: Values = ()) -> None:
        self._execute(statement, values)

    def _read(self, condition: str, values: Values) -> list[Job]:
        rows = self._execute(f"SELECT {FIELDS} FROM jobs {condition}", values)
        jobs = (_job(dict(zip(FIELDS.split(", "), row, strict=True))) for row in rows)
        return [job for job in jobs if job is not None]

    def _execute(self, statement: str, values: Values) -> list[tuple[Any, ...]]:
        with self._saying_why(), self._lock:
            if self._connection is None:
                raise JobsUnavailable("The queue of jobs is closed.")
            return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _saying_why(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "locked" in str(error):
                message = f"Another server runs the jobs of {self._path.parent}; give each its own jobs_dir."
            else:
                message = f"The jobs in {self._path} can't be used: {error}"
            raise JobsUnavailable(message) from error


def _job(row: dict[str, Any]) -> Job | None:
    """The job in a row; None, with a line in the log, where the row is damaged."""
    try:
        result = None if row["result"] is None else msgspec.json.decode(row["result"])
        return msgspec.convert(row | {"result": result}, Job)
    except (msgspec.MsgspecError, TypeError) as error:
        logger.warning("the record of the job %s is damaged and passed over: %s", row["id"], error)
        return None

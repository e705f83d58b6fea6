"""`persona-proxy vectors`: what each command prints and does, and one line for every mistake."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from proxy.cli import main as cli
from proxy.engines.base import Event, Generation, Run
from proxy.steering.extract import extract
from proxy.vectors_hub import push
from tests.fakes import save_vector
from tests.steering.pretend import WORK, PretendEngine, PretendJudge, make_trait
from vector_store import JudgedBy, PlaceGain, Side, VectorStore
from vector_store.exchange import directions, export_vector
from vector_store.formats import FORMAT_NAMES


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the vectors are kept; commands run beside it."""
    monkeypatch.setenv("PERSONA_PROXY_VECTORS_DIR", str(tmp_path / "vectors"))
    monkeypatch.setenv("PERSONA_PROXY_TRAITS_DIR", str(tmp_path / "traits"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "vectors"


@pytest.fixture
def id_(folder: Path) -> str:
    return save_vector(folder, "silly", "silly", "serious", model="org/one", score=0.5)


def vectors(*arguments: str) -> int:
    return cli.main(["vectors", *arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a mistake."""
    capsys.readouterr()
    assert vectors(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("persona-proxy: ") and error.count("\n") == 1, error
    return error


NEWEST = ("--model", "org/one", "--trait", "silly")


def test_list_when_there_are_none_then_says_of_what(id_: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert vectors("list", "--model", "org/two", "--trait", "silly") == 0
    assert "There are none of org/two and silly;" in capsys.readouterr().out
    for named in ((), ("--trait", "silly"), ("--trait", "serious")):
        assert vectors("list", "--model", "org/one", *named) == 0
        assert id_ in capsys.readouterr().out


def test_show_then_everything_that_is_known(id_: str, capsys: pytest.CaptureFixture[str]) -> None:
    for asked in ((id_,), NEWEST, ("--model", "org/one", "--trait", "serious")):
        assert vectors("show", *asked) == 0
        shown = capsys.readouterr().out
        for part in ("silly / serious in org/one", id_, "native", "4 blocks of 8", "block 1", "up to coefficient 1.5"):
            assert part in shown
        assert "now in use" in shown and "the blocks that were tried" not in shown
    assert "no vector 'nope'" in refused(capsys, "show", "nope")
    assert "no vector of 'silly' for the model 'other'" in refused(
        capsys, "show", "--model", "other", "--trait", "silly"
    )
    assert "no vector of 'serious'" in refused(capsys, "show", "--model", "other", "--trait", "serious")
    assert "by its id, or the one in use by --model" in refused(capsys, "show", "--model", "org/one")


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_export_then_import_under_another_model_then_the_same_directions(
    format: str, id_: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vectors("export", id_, "--format", format, "--out", "out.file") == 0
    assert "wrote out.file" in capsys.readouterr().out
    store = VectorStore([folder])
    assert Path("out.file").read_bytes() == export_vector(store.get(id_), format)  # type: ignore[arg-type]
    assert "already there" in refused(capsys, "export", id_, "--format", format, "--out", "out.file")
    assert vectors("import", "out.file", *NEWEST, "--format", format) == 0
    printed = capsys.readouterr().out
    if format == "safetensors":
        assert printed == f"saved as {id_}\nnow in use\n"
        return
    assert "persona-proxy vectors measure silly-" in printed
    newest = store.list("org/one")[0]
    assert newest.origin == "imported" and not newest.poles
    np.testing.assert_array_equal(directions(store.get(newest.id), "positive"), directions(store.get(id_), "positive"))
    assert vectors("list") == 0
    assert "never measured" in capsys.readouterr().out


def test_export_when_no_file_is_named_then_the_id_is_its_name(id_: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert vectors("export", id_, "--format", "gguf", "--pole", "serious") == 0
    assert "times 1, at the positions last_prompt" in capsys.readouterr().out
    assert Path(f"{id_}.gguf").is_file()
    assert "--out" not in refused(capsys, "export", id_, "--pole", "grumpy")
    assert "format: 'exe' is not known" in refused(capsys, "export", id_, "--format", "exe")
    assert "nowhere" in refused(capsys, "export", id_, "--out", "nowhere/x")


def test_import_when_the_file_is_wrong_then_one_line(
    id_: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "can't be read" in refused(capsys, "import", "nowhere.pt", *NEWEST)
    Path("text").write_text("text")
    assert "in no format that is known here" in refused(capsys, "import", "text", *NEWEST)
    assert "no trait 'sily'" in refused(capsys, "import", "text", "--model", "a", "--trait", "sily")
    monkeypatch.setenv("PERSONA_PROXY_MAX_UPLOAD_BYTES", "1024")
    Path("large").write_bytes(b"x" * 1025)
    assert "larger than max_upload_bytes, 1024" in refused(capsys, "import", "large", *NEWEST)


class Pretended(PretendEngine):
    closed = False

    def close(self) -> None:
        type(self).closed = True


@pytest.mark.parametrize("later", [False, True])
def test_import_when_it_is_measured_then_or_later_then_it_can_be_used(
    later: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("proxy.engines.registry.load_engine", lambda settings, max_batch: Pretended())
    monkeypatch.setattr("proxy.steering.judge.default_kind", lambda info, trait: PretendJudge())
    monkeypatch.setattr("proxy.steering.traits.trait.Traits.current", {"silly": make_trait()})
    native = extract(PretendEngine(), make_trait(), PretendJudge(), rollouts=2, questions=4, seed=3, work=WORK)
    Path("silly.pt").write_bytes(export_vector(native, "hotwire"))
    asked = ("--model", "org/pretend", "--trait", "silly")
    flags = ("--format", "hotwire", *asked)
    assert vectors("import", "silly.pt", *flags, *(() if later else ("--measure",))) == 0
    store = VectorStore([folder])
    if later:
        imported = store.list()[0]
        assert vectors("measure", *asked) == 0
        assert {header.parent for header in store.list()} == {None, imported.id}
    measured = next(header for header in store.list() if header.poles)
    assert (measured.fingerprint, measured.poles["positive"].block) == (native.fingerprint, 1)
    assert measured.id in capsys.readouterr().out and Pretended.closed


class Counted(PretendEngine):
    """Breaks off, as Ctrl-C does, at the `dies_at`-th answer that it is to begin."""

    begun = 0
    dies_at = 0

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        type(self).begun += 1
        if self.begun == self.dies_at:
            raise KeyboardInterrupt
        return super().start(generation, on_event)

    def close(self) -> None: ...


def test_measure_when_broken_off_then_it_says_how_to_go_on_and_does_unless_fresh(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERSONA_PROXY_JOBS_DIR", str(folder.with_name("jobs")))
    monkeypatch.setattr("proxy.engines.registry.load_engine", lambda settings, max_batch: Counted())
    monkeypatch.setattr("proxy.jobs.kinds.vectors.default_kind", lambda info, trait: PretendJudge())
    monkeypatch.setattr("proxy.steering.traits.trait.Traits.current", {"silly": make_trait()})
    native = extract(PretendEngine(), make_trait(), PretendJudge(), rollouts=2, questions=4, seed=3, work=WORK)
    Path("silly.pt").write_bytes(export_vector(native, "hotwire"))

    def answers(*arguments: str, dies_at: int = 0, code: int = 0) -> int:
        monkeypatch.setattr(Counted, "begun", 0)
        monkeypatch.setattr(Counted, "dies_at", dies_at)
        assert vectors(*arguments) == code
        return Counted.begun

    flags = ("--format", "hotwire", "--model", "org/pretend", "--trait", "silly", "--measure")
    answers("import", "silly.pt", *flags, dies_at=150, code=130)
    (imported,) = VectorStore([folder]).list()
    again = f"silly: broken off; persona-proxy vectors measure {imported.id} goes on from here"
    assert again in capsys.readouterr().out
    n_rest = answers("measure", imported.id)
    assert "silly: going on where an earlier run was broken off (--fresh starts over)" in capsys.readouterr().out
    n_whole = answers("measure", imported.id)
    assert n_whole - 150 <= n_rest < n_whole
    answers("measure", imported.id, dies_at=150, code=130)
    assert answers("measure", imported.id, "--fresh") == n_whole
    assert list((folder.with_name("jobs") / "parts").iterdir()) == []


def test_measure_when_it_was_not_imported_then_nothing_is_loaded(id_: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"the vector {id_!r} was not imported" in refused(capsys, "measure", id_)


@pytest.mark.parametrize("scored", [True, False])
def test_show_then_who_judged_and_no_score_of_a_judge_that_is_none(
    scored: bool, id_: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = VectorStore([folder])
    judge = JudgedBy(name="likelihood ratio", auroc=0.91 if scored else 0.75, n=80, scored=scored)
    assert vectors("show", store.save(dataclasses.replace(store.get(id_), id="", judge=judge))) == 0
    shown = capsys.readouterr().out
    assert f"  judged by: likelihood ratio, AUROC {judge.auroc} on 80 held-out answers" in shown
    assert ("score 0.50" in shown, "unscored" in shown) == (scored, not scored)


def test_delete_then_the_version_or_all_of_them(id_: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = VectorStore([folder])
    other = store.save(dataclasses.replace(store.get(id_), id="", created="2026-01-01T00:00:00Z"))
    assert vectors("delete", other) == 0
    assert capsys.readouterr().out == f"deleted {other}\n"
    assert vectors("delete", *NEWEST) == 0
    assert capsys.readouterr().out == f"deleted {id_}\n" and store.list() == []
    assert "came with the package" in refused(capsys, "delete", "--model", "demo-qwen2", "--trait", "silly")
    assert "of a damaged one" in refused(capsys, "delete", id_)
    assert "no vector 'silly'" in refused(capsys, "delete", *NEWEST)
    assert "by --model and --trait" in refused(capsys, "delete", "--model", "org/one")


class FakeHub:
    """What HfApi does with one repository, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commits: list[list[str]] = []
        self.error: Exception | None = None
        self.private: bool | None = None

    def __call__(self) -> "FakeHub":
        return self

    def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> str:
        assert exist_ok
        if self.error:
            raise self.error
        self.private = private
        return f"https://hub.example/{repo}"

    def list_repo_files(self, repo: str) -> list[str]:
        if self.error:
            raise self.error
        return [str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()]

    def hf_hub_download(self, repo: str, name: str) -> str:
        return str(self.folder / name)

    def create_commit(self, repo: str, operations: list[CommitOperationAdd], *, commit_message: str) -> None:
        self.commits.append([operation.path_in_repo for operation in operations])
        for operation in operations:
            path = self.folder / operation.path_in_repo
            path.parent.mkdir(parents=True, exist_ok=True)
            assert isinstance(operation.path_or_fileobj, bytes)
            path.write_bytes(operation.path_or_fileobj)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setattr("proxy.vectors_hub.HfApi", fake)
    return fake


def test_push_then_pull_elsewhere_then_the_same_vectors_with_a_card(
    id_: str, folder: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vectors("push", "owner/repo", id_, "--private") == 0
    assert capsys.readouterr().out == "pushed 1 to https://hub.example/owner/repo\n" and hub.private
    second = save_vector(folder, "dishonest", "dishonest", "honest", model="org/one")
    assert vectors("push", "owner/repo", "--model", "org/one") == 0
    assert hub.commits == [
        [f"org--one/silly/{id_}.safetensors", "README.md"],
        [f"org--one/dishonest/{second}.safetensors", "README.md"],
    ]
    card = (hub.folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: safetensors\n") and 'base_model: ["org/one"]' in card
    for part in (
        "## silly / serious in org/one",
        "## dishonest / honest in org/one",
        "| silly | 1 | last_prompt | last_prompt | 0.5 | 0 to 1.5 | 0.50 |",
        "| honest | 1 | last_prompt | last_prompt | 0.5 | 0 to 1.5 | not measured |",
        "persona-proxy vectors pull owner/repo",
        "origin: native",
    ):
        assert part in card, part

    monkeypatch.setenv("PERSONA_PROXY_VECTORS_DIR", str(folder.with_name("elsewhere")))
    capsys.readouterr()
    for _ in range(2):
        assert vectors("pull", "owner/repo", "--trait", "silly") == 0
        assert capsys.readouterr().out == f"saved {id_}\n"
    pulled, original = (VectorStore([place]).get(id_) for place in (folder.with_name("elsewhere"), folder))
    assert export_vector(pulled, "safetensors") == export_vector(original, "safetensors")


def test_pull_when_there_is_nothing_or_it_is_damaged_then_one_line(
    hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "holds no persona vectors" in refused(capsys, "pull", "owner/repo")
    bad = hub.folder / "m" / "t" / "bad.safetensors"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"\xff" * 40)
    assert "owner/repo/m/t/bad.safetensors: not a safetensors file" in refused(capsys, "pull", "owner/repo")


def responded(status: int) -> Any:
    """Any: which library's response the hub's client says it takes differs by its version."""
    import httpx

    return httpx.Response(status, request=httpx.Request("GET", "https://x"))


def not_found() -> Exception:
    return RepositoryNotFoundError("404", response=responded(404))


def failing() -> Exception:
    return HfHubHTTPError("500 oh dear", response=responded(500))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (not_found, 2, "owner/repo: there is no such repository on the Hugging Face hub, or not for you"),
        (lambda: OfflineModeIsEnabled("offline"), 2, "HF_HUB_OFFLINE"),
        (failing, 1, "owner/repo: the hub failed: 500 oh dear"),
        (lambda: ConnectionError("no route"), 1, "owner/repo: the hub failed: no route"),
    ],
)
def test_hub_when_it_refuses_or_fails_then_one_line_says_why(
    error: Any, code: int, said: str, id_: str, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.error = error()
    for command in (("push", "owner/repo", id_), ("pull", "owner/repo")):
        assert vectors(*command) == code
        printed = capsys.readouterr().err
        assert said in printed and printed.count("\n") == 1


def test_push_when_there_are_none_then_the_hub_is_not_asked(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such vectors" in refused(capsys, "push", "owner/repo", "--model", "org/none")
    assert hub.commits == [] and hub.private is None


def test_card_when_a_file_says_something_strange_then_it_stays_text(folder: Path, hub: FakeHub) -> None:
    store = VectorStore([folder])
    strange = dataclasses.replace(
        store.get(save_vector(folder, "silly", "silly", "serious")), id="x", method="<script>\n# [link](http://x) |"
    )
    push("owner/repo", [strange])
    card = (hub.folder / "README.md").read_text()
    assert "<script>" not in card.replace("\\<script\\>", "") and "\n# [link]" not in card


def test_list_then_a_line_of_names_and_which_are_in_use(
    id_: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = VectorStore([folder])
    rough = store.save(dataclasses.replace(store.get(id_), id="", origin="imported"))
    assert vectors("list", "--model", "org/one") == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["MODEL", "TRAIT", "ID", "MADE", "ORIGIN", "USE", "PLACES"]
    at = header.index("USE")
    assert [(id_ in line, line[at : at + 6].strip()) for line in lines] == [(False, "kept"), (True, "in use")]
    assert vectors("use", rough) == 0
    assert capsys.readouterr().out == f"{rough}: now in use; go back with: persona-proxy vectors use {id_}\n"
    assert vectors("show", id_) == 0
    assert f"because {rough} was asked for; use it with: persona-proxy vectors use {id_}" in capsys.readouterr().out
    assert vectors("show", *NEWEST) == 0 and rough in capsys.readouterr().out
    assert "no vector 'nope'" in refused(capsys, "use", "nope")


def test_show_when_blocks_were_tried_then_each_figure_stands_below_what_it_is(
    id_: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = VectorStore([folder])
    tried: list[tuple[Side, int, float]] = [("positive", 2, 0.5), ("positive", 3, 0.25), ("negative", 3, -0.1)]
    gains = [
        PlaceGain(side=side, block=block, span="response", positions="response", relative_dose=1.0, gain=gain)
        for side, block, gain in tried
    ]
    assert vectors("show", store.save(dataclasses.replace(store.get(id_), id="", gains=gains))) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = ["block", "silly", "gain", "serious", "gain"]
    titles = ["block", "silly", "gain", "serious", "gain"]
    names = next(number for number, line in enumerate(lines) if line.split() == titles)
    assert [line.split() for line in lines[names + 1 : names + 3]] == [["2", "0.50", "-"], ["3", "0.25", "-0.10"]]
    assert not lines[names + 3].startswith("    ")
    assert "as a share of what its instruction adds" in "".join(lines) and "effect" not in "".join(lines)

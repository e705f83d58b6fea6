"""A function called, its result handed back and the answer read, by many clients, on the small real models.

Whether the answer is any good is the model's affair. That the call follows the function's parameters is ours: it is
kept to them while it is decoded. `make test-real` gets the models and the clients that the test group lacks.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.app import create_app
from proxy.catalogue.known import FIRST
from proxy.engines.registry import Registry
from proxy.settings import ModelSettings
from tests.clients.tool_users import CLIENTS
from tests.fakes import running, settings_in
from tests.real_models import weights_of

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")
pytestmark = pytest.mark.timeout(600)  # with the loading of a model

MODELS = (FIRST, "qwen2.5-coder-0.5b-instruct")
OWN = ("openai", "openai-responses", "openai-agents")  # in the test group; the others have an environment of theirs
OTHERS = Path(__file__).parents[2] / ".venv-clients" / "bin" / "python"
SCRIPT = Path(__file__).with_name("tool_users.py")
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # it would look for prices on the network


@pytest.fixture(scope="module", params=MODELS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server's URL and its model."""
    model = request.param
    registry = Registry([ModelSettings(model, str(weights_of(model)), engine="llama_cpp")], 4)
    registry.start()
    try:
        assert registry.wait(300)
        with running(create_app(settings_in(tmp_path_factory.mktemp("server")), registry)) as url:
            yield f"{url}/v1", model
    finally:
        registry.close()


@pytest.mark.parametrize("client", CLIENTS)
def test_client_when_the_model_calls_then_arguments_by_the_schema_and_an_answer_from_the_result(
    served: tuple[str, str], client: str
) -> None:
    python = Path(sys.executable) if client in OWN else OTHERS
    if not python.is_file():
        pytest.skip(f"{client} is not installed; `make test-real` does it")
    command = [str(python), str(SCRIPT), client, *served]
    done = subprocess.run(command, env={**os.environ, **QUIET}, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    print(f"{served[1]}, {client}: {told}")
    [arguments] = told["called"]
    assert arguments.keys() == {"city", "unit"} and arguments["unit"] in ("C", "F") and arguments["city"]
    assert told["answer"].strip()

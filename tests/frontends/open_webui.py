"""Open WebUI from its package: a process with a folder of its own, set up as docs/guide/front-ends.md tells."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx

FUNCTION = Path(__file__).parents[2] / "clients" / "open-webui" / "personas.py"
START_S = 600.0


class OpenWebUI:
    """In front of the server at `url`, with `task_model` for titles. `command` is the package's; `log` is a file."""

    def __init__(self, command: Path, folder: Path, url: str, task_model: str) -> None:
        folder.mkdir(parents=True)
        self.log = folder / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environ = {
            **os.environ,
            "DATA_DIR": str(folder),
            "HOME": str(folder),
            "WEBUI_SECRET_KEY": "of a test",
            "WEBUI_AUTH": "false",
            "OPENAI_API_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": "any",
            "TASK_MODEL_EXTERNAL": task_model,
            "ENABLE_OLLAMA_API": "false",
            # Nothing is to be fetched from anywhere.
            "OFFLINE_MODE": "true",
            "HF_HUB_OFFLINE": "1",
            "RAG_EMBEDDING_ENGINE": "openai",
            "ANONYMIZED_TELEMETRY": "false",
        }
        environ.pop("PYTHONPATH", None)  # it has packages of its own
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(command), "serve", "--host", "127.0.0.1", "--port", str(port)],
                stdout=log,
                stderr=log,
                env=environ,
                cwd=folder,
            )
        self._client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=120, trust_env=False)

    def until_ready(self) -> None:
        """Return once it answers, signed in as its administrator. RuntimeError where it ends or takes ten minutes."""
        deadline = time.monotonic() + START_S
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Open WebUI does not start: {self.log.read_text(errors='replace')[-2000:]}")
            try:
                if self._client.get(f"{self.url}/health").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(1)
        signed_in = self._client.post("/auths/signin", json={"email": "", "password": ""}).raise_for_status()
        self._client.headers["authorization"] = f"Bearer {signed_in.json()['token']}"

    def install_function(self) -> None:
        """Our function, on for every model."""
        form = {
            "id": "personas",
            "name": "Personas",
            "content": FUNCTION.read_text("utf-8"),
            "meta": {"description": "A menu of personas"},
        }
        self._client.post("/functions/create", json=form).raise_for_status()
        self._client.post("/functions/id/personas/toggle").raise_for_status()
        self._client.post("/functions/id/personas/toggle/global").raise_for_status()

    def without_tools(self, model: str) -> None:
        """Leave the built-in tools out for a model with a short context."""
        meta = {"capabilities": {"builtin_tools": False}}
        form = {"id": model, "name": model, "meta": meta, "params": {}, "base_model_id": None}
        self._client.post("/models/create", json=form).raise_for_status()

    def end(self) -> None:
        self._client.close()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

"""Requests that schemathesis makes from the server's own OpenAPI document."""

import re
import subprocess
from pathlib import Path

from tests.hold.figures import Figure, none_of
from tests.hold.server import Server

CHECK = "schemathesis"
# What these answer is another server's doing, or goes on until a job ends.
LEFT_OUT = r"/api/vectors/(push|pull)|/events|/load|/unload"
CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance"


def described(server: Server, program: Path, examples: int, folder: Path) -> list[Figure]:
    """So many examples for each operation, of what the document allows and of what it does not."""
    if not program.exists():
        return [Figure(CHECK, "not run", f"there is no {program}", "make hold installs it", False)]
    command = [
        *(str(program), "run", f"{server.url}/schema/openapi.json", "--checks", CHECKS, "--seed", "1", "--no-color"),
        *("--max-examples", str(examples), "--phases", "examples,coverage,fuzzing", "--no-shrink", "--mode", "all"),
        *("--exclude-path-regex", LEFT_OUT, "--request-timeout", "60", "--continue-on-failure", "--warnings", "off"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    said = ended.stdout + ended.stderr
    (folder / "schemathesis.txt").write_text(said)
    cases = re.findall(r"(\d+) generated", said.replace(",", ""))
    failures = [] if ended.returncode == 0 else re.findall(r"^_+ (.+) _+$", said, re.M) or [said[-500:]]
    return [
        none_of(CHECK, f"operations with a fault, in {cases[-1] if cases else '?'} cases", failures),
        none_of(CHECK, "tracebacks in the log", server.tracebacks()),
    ]

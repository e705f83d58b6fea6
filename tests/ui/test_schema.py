"""The page at /schema works without internet: all of it comes from the server."""

import gzip
import re

import httpx
import pytest

from proxy.settings import Settings
from proxy.ui.schema.fetch import FILES, FOLDER, files_of
from tests.fakes import FakeEngine, serving


def test_the_page_when_opened_then_nothing_in_it_is_from_elsewhere(settings: Settings) -> None:
    with serving(settings, FakeEngine()) as url, httpx.Client(base_url=url) as client:
        page = client.get("/schema")
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        assert "//" not in page.text and 'load-fonts="false"' in page.text
        addresses = re.findall(r'(?:src|href|spec-url)="([^"]+)"', page.text)
        assert addresses == ["data:,", "/schema/rapidoc-min.js", "/schema/openapi.json"]
        assert client.get("/schema/openapi.json").json()["paths"]["/v1/chat/completions"]
        assert client.get("/schema/openapi.yaml").status_code == 200
        script = client.get("/schema/rapidoc-min.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8" and "rapi-doc" in script.text
        assert script.headers["content-encoding"] == "gzip"
        plain = client.get("/schema/rapidoc-min.js", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers and plain.content == script.content


def test_what_is_kept_then_is_the_script_with_its_licences() -> None:
    assert all((FOLDER / name).exists() for name in FILES)
    assert "MIT License" in (FOLDER / "LICENSE.txt").read_text()
    assert b"RapiDoc" in gzip.decompress((FOLDER / "rapidoc-min.js.gz").read_bytes())


def test_an_archive_when_it_is_another_then_nothing_is_taken_from_it() -> None:
    with pytest.raises(ValueError, match="its checksum is"):
        files_of(b"something else")

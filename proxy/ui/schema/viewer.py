"""The page at /schema: the API's reference, shown by RapiDoc, which is served from this package.

Nothing in it is loaded from elsewhere, so that it works without internet. `fetch.py` beside it tells where the script
is from, and gets and checks it.
"""

import gzip
import html
from functools import cache
from pathlib import Path
from typing import Any

from litestar import Request, Response, Router, get
from litestar.openapi.plugins import OpenAPIRenderPlugin

SCRIPT = Path(__file__).parent / "rapidoc-min.js.gz"
KEPT_S = 24 * 3600  # by browsers

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<script type="module" src="{script}"></script>
</head>
<body>
<rapi-doc spec-url="{schema}" load-fonts="false" regular-font="system-ui, sans-serif"
  mono-font="ui-monospace, monospace" render-style="read" show-header="false" schema-style="table"
  allow-spec-url-load="false" allow-spec-file-load="false"></rapi-doc>
</body>
</html>
"""


class ViewerPlugin(OpenAPIRenderPlugin):
    """Serves the page, and the script beside it."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page, with addresses on this server."""
        schema = self.get_openapi_json_route(request)
        script = f"{schema.rpartition('/')[0]}/{SCRIPT.name.removesuffix('.gz')}"
        title = openapi_schema["info"]["title"]
        return _PAGE.format(title=html.escape(title), script=html.escape(script), schema=html.escape(schema)).encode()

    def receive_router(self, router: Router) -> None:
        """Have the script served too."""
        router.register(get_script)


@get(f"/{SCRIPT.name.removesuffix('.gz')}", include_in_schema=False)
async def get_script(request: Request[Any, Any, Any]) -> Response[bytes]:
    """RapiDoc, compressed for whoever takes that, as browsers do."""
    headers = {"cache-control": f"public, max-age={KEPT_S}", "vary": "accept-encoding"}
    packed = "gzip" in request.headers.get("accept-encoding", "")
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(_script(packed), media_type="text/javascript", headers=headers)


@cache
def _script(packed: bool) -> bytes:
    content = SCRIPT.read_bytes()
    return content if packed else gzip.decompress(content)

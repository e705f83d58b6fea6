"""A file in a request: the body as it is, or the part `file` of a multipart form. Knows nothing of what it holds."""

from typing import Any

from litestar import Request
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType

from proxy.errors import InvalidRequest


async def uploaded(request: Request[Any, Any, Any], what: str) -> tuple[bytes, dict[str, str]]:
    """The file, and what the form's other parts say. InvalidRequest where there is none, saying `what` is wanted."""
    fields: dict[str, str] = {}
    content: bytes | None = None
    if request.content_type[0] == RequestEncodingType.MULTI_PART:
        form = await request.form()
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        file = form.get("file")
        if isinstance(file, UploadFile):
            content = await file.read()
    else:
        content = await request.body()
    if not content:
        raise InvalidRequest(f"The body is missing; possible: {what}.", param="file")
    return content, fields

"""A file in a request: the body as it is, or the part `file` of a multipart form. Knows nothing of what it holds.

Only a few are read and worked on at once, so that uploads together need no more memory than those few.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from litestar import Request
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType

from proxy.errors import InvalidRequest, Overloaded

MAX_FIELD = 1000  # characters of a form's other parts
AT_ONCE = 2  # files that are taken in at the same time: each may need several times its size
MAX_WAITING = 16  # others, nothing of which has been read yet
RETRY_AFTER_S = 2


class UploadPlaces:
    """How many files are taken in at once, from the first byte to the last thing that is done with them."""

    def __init__(self) -> None:
        self._free = anyio.Semaphore(AT_ONCE)
        self._waiting = 0

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Waits for a place and holds it. Overloaded where too many wait already."""
        try:
            self._free.acquire_nowait()
        except anyio.WouldBlock:
            await self._turn()
        try:
            yield
        finally:
            self._free.release()

    async def _turn(self) -> None:
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many files are being uploaded; try again in a moment.", retry_after_s=RETRY_AFTER_S)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1


@asynccontextmanager
async def uploaded(
    request: Request[Any, Any, Any], places: UploadPlaces, what: str
) -> AsyncIterator[tuple[bytes, dict[str, str]]]:
    """The file, and what the form's other parts say; a place is held until whoever asked is done with them. Overloaded,
    and InvalidRequest where there is no file, saying `what` is wanted, or a part is too long."""
    async with places.taken():
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
        for name, value in fields.items():
            if len(value) > MAX_FIELD:
                raise InvalidRequest(f"{name:.40}: it is longer than {MAX_FIELD} characters", param=name[:40])
        yield content, fields

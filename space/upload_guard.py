"""Keeps what visitors send from filling the disk before anybody has looked at it."""

import os
from contextlib import suppress
from pathlib import Path

from starlette.responses import PlainTextResponse

UPLOAD_ROUTE = "/gradio_api/upload"
FULL = "There is no room for more files at the moment. Try again later."


class UploadGuard:
    """ASGI middleware: answers 507 to an upload that would bring Gradio's temporary folder over `limit` bytes."""

    def __init__(self, app, folder: str, limit: int):
        self._app, self._folder, self._limit = app, Path(folder), limit

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith(UPLOAD_ROUTE) and self._is_full(scope):
            await PlainTextResponse(FULL, status_code=507)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_full(self, scope) -> bool:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return folder_bytes(self._folder) + (int(length) if length.isdigit() else 0) > self._limit


def folder_bytes(folder: Path) -> int:
    """Bytes of all files under a folder."""
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with suppress(OSError):  # deleted meanwhile
                total += os.lstat(os.path.join(parent, file)).st_size
    return total

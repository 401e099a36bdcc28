"""Videos at URLs, handed on in the ranges that a player asks for: those below one place, and no others."""

import io
import os
import re
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dmae.modeling import VIDEO_SUFFIXES, RemoteVideo, RemoteVideoError

BLOCK = 256 << 10  # bytes
UNCLEAR = ("..", "%2e", "%2f", "%5c", "?", "#", "\\")  # in a path of which a web server might make another one
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")  # longer numbers are no place in a file


class DistantVideos:
    """The videos below a URL.

    An index is data: one that lists other URLs gets nothing out with this page's credentials.
    """

    def __init__(self, root: str):
        self._root = root.rstrip("/") + "/"

    def find(self, path: str | None) -> RemoteVideo | None:
        """The video that an index lists, if it may be handed on."""
        if not path or not path.startswith(self._root) or os.path.splitext(path)[1].lower() not in VIDEO_SUFFIXES:
            return None
        unclear = any(part in path.lower() for part in UNCLEAR)
        return None if unclear and self._root.lower().startswith("http") else RemoteVideo(path)

    def answer(self, video: RemoteVideo, request: Request, **options) -> Response | None:
        """The video, or the range of it that is asked for; None where it cannot be read. `options` of the response."""
        try:
            file: Any = video.open()
        except RemoteVideoError:
            return None
        size = file.seek(0, io.SEEK_END)
        start, end = _range(request.headers.get("range", ""), size)
        headers = options.pop("headers", {}) | {"Accept-Ranges": "bytes"}
        if start >= end:
            file.close()
            return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
        headers |= {"Content-Length": str(end - start)}
        partial = end - start < size
        if partial:
            headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
        return StreamingResponse(_read(file, start, end), 206 if partial else 200, headers=headers, **options)


def _range(header: str, size: int) -> tuple[int, int]:
    """First and one past the last byte; all of them where no range that we know is asked for."""
    found = RANGE.fullmatch(header.strip())
    if found is None or found.group(0) == "bytes=-":
        return 0, size
    first, last = found.groups()
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def _read(file: Any, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            block = file.read(min(BLOCK, end - start))
            if not block:
                return
            start += len(block)
            yield block

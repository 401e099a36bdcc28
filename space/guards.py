"""What programs send that makes no sense, or would fill the disk before anybody has looked at it: kept from what reads
it, answered in one line, and one line in the log."""

import logging
import os
from contextlib import suppress
from pathlib import Path

import gradio as gr
from gradio.route_utils import FnIndexInferError
from starlette.responses import PlainTextResponse

from dmae.modeling import one_line

LARGEST = 4_000_000  # bytes of a request that is no upload; a query has a thousand characters
MOST_BRACKETS = 500  # so that no JSON is nested as deep as Python's parser can go
UPLOAD_ROUTE = "/gradio_api/upload"
FULL = "There is no room for more files at the moment. Try again later."

log = logging.getLogger(__name__)


class Page(gr.Blocks):
    """Blocks that take values of the wrong kind or number for the caller's mistake, not the server's; what a caller
    leaves out at the end is as it is by default, so that a call goes on working where an endpoint learns more.
    """

    async def preprocess_data(self, block_fn, inputs, *args, **kwargs):
        left_out = [getattr(block, "value", None) for block in block_fn.inputs[len(inputs) :]]
        if None not in left_out:
            inputs = [*inputs, *left_out]
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except Exception as error:  # of any kind: whatever a component trips over
            log.warning("%s was called with values that it does not take: %s", block_fn.name, one_line(error, 200))
            told = str(error) if isinstance(error, gr.Error) else "These are not the values that are asked for here."
            raise gr.Error(told, print_exception=False) from None


class RequestGuard:
    """ASGI middleware: answers 413 to a request over `LARGEST` bytes or `MOST_BRACKETS`, of whatever said length."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        body = scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH")
        if not body or scope["path"].rstrip("/").endswith(UPLOAD_ROUTE):
            return await self._app(scope, receive, send)
        messages, size, brackets = [], 0, 0
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
            if messages[-1]["type"] == "http.disconnect":
                return None  # nobody waits for an answer any more
            part = messages[-1].get("body", b"")
            size, brackets = size + len(part), brackets + part.count(b"[") + part.count(b"{")
            if size > LARGEST or brackets > MOST_BRACKETS:
                told = f"At most {LARGEST} bytes and {MOST_BRACKETS} brackets are read."
                return await PlainTextResponse(told, 413)(scope, receive, send)
        waiting = iter(messages)

        async def replay():
            return next(waiting, None) or await receive()

        try:
            return await self._app(scope, replay, send)
        except FnIndexInferError:
            return await PlainTextResponse("There is no such endpoint.", 404)(scope, receive, send)


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

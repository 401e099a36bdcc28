"""Keeps requests that are far too large, or nested far too deep, from what reads them."""

from starlette.responses import PlainTextResponse

from .upload_guard import UPLOAD_ROUTE

LARGEST = 4_000_000  # bytes of a request that is no upload; a query has a thousand characters
MOST_BRACKETS = 500  # so that no JSON is nested as deep as Python's parser can go


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
            part = messages[-1].get("body", b"")
            size, brackets = size + len(part), brackets + part.count(b"[") + part.count(b"{")
            if size > LARGEST or brackets > MOST_BRACKETS:
                told = f"At most {LARGEST} bytes and {MOST_BRACKETS} brackets are read."
                return await PlainTextResponse(told, 413)(scope, receive, send)
        waiting = iter(messages)

        async def replay():
            return next(waiting, None) or await receive()

        return await self._app(scope, replay, send)

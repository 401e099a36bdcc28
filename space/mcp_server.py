"""What agents reach through Gradio's MCP server: the tools below, as JSON, and where it matters only with a token."""

import hmac
import ipaddress
import json
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse

from dmae.modeling import MissingPackageError

ROUTE = "/gradio_api/mcp"
TOOLS = frozenset(("/search", "/explain", "/cut"))
ADDRESSES = frozenset(("video", "thumbnail", "clip"))  # values of answers that are relative to the page


def check_mcp() -> None:
    """Raises `MissingPackageError` where what it takes is not installed."""
    if find_spec("mcp") is None:
        raise MissingPackageError("to serve agents, install the MCP SDK: pip install 'dmae-video-search[mcp]'")


def prepare(server) -> None:
    """Leaves Gradio's server the tools alone, and has them answer with JSON and whole addresses."""
    server.tool_to_endpoint = {name: end for name, end in server.tool_to_endpoint.items() if end in TOOLS}

    def as_json(outputs: list, root_url: str) -> list:
        texts = (json.dumps(_whole(output, root_url.rstrip("/")), ensure_ascii=False) for output in outputs)
        return [server.types.TextContent(type="text", text=text) for text in texts]

    server.postprocess_output_data = as_json


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    host = host.strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class McpGuard:
    """ASGI middleware: who may call the MCP server.

    With a token, who sends it. Without one, who calls this machine by its own name, which a page of elsewhere does
    not, also where its name was made to lead here.
    """

    def __init__(self, app, token: str):
        self._app, self._token = app, token

    async def __call__(self, scope, receive, send):
        refusal = self._refusal(scope) if scope["type"] == "http" and ROUTE in scope["path"] else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope) -> PlainTextResponse | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if self._token:
            given = headers.get(b"authorization", "").removeprefix("Bearer ")
            if hmac.compare_digest(given.encode(), self._token.encode()):
                return None
            told = "Send the token that the server was started with: Authorization: Bearer TOKEN"
            return PlainTextResponse(told, 401, {"WWW-Authenticate": "Bearer"})
        names = [urlsplit(f"//{headers.get(b'host', '')}").hostname]
        if b"origin" in headers:
            names.append(urlsplit(headers[b"origin"]).hostname)
        if all(is_loopback(name or "") for name in names):
            return None
        return PlainTextResponse("Agents of other machines need a token: set DMAE_TOKEN", 403)


def _whole(value: Any, root_url: str) -> Any:
    """An answer whose relative addresses have become whole ones."""
    if isinstance(value, list):
        return [_whole(item, root_url) for item in value]
    if isinstance(value, dict):
        return {
            key: f"{root_url}/{item}" if key in ADDRESSES and isinstance(item, str) else _whole(item, root_url)
            for key, item in value.items()
        }
    return value

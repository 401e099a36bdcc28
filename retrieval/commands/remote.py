"""`dmae search QUERY --server URL`: asks a running `dmae serve`, or the search service on Ray, over HTTP.

It starts at once: neither the model nor the index is here, and nothing outside the standard library is imported but
what prints the table.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import Request, urlopen

from dmae.modeling.errors import DmaeError, InputError, one_line, printable

from ..inputs import as_unicode
from ..media import names_media
from . import search

SECONDS_TO_ANSWER = 60  # without a sign of life; who waits in the queue of `dmae serve` gets one every 15 seconds
SECONDS_TO_REACH = 10
LOADING = "X-Progress"  # a header of the page that `dmae serve` shows while it loads
APP_ID = "gradio_api/app_id"  # what any Gradio page answers to
ENDPOINT = "gradio_api/call/search"
UNDERSTOOD = frozenset(("query", "server", "json", "k"))  # by every server, or done here
UNDERSTOOD_BY_RAY = frozenset(("offset", "where", "min_score"))
# The fields of a hit as `dmae search --json` prints them, with what stands where a server does not tell one.
NUMBERS = ("score", "confidence", "start", "end", "best_time", "duration")
FIELDS = {"id": None, "path": None, "score": None, "confidence": None, "start": None, "end": None, "best_time": None}
FIELDS |= {"moments": [], "duration": None, "frame_times": [], "frame_scores": [], "metadata": {}}
ADDRESSES = ("video", "thumbnail")  # relative to the server's page


class ServerError(DmaeError):
    """A server that cannot be reached, is none of ours, or failed: one line that names its address and the remedy."""


class Answer(NamedTuple):
    """What a server found: hits as JSON values, best first, and the parts of its index that did not answer."""

    hits: list[dict]
    partial: list[str]


def search_server(args: argparse.Namespace) -> int:
    """Prints what a server answers; 1 where a part of its index did not.

    Raises:
        InputError: a query or an option that no server understands. ServerError: no answer.
    """
    if args.query is None:
        raise InputError("no query: --server answers one QUERY per call, give it")
    if names_media(args.query):
        raise InputError(f"{args.query!r} is an image or a video, and a server reads texts: search with --index")
    query, page = as_unicode(args.query), _address(args.server)
    given = _given(args)
    with _server_errors(page):
        answer = _ask(page, query, args.k, given)
    for name in answer.partial:
        print(f"a part of the index did not answer: {printable(name)}", file=sys.stderr)
    if args.json:
        print(printable(json.dumps(answer.hits, ensure_ascii=False)))
    else:
        search.print_hits(query, [SimpleNamespace(**hit) for hit in answer.hits], args.offset, {})
    return 1 if answer.partial else 0


def _ask(page: str, query: str, k: int, given: dict[str, Any]) -> Answer:
    home = _gradio_page(page)
    refused = [name for name in given if home or name not in UNDERSTOOD_BY_RAY]
    if refused:
        names = {argument: option for option, argument in search.PARTS.items()}
        name = names.get(refused[0], refused[0]).replace("_", "-")
        raise InputError(f"the server at {page} knows no --{name}: leave it out, or search with --model and --index")
    return Answer(_ask_gradio(home, query, k), []) if home else _ask_ray(page, {"query": query, "k": k} | given)


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The options that not every server understands and that are not as they are by default."""
    parser = argparse.ArgumentParser()
    search.configure(parser)
    defaults = vars(parser.parse_args([]))
    wanted = {name: getattr(args, name) for name in defaults if name not in UNDERSTOOD}
    return {name: value for name, value in wanted.items() if value != defaults[name]}


def _gradio_page(page: str) -> str | None:
    """The address of the Gradio page, where redirects lead; None where there is none."""
    try:
        with _open(page + APP_ID, seconds=SECONDS_TO_REACH) as response:
            if response.headers.get(LOADING):
                raise ServerError(f"the server at {page} is still loading its model and index: ask again in a moment")
            found = json.load(response)
            return response.url.removesuffix(APP_ID) if isinstance(found, dict) and "app_id" in found else None
    except HTTPError as error:
        if error.code in (404, 405):
            return None
        raise


def _ask_gradio(page: str, query: str, k: int) -> list[dict]:
    body = json.dumps({"data": [query, k, 0, 0]}).encode()
    with _open(page + ENDPOINT, body) as response:
        event = json.load(response)["event_id"]
    with _open(f"{page}{ENDPOINT}/{event}") as response:
        kind, data = _last_event(response)
    if kind == "error":
        told = data.get("error") if isinstance(data, dict) else data
        if not told:
            raise ServerError(f"the server at {page} failed to answer: look at its log")
        raise ServerError(f"the server at {page} refuses: {' '.join(str(told).split())}")
    return [_hit(entry, page) for entry in data[0]]


def _last_event(lines: Iterable[bytes]) -> tuple[str, Any]:
    """The name and the data of the event that ends a stream of them."""
    name = ""
    for line in lines:
        field, _, value = line.decode().strip().partition(": ")
        if field == "event":
            name = value
        elif field == "data" and name in ("complete", "error"):
            return name, json.loads(value)
    raise HTTPException("it broke off")


def _ask_ray(page: str, asked: dict[str, Any]) -> Answer:
    with _open(f"{page}search?{urlencode(asked)}") as response:
        found = json.load(response)
    return Answer([_hit(entry, page) for entry in found["hits"]], [str(name) for name in found.get("partial", ())])


def _hit(entry: dict, page: str) -> dict:
    """A hit with every field that `dmae search --json` prints, in the same order, and the server's own after them."""
    hit = FIELDS | entry
    if not isinstance(hit["id"], str) or hit["score"] is None:
        raise ValueError("a hit without id or score")
    for name in NUMBERS:
        if hit[name] is not None and not isinstance(hit[name], int | float):
            raise ValueError(f"{name} is no number")
    return hit | {name: urljoin(page, str(hit[name])) for name in ADDRESSES if hit.get(name)}


def _open(url: str, body: bytes | None = None, *, seconds: float = SECONDS_TO_ANSWER) -> HTTPResponse:
    headers = {"Content-Type": "application/json", "User-Agent": "dmae"}
    return urlopen(Request(url, body, headers), timeout=seconds)


def _address(text: str) -> str:
    """The address of a server with a slash at its end."""
    example = "give --server an address such as http://127.0.0.1:7860"
    try:
        parts = urlsplit(text)
        host, _ = (parts.hostname or "").encode("idna"), parts.port
    except ValueError:
        raise InputError(f"{text!r} is no address: {example}") from None
    if parts.scheme not in ("http", "https") or not host or not text.isascii() or " " in text:
        raise InputError(f"{text!r} is no address: {example}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"


@contextmanager
def _server_errors(page: str) -> Iterator[None]:
    """Turns whatever goes wrong between here and a server into one line."""
    server = f"the server at {page}"
    try:
        yield
    except DmaeError:
        raise
    except HTTPError as error:
        refusal = _refusal(error)
        if refusal:
            raise ServerError(f"{server} refuses: {refusal}") from error
        remedy = {401: "it asks for a login", 403: "it lets only some in"}.get(error.code, "is it `dmae serve`?")
        remedy = "look at its log, or ask again later" if error.code >= 500 else remedy
        raise ServerError(f"{server} answers {error.code} {error.reason}: {remedy}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or one_line(reason)
        raise ServerError(f"{server} gives no answer ({reason}): is `dmae serve` running there?") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:  # not the JSON that ours sends
        raise ServerError(f"{server} does not answer as `dmae serve` does: give the address of one") from error


def _refusal(error: HTTPError) -> str | None:
    """What the search service on Ray says is wrong with the question."""
    try:
        told = json.loads(error.read())
        if "error" in told:
            return " ".join(str(told["error"]).split())
        return "; ".join(f"{wrong['loc'][-1]}: {wrong['msg']}" for wrong in told["detail"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError, IndexError):  # another server, another form
        return None

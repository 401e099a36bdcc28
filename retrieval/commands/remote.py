"""`dmae search QUERY --server URL`: asks a running `dmae serve`, or the search service on Ray, over HTTP.

It starts at once: neither the model nor the index is here, and nothing outside the standard library is imported but
what prints the table.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from http.client import HTTPException
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError

from dmae.modeling.errors import InputError, printable

from ..inputs import as_unicode
from ..media import names_media
from ..serving.client import (
    Answer,
    SearchClient,
    ServerError,
    ServerRefusal,
    check_sure,
    hit_values,
    open_url,
    server_address,
    server_errors,
)
from . import search

SECONDS_TO_REACH = 10
WANTED = "`dmae serve`"  # at the address
LOADING = "X-Progress"  # a header of the page that `dmae serve` shows while it loads
APP_ID = "gradio_api/app_id"  # what any Gradio page answers to
ENDPOINT = "gradio_api/call/search"
UNDERSTOOD = frozenset(("query", "server", "json", "k", "min_confidence"))  # by every server, or done here
UNDERSTOOD_BY_RAY = frozenset(("offset", "where", "min_score"))


def search_server(args: argparse.Namespace) -> int:
    """Prints what a server answers; 1 where a part of its index did not.

    Raises:
        InputError: a query or an option that no server understands. ServerError: no answer.
    """
    if args.query is None:
        raise InputError("no query: --server answers one QUERY per call, give it")
    if names_media(args.query):
        raise InputError(f"{args.query!r} is an image or a video, and a server reads texts: search with --index")
    query, page = as_unicode(args.query), server_address(args.server, "--server")
    given = _given(args)
    with server_errors(page, WANTED):
        answer = _ask(page, query, args.k, args.min_confidence, given)
    for name in answer.partial:
        print(f"a part of the index did not answer: {printable(name)}", file=sys.stderr)
    if args.json:
        print(printable(json.dumps(answer.hits, ensure_ascii=False)))
    else:
        hits = [SimpleNamespace(**hit) for hit in answer.hits]
        search.print_hits(query, hits, args.offset, {}, only_sure=args.min_confidence is not None)
    return 1 if answer.partial else 0


def _ask(page: str, query: str, k: int, min_confidence: float | None, given: dict[str, Any]) -> Answer:
    home = _gradio_page(page)
    refused = [name for name in given if home or name not in UNDERSTOOD_BY_RAY]
    if refused:
        names = {argument: option for option, argument in search.PARTS.items()}
        name = names.get(refused[0], refused[0]).replace("_", "-")
        raise InputError(f"the server at {page} knows no --{name}: leave it out, or search with --model and --index")
    if home:
        return Answer(_ask_gradio(home, query, k, min_confidence), [])
    return SearchClient(page, what=WANTED).search(query=query, k=k, min_confidence=min_confidence, **given)


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
        with open_url(page + APP_ID, seconds=SECONDS_TO_REACH) as response:
            if response.headers.get(LOADING):
                raise ServerError(f"the server at {page} is still loading its model and index: ask again in a moment")
            found = json.load(response)
            return response.url.removesuffix(APP_ID) if isinstance(found, dict) and "app_id" in found else None
    except HTTPError as error:
        if error.code in (404, 405):
            return None
        raise


def _ask_gradio(page: str, query: str, k: int, min_confidence: float | None) -> list[dict]:
    wanted = [] if min_confidence is None else [min_confidence]
    body = json.dumps({"data": [query, k, 0, 0, *wanted]}).encode()
    with open_url(page + ENDPOINT, body) as response:
        event = json.load(response)["event_id"]
    with open_url(f"{page}{ENDPOINT}/{event}") as response:
        kind, data = _last_event(response)
    if kind == "error":
        told = data.get("error") if isinstance(data, dict) else data
        if not told:
            raise ServerError(f"the server at {page} failed to answer: look at its log")
        raise ServerRefusal(f"the server at {page} refuses: {' '.join(str(told).split())}")
    hits = [hit_values(entry, page) for entry in data[0]]
    if min_confidence:
        check_sure(hits, page)
    return hits


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

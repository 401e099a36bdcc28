"""Asks the search service on Ray over HTTP. Nothing outside the standard library is imported."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import Request, urlopen

from dmae.modeling.errors import DmaeError, InputError, one_line

SECONDS_TO_ANSWER = 60  # without a sign of life; who waits in the queue of `dmae serve` gets one every 15 seconds
# The fields of a hit as `dmae search --json` prints them, with what stands where a server does not tell one.
NUMBERS = ("score", "confidence", "start", "end", "best_time", "duration")
FIELDS = {"id": None, "path": None, "score": None, "confidence": None, "start": None, "end": None, "best_time": None}
FIELDS |= {"moments": [], "duration": None, "frame_times": [], "frame_scores": [], "metadata": {}}
ADDRESSES = ("video", "thumbnail")  # relative to the server's page


class ServerError(DmaeError):
    """A server that cannot be reached, is none of ours, or failed: one line that names its address and the remedy."""


class ServerRefusal(ServerError):
    """What a server says is wrong with a question."""


class Answer(NamedTuple):
    """What a server found: hits as JSON values, best first, the parts of its index that did not answer, and how many
    parts there are."""

    hits: list[dict]
    partial: list[str]
    parts: int = 1


class SearchClient:
    """The endpoints of `retrieval.serving.app`; what each takes and answers is told there.

    Args:
        address: of the service. option: where it was given, for messages. what: should be running there, likewise.
        seconds: to wait for an answer.

    Raises:
        InputError: it is no address. In the methods:
        ServerRefusal: a question that the service does not take, such as one about a video that it has not.
        ServerError: no answer.
    """

    def __init__(
        self,
        address: str,
        *,
        option: str = "--server",
        what: str = "the search service",
        seconds: float = SECONDS_TO_ANSWER,
    ):
        self.page, self.what, self.seconds = server_address(address, option), what, seconds

    def search(self, **asked) -> Answer:
        answer = self._hits("search", asked)
        if asked.get("min_confidence"):
            check_sure(answer.hits, self.page)
        return answer

    def rescore(self, **asked) -> Answer:
        return self._hits("rescore", asked)

    def ask(self, path: str, **asked) -> dict:
        """The JSON object that another endpoint answers."""
        with self.errors(), self._open(path, asked) as response:
            found = json.load(response)
            if not isinstance(found, dict):
                raise ValueError("no object")
            return found

    def thumbnail(self, **asked) -> bytes | None:
        """A JPEG; None where there is no picture."""
        with self.errors(), self._open("thumbnail", asked) as response:
            return response.read() or None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Whatever goes wrong with this server's answers, as one line."""
        with server_errors(self.page, self.what):
            yield

    def _hits(self, path: str, asked: dict[str, Any]) -> Answer:
        with self.errors(), self._open(path, asked) as response:
            found = json.load(response)
            hits = [hit_values(entry, self.page) for entry in found["hits"]]
            return Answer(hits, [str(name) for name in found.get("partial", ())], int(found.get("shards", 1)))

    def _open(self, path: str, asked: dict[str, Any]) -> HTTPResponse:
        given = {name: value for name, value in asked.items() if value is not None}
        return open_url(f"{self.page}{path}?{urlencode(given, doseq=True)}", seconds=self.seconds)


def server_address(text: str, option: str) -> str:
    """The address of a server with a slash at its end.

    Raises:
        InputError: it is no address, and the option that asks for one.
    """
    told = f"{text!r} is no address: give {option} an address such as http://127.0.0.1:7860"
    try:
        parts = urlsplit(text)
        host, _ = (parts.hostname or "").encode("idna"), parts.port
    except ValueError:
        raise InputError(told) from None
    if parts.scheme not in ("http", "https") or not host or not text.isascii() or " " in text:
        raise InputError(told)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"


def open_url(url: str, body: bytes | None = None, *, seconds: float = SECONDS_TO_ANSWER) -> HTTPResponse:
    headers = {"Content-Type": "application/json", "User-Agent": "dmae"}
    return urlopen(Request(url, body, headers), timeout=seconds)


def hit_values(entry: dict, page: str) -> dict:
    """A hit with every field that `dmae search --json` prints, in the same order, and the server's own after them."""
    hit = FIELDS | entry
    if not isinstance(hit["id"], str) or hit["score"] is None:
        raise ValueError("a hit without id or score")
    for name in NUMBERS:
        if hit[name] is not None and not isinstance(hit[name], int | float):
            raise ValueError(f"{name} is no number")
    return hit | {name: urljoin(page, str(hit[name])) for name in ADDRESSES if hit.get(name)}


def check_sure(hits: list[dict], page: str) -> None:
    """Raises `ServerError` where a server tells no confidence, as one of an older version, which leaves out no hit."""
    if any(hit["confidence"] is None for hit in hits):
        raise ServerError(f"the server at {page} does not tell how sure a result is: leave out the confidence wanted")


@contextmanager
def server_errors(page: str, what: str) -> Iterator[None]:
    """Turns whatever goes wrong between here and a server into one line; `what` should be running there."""
    server = f"the server at {page}"
    try:
        yield
    except DmaeError:
        raise
    except HTTPError as error:
        refusal = _refusal(error) if error.code < 500 else None
        if refusal:
            raise ServerRefusal(f"{server} refuses: {refusal}") from error
        remedy = {401: "it asks for a login", 403: "it lets only some in"}.get(error.code, f"is it {what}?")
        remedy = "look at its log, or ask again later" if error.code >= 500 else remedy
        raise ServerError(f"{server} answers {error.code} {error.reason}: {remedy}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or one_line(reason)
        raise ServerError(f"{server} gives no answer ({reason}): is {what} running there?") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:  # not the JSON that ours sends
        raise ServerError(f"{server} does not answer as {what} does: give the address of one") from error


def _refusal(error: HTTPError) -> str | None:
    """What the search service says is wrong with the question."""
    try:
        told = json.loads(error.read())
        if "error" in told:
            return " ".join(str(told["error"]).split())
        return "; ".join(f"{wrong['loc'][-1]}: {wrong['msg']}" for wrong in told["detail"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError, IndexError):  # another server, another form
        return None

"""What a visitor searches: the open index and, beside it, the videos of their own.

Addresses of videos and their frames are relative, to hold behind any proxy, and made of ids, never of paths.
"""

import base64
import binascii
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePath
from typing import Any

import numpy as np

from dmae.modeling import VideoFrames
from dmae.retrieval import EncodedQuery, Explanation, ScoreOptions, SearchHit, VideoIndex, VideoIndexError

from .texts import UserError

PREFIX = "media"
INDEX = "index"  # the scope of the open index; a visitor's own videos have their secret as the scope
SEPARATOR = "|"  # between several queries
MAX_QUERIES = 4
MAX_QUERY = 1000  # characters
MAX_RESULTS = 100
REMEMBERED_QUERIES = 256
NEAR_COPY = 0.95  # cosine of frames that people take for the same picture


def encode_id(video_id: str) -> str:
    """An id, whatever its characters, as one path segment."""
    return base64.urlsafe_b64encode(video_id.encode()).decode().rstrip("=")


def decode_id(segment: str) -> str | None:
    """The id in a path segment, or None where it holds none."""
    try:
        padded = segment.encode("ascii") + b"=" * (-len(segment) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        return None


def video_url(scope: str, video_id: str) -> str:
    return f"{PREFIX}/{scope}/{encode_id(video_id)}/video"


def frame_url(scope: str, video_id: str, seconds: float) -> str:
    """Address of the picture of the frame that the index holds at a moment; 0 where it knows no moments."""
    return f"{PREFIX}/{scope}/{encode_id(video_id)}/{round(1000 * seconds)}.jpg"


def clip_url(scope: str, video_id: str, start: float, end: float) -> str:
    """Address of a span (s) as a file of its own."""
    return f"{PREFIX}/{scope}/{encode_id(video_id)}/clip/{round(1000 * start)}-{round(1000 * end)}"


@dataclass(frozen=True, eq=False)
class Query:
    """A query of any kind and how to name it: a text, or an image or a video to find more like it. None has been
    encoded here where a search service does that."""

    label: str
    encoded: EncodedQuery | None


@dataclass(frozen=True, eq=False)
class Result:
    """A hit and the scope it came from: the index, or a visitor's secret."""

    hit: SearchHit
    scope: str = INDEX

    @property
    def title(self) -> str:
        given = self.hit.metadata.get("title")
        if isinstance(given, str) and given.strip():
            return given
        return PurePath(self.hit.path or self.hit.id).stem.replace("_", " ")

    @property
    def best_frame(self) -> int:
        return int(np.argmax(self.hit.frame_scores))

    @property
    def video(self) -> str:
        return video_url(self.scope, self.hit.id)

    def frame(self, number: int) -> str:
        times = self.hit.frame_times
        return frame_url(self.scope, self.hit.id, float(times[number]) if number < len(times) else 0.0)

    def to_dict(self) -> dict:
        """JSON values; addresses in place of this machine's paths."""
        values = self.hit.to_dict()
        del values["path"]
        # Plain values only: Gradio takes a nested one that looks like a file for a file of this machine to be sent.
        values["metadata"] = {
            key: value
            for key, value in self.hit.metadata.items()
            if key != "path" and isinstance(value, str | int | float | bool)
        }
        return values | {"title": self.title, "video": self.video, "thumbnail": self.frame(self.best_frame)}


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found, best first; and of how many parts the index has, how many did not answer."""

    results: list[Result]
    silent: int = 0
    parts: int = 1

    def first(self, count: int) -> "Found":
        return replace(self, results=self.results[:count])


@dataclass(frozen=True, eq=False)
class Watched:
    """A video that a visitor looks at: its hit with every moment of it, why it was found, and the `(F,)` times (s,
    empty where unknown) and scores of all of its frames."""

    result: Result
    explanation: Explanation
    times: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Where:
    """What a visitor searches: videos of these durations (shortest and longest in s, None where it does not matter),
    of the index and of their own; `distinct`: without near-copies of better results from the same of the two; and only
    results of at least this confidence (0 to 1, None where it does not matter)."""

    seconds: tuple[float | None, float | None] = (None, None)
    in_index: bool = True
    in_mine: bool = True
    distinct: bool = False
    min_confidence: float | None = None

    def options(self) -> dict:
        """Arguments of `VideoIndex.search`.

        Raises:
            UserError: a length or a confidence that makes no sense.
        """
        sure = self.min_confidence
        if sure is not None and not (isinstance(sure, int | float) and 0 <= sure <= 1):
            raise UserError("confidence_range", value=repr(sure))
        return {
            "where": duration_filter(*self.seconds),
            "distinct": NEAR_COPY if self.distinct else None,
            "min_confidence": sure or None,
        }


EVERYWHERE = Where()


class Library(ABC):
    """What is searched by many visitors at a time.

    Args:
        shelf (in the methods): a visitor's own `VideoIndex` and secret, or None.
    """

    model: Any = None  # where it is here
    processor: Any = None

    @property
    @abstractmethod
    def model_name(self) -> str | None:
        """Folder or Hub id of the model that made the index."""

    @abstractmethod
    def __len__(self) -> int:
        """How many videos the index has."""

    @abstractmethod
    def search(self, query: Query, k: int, *, shelf=None, where: Where = EVERYWHERE) -> Found:
        """The k best videos of the index and the shelf together."""

    @abstractmethod
    def rescore(self, query: Query, ids: list[str], textual: bool, visual: bool) -> Found:
        """Some of the index's videos, ranked with each of DMAE's attentions on or off."""

    @abstractmethod
    def explain(self, query: Query, scope: str, video_id: str, shelf=None) -> tuple[Result, Explanation]:
        """One video against the query, whether or not it was among the hits.

        Raises:
            UserError: there is no such video (for this visitor).
        """

    @abstractmethod
    def watch(self, query: Query, scope: str, video_id: str, shelf=None) -> Watched:
        """One video against the query, from beginning to end.

        Its moments are searched for in it alone: among all videos there is no room for every one of them.

        Raises:
            UserError: there is no such video (for this visitor).
        """

    @abstractmethod
    def row(
        self, scope: str, video_id: str, columns: list[str], shelf=None, *, at: float | None = None
    ) -> dict | None:
        """Columns of one video's row, or of its segment at a moment (s), or None where there is none."""

    @abstractmethod
    def _query(self, text: str) -> Query:
        """A text, known to be one, as a query."""

    def ask(self, text: str) -> Query:
        """A text as a query.

        Raises:
            UserError: it is empty or too long.
        """
        text = " ".join(str(text or "").split())
        if not text:
            raise UserError("write_something")
        if len(text) > MAX_QUERY:
            raise UserError("too_long", count=len(text), most=MAX_QUERY)
        return self._query(text)

    def ask_all(self, text: str) -> list[Query]:
        """A text as one query, or as several with `SEPARATOR` between them.

        Raises:
            UserError: there is none, or there are too many, or one is too long.
        """
        parts = [part for part in str(text or "").split(SEPARATOR) if part.strip()] or [""]
        if len(parts) > MAX_QUERIES:
            raise UserError("too_many_queries", count=len(parts), most=MAX_QUERIES)
        return [self.ask(part) for part in parts]


class OpenLibrary(Library):
    """A model and an index of this process."""

    def __init__(self, model, processor, index: VideoIndex):
        self.model = model
        self.processor = processor
        self.index = index
        self._encode = lru_cache(REMEMBERED_QUERIES)(lambda text: Query(text, index.encode_text(text)))

    @property
    def model_name(self) -> str | None:
        return self.index.table.settings.model.name

    def __len__(self) -> int:
        return len(self.index)

    def _query(self, text: str) -> Query:
        return self._encode(text)

    def ask_example(self, frames: VideoFrames, label: str) -> Query:
        """Frames of an image or a video as a query."""
        return Query(label, self.index.encode(frames))

    def search(self, query: Query, k: int, *, shelf=None, where: Where = EVERYWHERE) -> Found:
        k, options = check_count(k), where.options()
        if query.encoded is not None and query.encoded.text is None:  # how sure an image is nobody can tell
            options["min_confidence"] = None
        own = shelf if where.in_mine else None
        if not (where.in_index or own is not None or shelf is None):
            raise UserError("search_nowhere")
        results = []
        if where.in_index or shelf is None:
            results += [Result(hit) for hit in self.index.search(query.encoded, k, **options)]
        if own is not None:
            results += [Result(hit, own.secret) for hit in own.index.search(query.encoded, k, **options)]
        return Found(sorted(results, key=lambda result: -result.hit.score)[:k])

    def rescore(self, query: Query, ids: list[str], textual: bool, visual: bool) -> Found:
        options = ScoreOptions.of(self.model.config)
        options = options._replace(textual_attention=textual, visual_attention=visual)
        return Found([Result(hit) for hit in self.index.rescore(query.encoded, ids, options)])

    def explain(self, query: Query, scope: str, video_id: str, shelf=None) -> tuple[Result, Explanation]:
        index = self._index_of(scope, shelf)
        try:
            explanation = index.explain(query.encoded, str(video_id))
        except VideoIndexError:
            raise UserError("video_gone") from None
        return Result(explanation.hit, scope), explanation

    def watch(self, query: Query, scope: str, video_id: str, shelf=None) -> Watched:
        index, video_id = self._index_of(scope, shelf), str(video_id)
        _, explanation = self.explain(query, scope, video_id, shelf)
        hits = index.search(query.encoded, 1, where={"id": video_id})
        if not hits:  # it went meanwhile
            raise UserError("video_gone")
        try:
            return Watched(Result(hits[0], scope), explanation, *index.timeline(query.encoded, video_id))
        except VideoIndexError:
            raise UserError("video_gone") from None

    def row(
        self, scope: str, video_id: str, columns: list[str], shelf=None, *, at: float | None = None
    ) -> dict | None:
        return self._index_of(scope, shelf).get(video_id, columns, at=at)

    def _index_of(self, scope: str, shelf) -> VideoIndex:
        if scope == INDEX:
            return self.index
        if shelf is None or shelf.secret != scope:
            raise UserError("video_gone")
        return shelf.index


def duration_filter(shortest: float | None, longest: float | None) -> str | None:
    """A `where` for videos of these durations (s)."""
    bounds = []
    for value, comparison in ((shortest, ">="), (longest, "<=")):
        if value:
            if not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise UserError("no_length", value=repr(value))
            bounds.append(f"duration {comparison} {float(value)}")
    return " AND ".join(bounds) or None


def check_count(k) -> int:
    if isinstance(k, bool) or not isinstance(k, int | float) or not 1 <= k <= MAX_RESULTS:
        raise UserError("count_range", most=MAX_RESULTS, value=repr(k))
    return int(k)

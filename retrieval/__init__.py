"""The video index: encoding a corpus, searching it, sharing it."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import VideoIndexError
    from .index import VideoIndex
    from .indexing.film_frames import FilmChunk, film_frames
    from .indexing.report import AddReport
    from .search.explanation import Explanation
    from .search.limits import SearchLimits
    from .search.query import EncodedQuery
    from .search.scoring import ScoreOptions
    from .search.searcher import SearchHit
    from .serving.client import SearchClient, ServerError, ServerRefusal
    from .sharing.clips import clip_name, cut_clip
    from .storage.rows import VideoFile
    from .times import clock, span_clock
    from .watching import check_watching

__all__ = [
    "AddReport",
    "EncodedQuery",
    "Explanation",
    "FilmChunk",
    "ScoreOptions",
    "SearchClient",
    "SearchHit",
    "SearchLimits",
    "ServerError",
    "ServerRefusal",
    "VideoFile",
    "VideoIndex",
    "VideoIndexError",
    "check_watching",
    "clip_name",
    "clock",
    "cut_clip",
    "film_frames",
    "span_clock",
]

_MODULES = {
    "AddReport": "indexing.report",
    "EncodedQuery": "search.query",
    "Explanation": "search.explanation",
    "FilmChunk": "indexing.film_frames",
    "ScoreOptions": "search.scoring",
    "VideoFile": "storage.rows",
    "VideoIndexError": "errors",
    "VideoIndex": "index",
    "check_watching": "watching",
    "clip_name": "sharing.clips",
    "clock": "times",
    "cut_clip": "sharing.clips",
    "film_frames": "indexing.film_frames",
    "SearchClient": "serving.client",
    "SearchHit": "search.searcher",
    "SearchLimits": "search.limits",
    "ServerError": "serving.client",
    "ServerRefusal": "serving.client",
    "span_clock": "times",
}


def __getattr__(name: str):
    # On first use, so that `dmae --help` starts without torch.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value

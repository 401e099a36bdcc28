"""The video index: encoding a corpus, searching it, sharing it."""

from typing import TYPE_CHECKING

from dmae.modeling.lazy_names import on_first_use

if TYPE_CHECKING:
    from .errors import VideoIndexError
    from .index import VideoIndex
    from .indexing.film_frames import FilmChunk, film_frames
    from .indexing.report import AddReport
    from .inputs import check_confidence
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
    "check_confidence",
    "check_watching",
    "clip_name",
    "clock",
    "cut_clip",
    "film_frames",
    "span_clock",
]

__getattr__ = on_first_use(
    globals(),
    {
        "errors": ("VideoIndexError",),
        "index": ("VideoIndex",),
        "indexing.film_frames": ("FilmChunk", "film_frames"),
        "indexing.report": ("AddReport",),
        "inputs": ("check_confidence",),
        "search.explanation": ("Explanation",),
        "search.limits": ("SearchLimits",),
        "search.query": ("EncodedQuery",),
        "search.scoring": ("ScoreOptions",),
        "search.searcher": ("SearchHit",),
        "serving.client": ("SearchClient", "ServerError", "ServerRefusal"),
        "sharing.clips": ("clip_name", "cut_clip"),
        "storage.rows": ("VideoFile",),
        "times": ("clock", "span_clock"),
        "watching": ("check_watching",),
    },
)

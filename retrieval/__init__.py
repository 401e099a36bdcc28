"""Encoding a corpus, the video index, search and the `dmae` command line."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import VideoIndexError
    from .index import VideoIndex
    from .indexing.encoding import AddReport
    from .search.limits import SearchLimits
    from .search.searcher import SearchHit

__all__ = ["AddReport", "SearchHit", "SearchLimits", "VideoIndex", "VideoIndexError"]

_MODULES = {
    "AddReport": "indexing.encoding",
    "VideoIndexError": "errors",
    "VideoIndex": "index",
    "SearchHit": "search.searcher",
    "SearchLimits": "search.limits",
}


def __getattr__(name: str):
    # On first use, so that `dmae --help` starts without torch.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value

"""How a process searches, what that means for an index of some size, and what such an index holds."""

import os
from dataclasses import asdict, dataclass

from ..storage.table import VideoTable


@dataclass(frozen=True)
class SearchLimits:
    """How a process searches.

    Attributes:
        candidates: the most videos that stage two scores for a query (at least four for each hit asked for).
        exact_limit: videos up to which stage one is exact in memory; beyond, a Lance vector index narrows.
        memory_limit: bytes of frames that may be kept in memory; a larger index reads candidates from the table.
    """

    candidates: int = 400
    exact_limit: int = 1_500_000
    memory_limit: int = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2

    def outgrown_by(self, count: int) -> bool:
        """Whether so many videos are more than exact search in memory is meant for."""
        return count > self.exact_limit

    def narrows_in_memory(self, table: VideoTable, count: int) -> bool:
        """Whether stage one looks through all `count` videos of the table in memory, exactly."""
        return not self.outgrown_by(count) or not table.has_vector_index()


def statistics(table: VideoTable, limits: SearchLimits) -> dict:
    """Sizes, provenance and the way of searching; see `VideoIndex.stats`."""
    count = table.num_segments()
    return {
        "uri": table.uri,
        "videos": table.count(),
        "segments": count,
        "bytes": table.nbytes,
        "version": table.version,
        "columns": table.columns,
        **asdict(table.settings),
        "stage_one": _stage_one(table, limits, count),
        "exact_limit": limits.exact_limit,
        "candidates": limits.candidates,
    }


def _stage_one(table: VideoTable, limits: SearchLimits, count: int) -> str:
    if not limits.narrows_in_memory(table, count):
        return "Lance vector index"
    how = "exact, pooled vectors in memory"
    if limits.outgrown_by(count):
        how += "; index.optimize() builds the vector index that this many videos call for"
    return how

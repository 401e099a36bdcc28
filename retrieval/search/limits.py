"""How a process searches, and what that means for an index of some size."""

import os
from dataclasses import dataclass

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

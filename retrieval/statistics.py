"""What an index holds and how it is searched, as plain values."""

from dataclasses import asdict

from .search.limits import SearchLimits
from .storage.table import VideoTable


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

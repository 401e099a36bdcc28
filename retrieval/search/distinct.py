"""Hits without their copies: a hit whose frames are near-identical to those of a better one is left out."""

from collections.abc import Sequence

import numpy as np

from .candidates import CandidateSource
from .likeness import Frames, near_identical
from .moments import Span

READ = 64  # hits whose frames are read at a time


class DistinctHits:
    """Leaves out hits (the spans of a video, best first) whose best span is near-identical to that of a better hit.

    A span is compared by the frames of the segments that it touches; what the comparison is stands in `likeness`.

    Args:
        source: where frames are read from. above: the cosine from which two frames are alike.
    """

    def __init__(self, source: CandidateSource, above: float):
        self.source, self.above = source, above
        self._known: dict[int, Frames] = {}

    def __call__(self, hits: Sequence[list[Span]], wanted: int) -> list[list[Span]]:
        """The first `wanted` of the hits, best first, that are no copies of one before."""
        kept: list[list[Span]] = []
        shown: list[Frames] = []
        for start in range(0, len(hits), READ):
            part = hits[start : start + READ]
            for hit, frames in zip(part, self._frames([spans[0] for spans in part])):
                if len(kept) == wanted:
                    return kept
                if frames is not None:  # it was deleted meanwhile
                    if any(near_identical(frames, better, self.above) for better in shown):
                        continue
                    shown.append(frames)
                kept.append(hit)
        return kept

    def _frames(self, spans: Sequence[Span]) -> list[Frames | None]:
        rows = [[segment.place.row_id for segment in span.segments] for span in spans]
        unknown = {row_id for own in rows for row_id in own} - self._known.keys()
        if unknown:
            self._known |= self.source.frames_of_each(sorted(unknown))
        found = [[self._known[row_id] for row_id in own if row_id in self._known] for own in rows]
        return [_joined(own) if own else None for own in found]


def _joined(parts: list[Frames]) -> Frames:
    if len(parts) == 1:
        return parts[0]
    embeds, shares = (np.concatenate(values) for values in zip(*parts))
    return Frames(embeds, shares / len(parts))

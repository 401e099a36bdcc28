"""Where a long video is cut into segments: at hard cuts always, else where its content changes most.

Kernel temporal segmentation (Potapov, Douze, Harchaoui, Schmid: "Category-specific video summarization", ECCV 2014)
with the cosine kernel: the segments of least scatter around their means, found by dynamic programming. No segment is
longer than `longest` frames, so that the search costs O(N · longest) and looks at a bounded stretch at a time; instead
of choosing a number of segments, each costs as much as a few frames' ordinary unrest.
"""

from itertools import pairwise

import numpy as np

STRETCH = 32  # how many times the longest segment is looked at together
COST = 8.0  # what a segment costs, in units of the unrest between neighbouring frames
STILL = 1e-3  # cosine distance of two frames of which nobody would say that something changed
CUT_OVER_UNREST = 5.0  # a hard cut differs so many times more than the quiet quarter of the frames around it
CUT_AROUND = 24  # frames on either side that count as around


class Segmenter:
    """Cuts a video whose frames come a few at a time; the same wherever the pieces they come in end.

    Args:
        longest: the most frames in a segment.
    """

    def __init__(self, longest: int):
        if longest < 1:
            raise ValueError(f"a segment needs at least one frame, not {longest}")
        self.longest = longest
        self._waiting: np.ndarray | None = None

    def push(self, embeds: np.ndarray) -> list[int]:
        """Takes the next `(N, D)` unit-norm frame embeddings; returns the lengths of segments now sure."""
        waiting = embeds if self._waiting is None else np.concatenate([self._waiting, embeds])
        lengths = []
        while len(waiting) >= STRETCH * self.longest + CUT_AROUND:
            # Of the segments found in a stretch those in its second half could still change with what follows.
            found = segment_lengths(waiting[: STRETCH * self.longest + CUT_AROUND], self.longest)
            sure = np.cumsum(found) <= STRETCH * self.longest // 2
            lengths += found[: int(sure.sum())]
            waiting = waiting[sum(found[: int(sure.sum())]) :]
        self._waiting = waiting
        return lengths

    def finish(self) -> list[int]:
        """The lengths of the segments that are left."""
        waiting, self._waiting = self._waiting, None
        return [] if waiting is None or not len(waiting) else segment_lengths(waiting, self.longest)


def segment_lengths(embeds: np.ndarray, longest: int) -> list[int]:
    """The lengths of a video's segments, in order.

    Args:
        embeds: `(N, D)` unit-norm embeddings of its frames. longest: the most frames in a segment.
    """
    distances = _distances(embeds[:-1], embeds[1:])
    cuts = hard_cuts(embeds, distances)
    edges = [0, *cuts, len(embeds)]
    unrest = np.delete(distances, cuts - 1)
    cost = COST * (float(unrest.mean()) if len(unrest) else 0.0) + STILL
    return [
        length
        for start, stop in pairwise(edges)
        for length in _least_scatter(embeds[start:stop].astype(np.float64), longest, cost)
    ]


def hard_cuts(embeds: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Positions of the frames whose picture is another one than the frame's before.

    Args:
        embeds: `(N, D)`. distances: `(N - 1,)` cosine distances of neighbouring frames.
    """
    if not len(distances):
        return np.empty(0, np.int64)
    padded = np.pad(distances, CUT_AROUND, mode="reflect" if len(distances) > CUT_AROUND else "edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * CUT_AROUND + 1)
    far = distances > CUT_OVER_UNREST * np.quantile(around, 0.25, axis=1) + 4 * STILL
    # In a dissolve several small steps go the same way, and from before to after it is much farther than one of them.
    places = np.arange(len(distances))
    across = _distances(embeds[np.maximum(places - 1, 0)], embeds[np.minimum(places + 2, len(embeds) - 1)])
    return np.flatnonzero(far & (across < 2 * distances)) + 1


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 1 - np.einsum("nd,nd->n", a, b, dtype=np.float64)


def _least_scatter(embeds: np.ndarray, longest: int, cost: float) -> list[int]:
    """Lengths of the segments of least scatter plus `cost` for each, of one stretch without a hard cut."""
    count = len(embeds)
    sums = np.concatenate([np.zeros((1, embeds.shape[1])), np.cumsum(embeds, axis=0)])
    best = np.full(count + 1, np.inf)
    best[0] = 0.0
    lengths = np.arange(min(longest, count), 0, -1)
    chosen = np.zeros(count + 1, np.int64)
    for stop in range(1, count + 1):
        possible = lengths[lengths <= stop]  # the longest first: of equals the fewest segments win
        totals = np.square(sums[stop] - sums[stop - possible]).sum(axis=1)
        costs = best[stop - possible] + (possible - totals / possible) + cost
        place = int(np.argmin(costs.round(9)))
        best[stop], chosen[stop] = costs[place], possible[place]
    result = []
    while count:
        result.append(int(chosen[count]))
        count -= result[-1]
    return result[::-1]

"""Stage two: the full similarity of the candidates, best first, and of no more than can still come among the hits.

How far stage one's score is from the full one differs from corpus to corpus and from query to query. So the first
candidates are scored, a line is fitted through their scores, and of the others only those follow that the line, four
standard deviations of its residuals up, would bring among the hits.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from .candidates import Candidates

FIRST = 96
DEVIATIONS = 4.0
QUERY_GROUP = 4  # queries scored at once: fewer calls, and frames that still fit the processor's cache


class RankedRow(NamedTuple):
    """A row of the table with its full score and the `(F,)` scores of its frames."""

    row_id: int
    score: float
    frame_scores: np.ndarray


def rank(candidates: Candidates, wanted: int) -> list[list[RankedRow]]:
    """For each query the `wanted` best of its candidates, best first."""
    if not candidates.scores.shape[1]:
        return [[] for _ in candidates.scores]
    first = max(FIRST, 4 * wanted)
    ranked: list[list[RankedRow]] = []
    stops: list[int] = []
    for start in range(0, len(candidates.scores), QUERY_GROUP):
        group = slice(start, start + QUERY_GROUP)
        hits, scores = _score(candidates, group, slice(first), wanted)
        least = least_promising(candidates.scores[group, :first], scores, wanted)
        ranked += hits
        stops += (candidates.scores[group] >= least[:, None]).sum(dim=1).tolist()
    for group in _unfinished(stops, first):
        more, _ = _score(candidates, group, slice(first, stops[group[0]]), wanted)
        for a, own in zip(group, more):
            ranked[a] = sorted(ranked[a] + own, key=lambda hit: -hit.score)[:wanted]
    return ranked


def _unfinished(stops: list[int], first: int) -> Iterator[list[int]]:
    """The queries with promising candidates after the `first`, in groups that are scored at once, most of them first.

    A group goes as far as the query that must go furthest, so that those go together that go about as far.
    """
    group: list[int] = []
    for a in sorted((a for a, stop in enumerate(stops) if stop > first), key=lambda a: -stops[a]):
        if group and (len(group) + 1) * (stops[group[0]] - first) > QUERY_GROUP * FIRST:
            yield group
            group = []
        group.append(a)
    if group:
        yield group


def least_promising(narrow: torch.Tensor, full: torch.Tensor, wanted: int) -> torch.Tensor:
    """`(A,)` scores of stage one below which a video has no chance to be among the `wanted` best.

    Args:
        narrow, full: `(A, C)` scores of both stages for the same videos; -inf in `full` for one that is gone.
    """
    nothing_ruled_out = torch.full((len(full),), -torch.inf)
    if full.shape[1] <= wanted:
        return nothing_ruled_out
    centred = narrow - narrow.mean(dim=1, keepdim=True)
    slope = (centred * full).sum(dim=1) / centred.square().sum(dim=1).clamp(min=1e-12)
    height = full.mean(dim=1)
    spread = (full - height[:, None] - slope[:, None] * centred).std(dim=1)
    last = full.topk(wanted).values[:, -1]
    least = narrow.mean(dim=1) + (last - DEVIATIONS * spread - height) / slope
    return torch.where((slope > 0) & least.isfinite(), least, nothing_ruled_out)


def _score(
    candidates: Candidates, group: slice | list[int], part: slice, wanted: int
) -> tuple[list[list[RankedRow]], torch.Tensor]:
    """What `rank` returns for a part of some queries' candidates, and the `(A, C)` scores of all of them."""
    frames, there = candidates.read((group, part))
    if frames is None:
        return [[] for _ in there], torch.full(there.shape, -torch.inf)
    scores, frame_scores = candidates.queries[group].score(frames)
    scores = scores.masked_fill(~there, -torch.inf)
    best = scores.topk(min(wanted, scores.shape[1]))
    at = torch.arange(len(scores))[:, None], best.indices
    row_ids, best_scores = candidates.row_ids[group, part][at].tolist(), best.values.tolist()
    best_frames, real = frame_scores[at].numpy(), (frames.weights[at] > 0).numpy()
    hits = [
        [
            RankedRow(row_ids[a][n], best_scores[a][n], best_frames[a, n][real[a, n]])
            for n in range(len(row_ids[a]))
            if best_scores[a][n] > -math.inf  # it was deleted meanwhile
        ]
        for a in range(len(row_ids))
    ]
    return hits, scores

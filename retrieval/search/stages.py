"""The two stages of a search: which videos are worth the full similarity, and that similarity of as few as will do.

Stage one: where a video's frames are alike, one dot product with their mean follows the score closely (`coherence` is
the mean norm of those means: 1 for identical frames, 1/√F for unrelated ones). Where they are not, the mean says
little, and the sentence is compared with every frame instead. `benchmarks/search.py` measures the former and, with
`--unrelated`, the latter.

Stage two: how far stage one's score is from the full one differs from corpus to corpus and from query to query. So the
first candidates are scored, a line is fitted through their scores, and of the others only those follow that the line,
four standard deviations of its residuals up, would bring among the hits.
"""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from dmae.modeling.features import TextFeatures

from ..storage.principal import PrincipalVectors
from .scoring import ScoreOptions

if TYPE_CHECKING:
    from .candidates import Candidates
    from .combination import Queries

# Stage one
COHERENT = 0.65
ALONE = 4  # queries at once up to which each is narrowed by itself
SHORTLIST = 3000  # videos whose whole dot products are taken first
WORTH_NARROWING = 8  # times as many videos as that make it worth while
LEADING_DEVIATIONS = 3.0
BLOCK = 4_000_000  # scores at a time: more, and each batch of queries asks the system for new memory
# Stage two
FIRST = 96
DEVIATIONS = 4.0
QUERY_GROUP = 4  # queries scored at once: fewer calls, and frames that still fit the processor's cache


def query_vectors(queries: TextFeatures, options: ScoreOptions) -> torch.Tensor:
    """`(A, D)` vectors whose dot product with a video's mean frame estimates its DMAE score: what the score is where
    all frames are alike.
    """
    share = (1 + _gain(options)) / 2
    if not options.textual_attention:
        return share * queries.sentence_embeds.float()
    return share / 2 * (queries.sentence_embeds.float() + _mean_words(queries))


def best_by_pooled(queries: "Queries", pooled: PrincipalVectors, allowed: torch.Tensor, count: int):
    """The `count` videos whose mean frame fits best, for each query; all that are allowed if they are fewer.

    Args:
        pooled: of N videos. allowed: `(N,)` bool.

    Returns:
        scores and positions, `(A, C)` each, best first.
    """
    vectors = queries.vectors
    if pooled.have_leading and len(queries) <= ALONE and len(pooled) >= WORTH_NARROWING * SHORTLIST:
        best = [_best_by_leading(queries[a : a + 1], pooled, allowed, count) for a in range(len(queries))]
        return tuple(torch.cat(parts) for parts in zip(*best))
    return _best(lambda part: queries.combine(pooled.multiply(vectors, part)), len(vectors), allowed, count)


def _best_by_leading(queries: "Queries", pooled: PrincipalVectors, allowed: torch.Tensor, count: int):
    """`best_by_pooled` of one query, with whole dot products only of videos that may be among the best by their
    leading parts: how far these are from the whole is seen on the first of them, and others are let go only where
    they would have to be `LEADING_DEVIATIONS` standard deviations off.
    """
    vectors, some = queries.vectors, int(allowed.sum())
    slots = None if some == len(allowed) else allowed.nonzero()[:, 0]

    def whole(places: torch.Tensor) -> torch.Tensor:
        return queries.combine(pooled.multiply(vectors, places if slots is None else slots[places]))[0]

    count = min(count, some)
    first = max(SHORTLIST, 4 * count)
    if some <= WORTH_NARROWING * first:
        places = torch.arange(some)
        scores = whole(places)
    else:
        rough = queries.combine(pooled.multiply_leading(vectors))[0]
        rough = rough if slots is None else rough[slots]
        places = torch.from_numpy(np.argpartition(rough.numpy(), some - first)[some - first :])
        level, scores = rough[places].min(), whole(places)
        missed = scores - rough[places]
        least = scores.topk(count).values[-1] - missed.mean() - LEADING_DEVIATIONS * missed.std()
        if least < level:
            more = ((rough >= least) & (rough < level)).nonzero()[:, 0]
            if len(more) > len(rough) // WORTH_NARROWING:  # the leading parts tell too little here: all, in one go
                return _best(lambda part: queries.combine(pooled.multiply(vectors, part)), 1, allowed, count)
            places, scores = torch.cat([places, more]), torch.cat([scores, whole(more)])
    best = scores.topk(count)
    positions = places[best.indices] if slots is None else slots[places[best.indices]]
    return best.values[None], positions[None]


def best_by_frames(queries: "Queries", pooled: PrincipalVectors, frames, allowed: torch.Tensor, count: int):
    """As `best_by_pooled`, with the sentence's part of the score taken over all frames (a `FrameStore`)."""
    scores = queries.combine(torch.cat([_estimates_by_frames(*part, pooled, frames) for part in queries.parts]))
    return _best(lambda part: scores[:, part], len(scores), allowed, count)


def _estimates_by_frames(
    queries: TextFeatures, options: ScoreOptions, pooled: PrincipalVectors, frames
) -> torch.Tensor:
    best, mean = frames.sentence_scores(queries.sentence_embeds.float())
    gain = _gain(options)
    scores = (gain * best + mean) / 2
    if not options.textual_attention:
        return scores
    return (scores + (1 + gain) / 2 * pooled.multiply(_mean_words(queries))) / 2


def _gain(options: ScoreOptions) -> float:
    """What a best frame counts with its nearest one, where both are alike."""
    return 1 + options.neighbor_weight * options.visual_attention


def _mean_words(queries: TextFeatures) -> torch.Tensor:
    weights = queries.word_weights / queries.word_weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.einsum("at,atd->ad", weights.float(), queries.word_embeds.float())


def _best(scores_of: Callable[[slice], torch.Tensor], queries: int, allowed: torch.Tensor, count: int):
    """The `count` best of all videos from the best of each block."""
    blocks, size = [], BLOCK // queries
    for start in range(0, max(len(allowed), 1), size):
        part = slice(start, start + size)
        scores = scores_of(part)
        if not allowed[part].all():
            scores = scores.masked_fill(~allowed[part], -torch.inf)
        best = scores.topk(min(count, scores.shape[1]), dim=1)
        blocks.append((best.values, best.indices + start))
    count = min(count, int(allowed.sum()))
    if len(blocks) == 1:
        return tuple(part[:, :count] for part in blocks[0])
    scores, positions = (torch.cat(parts, dim=1) for parts in zip(*blocks))
    best = scores.topk(count, dim=1)
    return best.values, positions.gather(1, best.indices)


class RankedRow(NamedTuple):
    """A row of the table with its full score and the `(F,)` scores of its frames."""

    row_id: int
    score: float
    frame_scores: np.ndarray


def rank(candidates: "Candidates", wanted: int) -> list[list[RankedRow]]:
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
    candidates: "Candidates", group: slice | list[int], part: slice, wanted: int
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

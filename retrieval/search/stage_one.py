"""Stage one: which videos are worth the full similarity.

Where a video's frames are alike, one dot product with their mean follows the score closely (`coherence` is the mean
norm of those means: 1 for identical frames, 1/√F for unrelated ones). Where they are not, the mean says little, and
the sentence is compared with every frame instead. `benchmarks/search.py` measures the
former and, with `--unrelated`, the latter.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from dmae.modeling.features import TextFeatures

from ..storage.vectors import VectorArray
from .scoring import ScoreOptions

if TYPE_CHECKING:
    from .combination import Queries

COHERENT = 0.65
BLOCK = 4_000_000  # scores at a time: more, and each batch of queries asks the system for new memory


def query_vectors(queries: TextFeatures, options: ScoreOptions) -> torch.Tensor:
    """`(A, D)` vectors whose dot product with a video's mean frame estimates its DMAE score: what the score is where
    all frames are alike.
    """
    share = (1 + _gain(options)) / 2
    if not options.textual_attention:
        return share * queries.sentence_embeds.float()
    return share / 2 * (queries.sentence_embeds.float() + _mean_words(queries))


def best_by_pooled(queries: "Queries", pooled: VectorArray, allowed: torch.Tensor, count: int):
    """The `count` videos whose mean frame fits best, for each query; all that are allowed if they are fewer.

    Args:
        pooled: of N videos. allowed: `(N,)` bool.

    Returns:
        scores and positions, `(A, C)` each, best first.
    """
    vectors = queries.vectors
    return _best(lambda part: queries.combine(pooled.multiply(vectors, part)), len(vectors), allowed, count)


def best_by_frames(queries: "Queries", pooled: VectorArray, frames, allowed: torch.Tensor, count: int):
    """As `best_by_pooled`, with the sentence's part of the score taken over all frames (a `FrameStore`)."""
    scores = queries.combine(torch.cat([_estimates_by_frames(*part, pooled, frames) for part in queries.parts]))
    return _best(lambda part: scores[:, part], len(scores), allowed, count)


def _estimates_by_frames(queries: TextFeatures, options: ScoreOptions, pooled: VectorArray, frames) -> torch.Tensor:
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

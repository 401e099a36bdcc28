"""Stage one: which videos are worth the full similarity.

Where a video's frames are alike, one dot product with their mean follows the score closely (`coherence` is the mean
norm of those means: 1 for identical frames, 1/√F for unrelated ones). Where they are not, the mean says little, and
the sentence is compared with every frame instead. `benchmarks/search.py` measures the
former and, with `--unrelated`, the latter.
"""

from collections.abc import Callable

import torch

from dmae.modeling.features import TextFeatures

from .arrays import VectorArray
from .scoring import ScoreOptions

COHERENT = 0.65
BLOCK = 4_000_000  # scores at a time: more, and each batch of queries asks the system for new memory


def query_vectors(queries: TextFeatures, options: ScoreOptions) -> torch.Tensor:
    """`(A, D)` vectors whose dot product with a video's mean frame follows its DMAE score."""
    if not options.textual_attention:
        return queries.sentence_embeds.float()
    return queries.sentence_embeds.float() + _mean_words(queries)


def best_by_pooled(
    queries: TextFeatures, pooled: VectorArray, allowed: torch.Tensor, count: int, options: ScoreOptions
):
    """The `count` videos whose mean frame fits best, for each query; all that are allowed if they are fewer.

    Args:
        pooled: of N videos. allowed: `(N,)` bool.

    Returns:
        scores and positions, `(A, C)` each, best first.
    """
    vectors = query_vectors(queries, options)
    return _best(lambda part: pooled.multiply(vectors, part), len(vectors), allowed, count)


def best_by_frames(queries: TextFeatures, pooled, frames, allowed: torch.Tensor, count: int, options: ScoreOptions):
    """As `best_by_pooled`, with the sentence's part of the score taken over all frames (a `FrameStore`)."""
    best, mean = frames.sentence_scores(queries.sentence_embeds.float())
    gain = 1 + options.neighbor_weight * options.visual_attention
    scores = gain * best + mean
    if options.textual_attention:
        scores += (1 + gain) * pooled.multiply(_mean_words(queries))
    return _best(lambda part: scores[:, part], len(scores), allowed, count)


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
    scores, positions = (torch.cat(parts, dim=1) for parts in zip(*blocks))
    best = scores.topk(min(count, int(allowed.sum())), dim=1)
    return best.values, positions.gather(1, best.indices)

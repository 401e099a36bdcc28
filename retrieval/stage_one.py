"""Stage one: which videos are worth the full similarity.

Where a video's frames are alike, one dot product with their mean follows the score closely (`coherence` is the mean
norm of those means: 1 for identical frames, 1/√F for unrelated ones). Where they are not, the mean says little, and
the sentence is compared with every frame instead. `benchmarks/search.py` measures the
former and, with `--unrelated`, the latter.
"""

import torch

from dmae.modeling.features import TextFeatures

from .scoring import ScoreOptions

BLOCK = 32_768
COHERENT = 0.65


def query_vectors(queries: TextFeatures, options: ScoreOptions) -> torch.Tensor:
    """`(A, D)` vectors whose dot product with a video's mean frame follows its DMAE score."""
    if not options.textual_attention:
        return queries.sentence_embeds.float()
    return queries.sentence_embeds.float() + _mean_words(queries)


def best_by_pooled(
    queries: TextFeatures, pooled: torch.Tensor, allowed: torch.Tensor, count: int, options: ScoreOptions
):
    """Positions of the `count` videos whose mean frame fits best, for each query; of all that are allowed if fewer.

    Args:
        pooled: `(N, D)` float16. allowed: `(N,)` bool.

    Returns:
        A tensors of positions, in no order.
    """
    return _best(multiply(pooled, query_vectors(queries, options)), allowed, count)


def best_by_frames(queries: TextFeatures, pooled, frames, allowed: torch.Tensor, count: int, options: ScoreOptions):
    """As `best_by_pooled`, with the sentence's part of the score taken over all frames (a `FrameStore`)."""
    best, mean = frames.sentence_scores(queries.sentence_embeds.float())
    gain = 1 + options.neighbor_weight * options.visual_attention
    scores = gain * best + mean
    if options.textual_attention:
        scores += (1 + gain) * multiply(pooled, _mean_words(queries))
    return _best(scores, allowed, count)


def multiply(rows: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """`(A, N)` float32 dot products of `(N, D)` stored rows and `(A, D)` vectors."""
    if len(vectors) == 1 and rows.dtype == torch.float16:
        return (rows @ vectors[0].half()).float()[None]
    scores = torch.empty(len(vectors), len(rows))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        scores[:, start : start + BLOCK] = vectors @ block.float().t()
    return scores


def _mean_words(queries: TextFeatures) -> torch.Tensor:
    weights = queries.word_weights / queries.word_weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.einsum("at,atd->ad", weights.float(), queries.word_embeds.float())


def _best(scores: torch.Tensor, allowed: torch.Tensor, count: int) -> list[torch.Tensor]:
    if not allowed.all():
        scores = scores.masked_fill(~allowed, -torch.inf)
    return list(scores.topk(count, dim=1, sorted=False).indices)

"""Stage one: which videos are worth the full similarity, by one dot product each with their pooled vector."""

import torch

from dmae.modeling.features import TextFeatures

from .scoring import ScoreOptions

BLOCK = 65_536


def query_vectors(queries: TextFeatures, options: ScoreOptions) -> torch.Tensor:
    """`(A, D)` vectors whose dot product with a video's mean frame follows its DMAE score."""
    if not options.textual_attention:
        return queries.sentence_embeds.float()
    weights = queries.word_weights / queries.word_weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
    words = torch.einsum("at,atd->ad", weights.float(), queries.word_embeds.float())
    return queries.sentence_embeds.float() + words


def best_by_pooled(
    queries: TextFeatures, pooled: torch.Tensor, allowed: torch.Tensor, count: int, options: ScoreOptions
):
    """Positions of the `count` videos with the highest dot product, for each query; all of them where there are fewer.

    Args:
        pooled: `(N, D)` float16. allowed: `(N,)` bool.

    Returns:
        A tensors of positions, in no order.
    """
    vectors = query_vectors(queries, options)
    available = int(allowed.sum())
    if available <= count:
        return [allowed.nonzero()[:, 0]] * len(vectors)
    chosen = []
    for vector in vectors:
        scores = pooled @ vector.to(pooled.dtype)
        if available < len(allowed):
            scores = scores.masked_fill(~allowed, -torch.inf)
        chosen.append(scores.topk(count, sorted=False).indices)
    return chosen

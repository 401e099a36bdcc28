"""TPM-CL: partial-order triplets made by adaptive token masking (paper section 3.4; method.md, "TPM-CL").

Everything here reads matched pairs only (text i with video i), so its cost grows with B and never with B².
"""

import torch
from torch import nn
from torch.nn import functional as F

from .errors import InputError
from .similarity import check_embeds, check_weights


class TokenWeightPredictor(nn.Module):
    """Linear cross-modal token weights: how telling each token is for its pair's other side.

    `q' = M q`, `h = LayerNorm([q' ; k])` over the N × 2D block, `r = sigmoid(W₂ gelu(W₁ h))`, weights `r / Σ r`.

    Args:
        num_queries: Q. num_tokens: N. Both are fixed by the mixing matrix.
        dim: D, even.
    """

    def __init__(self, num_queries: int, num_tokens: int, dim: int):
        super().__init__()
        self.query_mix = nn.Linear(num_queries, num_tokens, bias=False)
        self.norm = nn.LayerNorm([num_tokens, 2 * dim])
        self.hidden = nn.Linear(2 * dim, dim // 2, bias=False)
        self.output = nn.Linear(dim // 2, 1, bias=False)

    def forward(
        self, queries: torch.Tensor, tokens: torch.Tensor, token_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Weights `(B, N)` of `tokens` `(B, N, D)` given `queries` `(B, Q, D)`; rows sum to 1, padding gets 0."""
        expected = (self.query_mix.in_features, self.query_mix.out_features)
        if (queries.shape[1], tokens.shape[1]) != expected:
            raise ValueError(
                f"this linear predictor takes {expected[0]} queries and {expected[1]} tokens, got {queries.shape[1]} "
                f"and {tokens.shape[1]}; pad to its lengths, or use the attention predictor, which takes any length"
            )
        mixed = self.query_mix(queries.transpose(1, 2)).transpose(1, 2)
        hidden = self.norm(torch.cat([mixed, tokens], dim=2))
        # r / Σ r by the logarithms of r: training may drive every r of a row so low that their sum vanishes.
        log_relevance = F.logsigmoid(self.output(F.gelu(self.hidden(hidden)))).squeeze(2)
        return _softmax(log_relevance, token_mask)


class AttentionTokenWeightPredictor(nn.Module):
    """The paper's second variant, as released: attention of the queries over the tokens, for any number of tokens.

    Queries and tokens are split into heads as they are, without layers of their own; the heads' attention weights are
    summed, mixed linearly over the queries, and a softmax over the tokens gives the weights. `num_queries` fixes the
    mix; a shorter sequence of queries is as one with zeros after it, which add the same to every token.
    """

    def __init__(self, num_queries: int, dim: int, num_heads: int = 8):
        super().__init__()
        _check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.mix = nn.Linear(num_queries, 1)

    def forward(
        self, queries: torch.Tensor, tokens: torch.Tensor, token_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Weights `(B, N)` of `tokens` `(B, N, D)` given `queries` `(B, Q, D)`; rows sum to 1, padding gets 0."""
        products = _head_products(queries, tokens, self.num_heads)
        if token_mask is not None:
            products = products.masked_fill(token_mask[:, None, None] <= 0, torch.finfo(products.dtype).min)
        return _softmax(_mixed(self.mix, products.softmax(dim=3).sum(dim=1)), token_mask)


class ProjectedAttentionTokenWeightPredictor(nn.Module):
    """A variant of ours: attention with query and key layers, whose dot products are mixed without a softmax per head.

    Otherwise as `AttentionTokenWeightPredictor`.
    """

    def __init__(self, num_queries: int, dim: int, num_heads: int = 8):
        super().__init__()
        _check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.mix = nn.Linear(num_queries, 1, bias=False)

    def forward(
        self, queries: torch.Tensor, tokens: torch.Tensor, token_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Weights `(B, N)` of `tokens` `(B, N, D)` given `queries` `(B, Q, D)`; rows sum to 1, padding gets 0."""
        products = _head_products(self.query(queries), self.key(tokens), self.num_heads)
        scale = (tokens.shape[2] // self.num_heads) ** -0.5
        return _softmax(_mixed(self.mix, (products * scale).sum(dim=1)), token_mask)


# By `DmaeConfig.tpm_predictor`.
ATTENTION_PREDICTORS = {
    "attention": AttentionTokenWeightPredictor,
    "projected_attention": ProjectedAttentionTokenWeightPredictor,
}


def _check_heads(dim: int, num_heads: int) -> None:
    if dim % num_heads:
        raise InputError(f"dim {dim} is not a multiple of num_heads {num_heads}")


def _head_products(queries: torch.Tensor, tokens: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Dot products `(B, heads, Q, N)` of `(B, Q, D)` and `(B, N, D)`, D cut into heads."""
    heads = [side.unflatten(2, (num_heads, -1)).transpose(1, 2) for side in (queries, tokens)]
    return heads[0] @ heads[1].transpose(2, 3)


def _mixed(mix: nn.Linear, attention: torch.Tensor) -> torch.Tensor:
    """`(B, Q, N)`, at most as many queries as `mix` takes, to `(B, N)`."""
    missing = mix.in_features - attention.shape[1]
    if missing < 0:
        raise ValueError(f"this predictor mixes at most {mix.in_features} queries, got {attention.shape[1]}")
    return mix(F.pad(attention, (0, 0, 0, missing)).transpose(1, 2)).squeeze(2)


def _softmax(logits: torch.Tensor, token_mask: torch.Tensor | None) -> torch.Tensor:
    """Softmax `(B, N)` over real tokens; padding gets 0, also where an item is all padding."""
    if token_mask is None:
        return logits.softmax(dim=1)
    floored = logits.masked_fill(token_mask <= 0, torch.finfo(logits.dtype).min)
    return floored.softmax(dim=1) * (token_mask > 0)


def adaptive_mask(weights: torch.Tensor, threshold: float = 0.6, *, crossing: bool = False) -> torch.Tensor:
    """Keeps all but the most telling tokens: those whose weights, largest first, sum to less than `threshold`.

    Args:
        weights: `(B, N)`, rows sum to 1.
        threshold: τ in [0, 1].
        crossing: also mask the token with which the sum reaches `threshold`. Without it (as in the paper) nothing is
            masked where one token has that much weight alone, and a predictor that learns this makes the loss idle.

    Returns:
        bool `(B, N)`, True = kept.

    Example:
        >>> adaptive_mask(torch.tensor([[0.1, 0.5, 0.2, 0.2]]))
        tensor([[ True, False,  True,  True]])
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
    ordered, order = weights.detach().sort(dim=1, descending=True, stable=True)
    total = ordered.cumsum(dim=1)
    keep = (total - ordered if crossing else total) >= threshold
    return torch.empty_like(keep).scatter_(1, order, keep)


def partial_order_loss(
    sentence_embeds: torch.Tensor,
    word_embeds: torch.Tensor,
    frame_embeds: torch.Tensor,
    word_predictor: nn.Module,
    frame_predictor: nn.Module,
    *,
    word_mask: torch.Tensor | None = None,
    frame_mask: torch.Tensor | None = None,
    threshold: float = 0.6,
    margin: float = 0.6,
    mask_crossing: bool = False,
) -> torch.Tensor:
    """Ranks each pair above the same pair with its most telling tokens masked out.

    Args:
        sentence_embeds: `(B, D)`; word_embeds: `(B, T, D)`; frame_embeds: `(B, F, D)`; unit norm, row i one pair.
        word_predictor: weights of words given frames; frame_predictor: weights of frames given the sentence.
        word_mask: `(B, T)` and frame_mask `(B, F)`, 0 = padding; None: none is padded.
        threshold: τ of `adaptive_mask`.
        margin: μ, by how much the whole must beat the masked.
        mask_crossing: `crossing` of `adaptive_mask`.

    Returns:
        scalar: the sum of the three triplet terms of method.md.

    Raises:
        ValueError / TypeError: shapes or dtypes that do not belong together.
    """
    check_embeds(sentence_embeds=(sentence_embeds, 2), word_embeds=(word_embeds, 3), frame_embeds=(frame_embeds, 3))
    if not len(sentence_embeds) == len(word_embeds) == len(frame_embeds):
        sizes = (len(sentence_embeds), len(word_embeds), len(frame_embeds))
        raise ValueError(f"row i must be one matched pair in all three, got batch sizes {sizes}")
    word_mask = _ones_like_tokens(word_embeds) if word_mask is None else word_mask
    frame_mask = _ones_like_tokens(frame_embeds) if frame_mask is None else frame_mask
    check_weights("word_mask", word_mask, "word_embeds", word_embeds)
    check_weights("frame_mask", frame_mask, "frame_embeds", frame_embeds)

    frame_real = (frame_mask > 0).to(frame_embeds.dtype)
    word_real = (word_mask > 0).to(word_embeds.dtype)
    frames = frame_embeds * frame_real[:, :, None]
    words = word_embeds * word_real[:, :, None]
    word_weights = word_predictor(frames, words, word_real)
    frame_weights = frame_predictor(sentence_embeds[:, None], frames, frame_real)
    masked_frames = frames * adaptive_mask(frame_weights, threshold, crossing=mask_crossing)[:, :, None]
    text = F.normalize((word_weights[:, :, None] * words).sum(dim=1), dim=-1)
    kept_weights = word_weights * adaptive_mask(word_weights, threshold, crossing=mask_crossing)
    masked_text = (kept_weights[:, :, None] * words).sum(dim=1)

    whole = _row_similarity(text, frames, frame_real)
    return (
        _rank(
            _row_similarity(sentence_embeds, frames, frame_real),
            _row_similarity(sentence_embeds, masked_frames, frame_real),
            margin,
        )
        + _rank(whole, _row_similarity(text, masked_frames, frame_real), margin)
        + _rank(whole, _row_similarity(masked_text, frames, frame_real), margin)
    )


def _row_similarity(text: torch.Tensor, frames: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """`½ [max_v g·y_v + mean_v g·y_v]` over real frames: `(B, D)`, `(B, F, D)`, `(B, F)` -> `(B,)`.

    A frame masked by TPM-CL is a zero vector that stays in the maximum and the mean; a padded one is in neither.
    """
    scores = (frames @ text[:, :, None]).squeeze(2)
    best = scores.masked_fill(real == 0, torch.finfo(scores.dtype).min).amax(dim=1)
    return (best * real.any(dim=1) + (scores * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)) / 2


def _rank(whole: torch.Tensor, masked: torch.Tensor, margin: float) -> torch.Tensor:
    return F.relu(margin - (whole - masked)).mean()


def _ones_like_tokens(embeds: torch.Tensor) -> torch.Tensor:
    return embeds.new_ones(embeds.shape[:2])

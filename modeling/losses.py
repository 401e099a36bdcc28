"""Contrastive losses on a batch of matched pairs (paper section 3.3; method.md, "Losses")."""

import torch
from torch.nn import functional as F

MAX_LOGIT_SCALE = 100.0  # the largest inverse temperature that training may reach, CLIP's


class CappedScale(torch.autograd.Function):
    """`min(scale, 100)`. At the cap the gradient still lowers the scale; a clamp's would be 0 and hold it for good."""

    @staticmethod
    def forward(ctx, scale: torch.Tensor) -> torch.Tensor:
        ctx.at_cap = scale >= MAX_LOGIT_SCALE
        return scale.clamp(max=MAX_LOGIT_SCALE)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return torch.where(ctx.at_cap, gradient.clamp(min=0), gradient)


def info_nce_loss(
    similarity: torch.Tensor,
    logit_scale: float | torch.Tensor = 100.0,
    *,
    wrong_texts: torch.Tensor | None = None,
) -> torch.Tensor:
    """InfoNCE: cross-entropy of the scaled similarities against the diagonal, mean of both directions.

    Args:
        similarity: `(B, B)`, text i belongs to video i.
        logit_scale: α, the inverse temperature.
        wrong_texts: `(N, B)` similarities of further texts that belong to none of the videos: more negatives for each
            video.

    Returns:
        scalar loss.

    Raises:
        ValueError: `similarity` is not square or is empty, or `wrong_texts` is of other videos.

    Example:
        >>> round(info_nce_loss(torch.zeros(2, 2)).item(), 4)  # two equal choices: log 2
        0.6931
    """
    _check_square(similarity)
    target = torch.arange(len(similarity), device=similarity.device)
    to_video, to_text = logit_scale * similarity, logit_scale * _all_texts(similarity, wrong_texts).t()
    return (F.cross_entropy(to_video, target) + F.cross_entropy(to_text, target)) / 2


def negnce_loss(
    similarity: torch.Tensor,
    logit_scale: float | torch.Tensor = 100.0,
    margin: float = 0.0,
    negative_weight: float = 0.5,
    *,
    wrong_texts: torch.Tensor | None = None,
) -> torch.Tensor:
    """NegNCE: InfoNCE plus an explicit push on hard negatives, mean of both directions (paper equation 9).

    A pair `(i, j)`, i ≠ j, is a hard negative where `s_ij + margin` exceeds `s_ii` or `s_jj`; the second term is
    `negative_weight` times the mean of `−log(1 − P_ij)` over them, absent where there are none. Both terms are finite
    everywhere and no gradient of a positive is cut (unlike a clamped probability; see method.md).

    Args:
        similarity: `(B, B)`, text i belongs to video i.
        logit_scale: α, the inverse temperature.
        margin: m, how close to a positive a negative counts as hard.
        negative_weight: β.
        wrong_texts: as in `info_nce_loss`; one is a hard negative of video j where its similarity exceeds `s_jj`.

    Returns:
        scalar loss.

    Raises:
        ValueError: `similarity` is not square or is empty, or `wrong_texts` is of other videos.
    """
    _check_square(similarity)
    texts = _all_texts(similarity, wrong_texts)
    positive, count = similarity.detach().diagonal(), len(similarity)
    pushed = texts.detach() + margin
    hard = pushed > positive
    hard[:count] |= pushed[:count] > positive[:, None]
    hard.fill_diagonal_(False)
    logits = logit_scale * texts
    to_video = _one_direction(logits[:count], hard[:count], negative_weight)
    return (to_video + _one_direction(logits.t(), hard.t(), negative_weight)) / 2


def _one_direction(logits: torch.Tensor, hard: torch.Tensor, negative_weight: float) -> torch.Tensor:
    log_probs = logits.log_softmax(dim=1)
    positive = -log_probs.diagonal().mean()
    # A masked mean rather than indexing: no data-dependent shape, so it compiles without a graph break.
    penalty = torch.where(hard, -_log1m_exp(log_probs), 0).sum() / hard.sum().clamp(min=1)
    return positive + negative_weight * penalty


def _log1m_exp(log_probs: torch.Tensor) -> torch.Tensor:
    """`log(1 − exp(x))` for x ≤ 0, with x kept away from 0, where the value would be −∞."""
    x = log_probs.clamp(max=-torch.finfo(log_probs.dtype).eps)
    return torch.log(-torch.expm1(x))


def _check_square(similarity: torch.Tensor) -> None:
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or not len(similarity):
        raise ValueError(
            f"similarity must be a square matrix of matched pairs (text i with video i), got {tuple(similarity.shape)}"
        )


def _all_texts(similarity: torch.Tensor, wrong_texts: torch.Tensor | None) -> torch.Tensor:
    """`(B + N, B)` similarities of the texts that belong to a video and of those that belong to none."""
    if wrong_texts is None:
        return similarity
    if wrong_texts.ndim != 2 or wrong_texts.shape[1] != len(similarity):
        raise ValueError(
            f"wrong_texts must be (texts, {len(similarity)}), similarities to the same videos, "
            f"got {tuple(wrong_texts.shape)}"
        )
    return torch.cat([similarity, wrong_texts])

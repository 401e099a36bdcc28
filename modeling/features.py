"""The two sides of a comparison, as the model makes them and the similarity takes them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F


class TextFeatures(NamedTuple):
    """Texts after the text tower. `dmae_similarity(*text_features, *video_features)` scores them.

    A whole number still picks a field, as in any tuple; anything else picks rows: `features[:8]`, `features[[3, 1]]`.

    Attributes:
        sentence_embeds: `(A, D)` end-of-text embedding, projected, unit norm.
        word_embeds: `(A, T, D)` every text token, projected, unit norm.
        word_weights: `(A, T)` weight of each token in the score; 0 marks padding.
    """

    sentence_embeds: torch.Tensor
    word_embeds: torch.Tensor
    word_weights: torch.Tensor

    def __getitem__(self, rows):
        return _rows(self, rows)

    def to(self, device=None, dtype: torch.dtype | None = None) -> "TextFeatures":
        """The same features on a device, in a precision."""
        return _to(self, device, dtype)

    @classmethod
    def cat(cls, batches: Sequence["TextFeatures"]) -> "TextFeatures":
        """One batch out of many; words are padded to the longest, with weight 0."""
        return _cat(cls, batches, longest=max(batch.word_weights.shape[1] for batch in batches))


class VideoFeatures(NamedTuple):
    """Videos after the vision tower; rows are picked as those of [`TextFeatures`] are.

    Attributes:
        frame_embeds: `(B, F, D)` one embedding per frame, projected, unit norm.
        frame_mask: `(B, F)` weight of each frame in the score (1 unless token weights are learned); 0 marks padding.
    """

    frame_embeds: torch.Tensor
    frame_mask: torch.Tensor

    def __getitem__(self, rows):
        return _rows(self, rows)

    def to(self, device=None, dtype: torch.dtype | None = None) -> "VideoFeatures":
        """The same features on a device, in a precision."""
        return _to(self, device, dtype)

    @classmethod
    def cat(cls, batches: Sequence["VideoFeatures"]) -> "VideoFeatures":
        """One batch out of many; frames are padded to the longest, with weight 0."""
        return _cat(cls, batches, longest=max(batch.frame_mask.shape[1] for batch in batches))


def _rows(features, rows):
    if isinstance(rows, int):
        return tuple.__getitem__(features, rows)
    return type(features)(*(part[rows] for part in features))


def _to(features, device, dtype):
    return type(features)(*(part.to(device=device, dtype=dtype) for part in features))


def _cat(kind, batches, longest: int):
    """Every field is `(N, L, …)` and padded along L, but for sentences, which are `(N, D)`."""

    def padded(name: str, part: torch.Tensor) -> torch.Tensor:
        if name == "sentence_embeds":
            return part
        return F.pad(part, (*(0, 0) * (part.ndim - 2), 0, longest - part.shape[1]))

    return kind(*(torch.cat([padded(name, getattr(batch, name)) for batch in batches]) for name in kind._fields))

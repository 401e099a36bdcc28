"""The two sides of a comparison, as the model makes them and the similarity takes them."""

from typing import NamedTuple

import torch


class TextFeatures(NamedTuple):
    """Texts after the text tower. `dmae_similarity(*text_features, *video_features)` scores them.

    Attributes:
        sentence_embeds: `(A, D)` end-of-text embedding, projected, unit norm.
        word_embeds: `(A, T, D)` every text token, projected, unit norm.
        word_weights: `(A, T)` weight of each token in the score; 0 marks padding.
    """

    sentence_embeds: torch.Tensor
    word_embeds: torch.Tensor
    word_weights: torch.Tensor


class VideoFeatures(NamedTuple):
    """Videos after the vision tower.

    Attributes:
        frame_embeds: `(B, F, D)` one embedding a frame, projected, unit norm.
        frame_mask: `(B, F)` weight of each frame in the score (1 unless token weights are learned); 0 marks padding.
    """

    frame_embeds: torch.Tensor
    frame_mask: torch.Tensor

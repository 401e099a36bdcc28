"""What [`DmaeModel`] returns."""

from dataclasses import dataclass

import torch
from transformers.utils.generic import ModelOutput

from .features import TextFeatures, VideoFeatures


@dataclass
class DmaeOutput(ModelOutput):
    """What [`DmaeModel`] returns. A texts, B videos, T tokens, F frames, D dimensions.

    Args:
        loss (`torch.FloatTensor`, *optional*, returned with `return_loss=True`): contrastive plus partial-order loss.
        contrastive_loss (`torch.FloatTensor`, *optional*): NegNCE or InfoNCE of the similarity.
        partial_order_loss (`torch.FloatTensor`, *optional*): TPM-CL, before `tpm_weight`.
        logits_per_text (`torch.FloatTensor` of shape `(A, B)`, *optional*): similarity times logit scale.
        logits_per_video (`torch.FloatTensor` of shape `(B, A)`, *optional*): its transpose.
        sentence_embeds (`torch.FloatTensor` of shape `(A, D)`, *optional*): end-of-text embeddings, unit norm.
        word_embeds (`torch.FloatTensor` of shape `(A, T, D)`, *optional*): token embeddings, unit norm.
        word_weights (`torch.FloatTensor` of shape `(A, T)`, *optional*): token weights, 0 on padding.
        frame_embeds (`torch.FloatTensor` of shape `(B, F, D)`, *optional*): frame embeddings, unit norm.
        frame_mask (`torch.FloatTensor` of shape `(B, F)`, *optional*): frame weights, 0 on padding.
        wrong_texts (`TextFeatures`, *optional*): features of the texts that belong to none of the videos.
    """

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    partial_order_loss: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    logits_per_video: torch.Tensor | None = None
    sentence_embeds: torch.Tensor | None = None
    word_embeds: torch.Tensor | None = None
    word_weights: torch.Tensor | None = None
    frame_embeds: torch.Tensor | None = None
    frame_mask: torch.Tensor | None = None
    wrong_texts: TextFeatures | None = None

    @property
    def text_features(self) -> TextFeatures:
        assert self.sentence_embeds is not None and self.word_embeds is not None and self.word_weights is not None
        return TextFeatures(self.sentence_embeds, self.word_embeds, self.word_weights)

    @property
    def video_features(self) -> VideoFeatures:
        assert self.frame_embeds is not None and self.frame_mask is not None
        return VideoFeatures(self.frame_embeds, self.frame_mask)

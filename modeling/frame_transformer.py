"""Attention over the frames of a video, the part of the model that knows their order."""

import copy

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.clip.modeling_clip import CLIPEncoder

from .configuration_dmae import DmaeConfig


class FrameTransformer(nn.Module):
    """Self-attention over a video's frames with learned positions, added to its input (CLIP4Clip's "seqTransf")."""

    def __init__(self, config: DmaeConfig):
        super().__init__()
        self.config = copy.deepcopy(config.text_config)
        self.config.hidden_size = config.projection_dim
        text = config.text_config
        self.config.intermediate_size = text.intermediate_size * config.projection_dim // text.hidden_size
        self.config.num_hidden_layers = config.temporal_layers
        self.config._attn_implementation = config._attn_implementation
        self.position_embedding = nn.Embedding(config.num_frames, config.projection_dim)
        self.encoder = CLIPEncoder(self.config)

    def forward(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        if frames.shape[1] > self.position_embedding.num_embeddings:
            raise ValueError(
                f"the frame transformer has positions for {self.position_embedding.num_embeddings} frames, "
                f"got {frames.shape[1]}"
            )
        positions = self.position_embedding(torch.arange(frames.shape[1], device=frames.device))
        hidden = frames + positions.to(frames.dtype)
        mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden, attention_mask=(frame_mask > 0).long()
        )
        return frames + self.encoder(inputs_embeds=hidden, attention_mask=mask).last_hidden_state

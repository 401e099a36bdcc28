"""Attention over the frames of a video, the part of the model that knows their order."""

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.clip.modeling_clip import CLIPEncoder

from .configuration_dmae import DmaeConfig
from .errors import InputError


def block_config(config: DmaeConfig) -> CLIPTextConfig:
    """CLIP's blocks at the size of the embeddings, in the proportions of the text tower."""
    text, dim = config.text_config, config.projection_dim
    blocks = CLIPTextConfig(
        hidden_size=dim,
        intermediate_size=text.intermediate_size * dim // text.hidden_size,
        num_hidden_layers=config.temporal_layers,
        num_attention_heads=next(n for n in range(text.num_attention_heads, 0, -1) if dim % n == 0),
        hidden_act=text.hidden_act,
        layer_norm_eps=text.layer_norm_eps,
        attention_dropout=getattr(text, "attention_dropout", 0.0),
    )
    blocks._attn_implementation = config._attn_implementation
    return blocks


class FrameTransformer(nn.Module):
    """Self-attention over a video's frames with learned positions, added to its input (CLIP4Clip's "seqTransf").

    With `frame_differences` a frame enters with what has changed since the one before it, through a linear layer: what
    moves, and when, can then be read off one frame (after the temporal difference block of CLIP2Video,
    arXiv:2106.11097, which has tokens of their own for it).
    """

    def __init__(self, config: DmaeConfig):
        super().__init__()
        self.config = block_config(config)
        self.position_embedding = nn.Embedding(config.num_frames, config.projection_dim)
        if config.frame_differences:
            self.difference = nn.Linear(config.projection_dim, config.projection_dim, bias=False)
        self.frame_differences = config.frame_differences
        self.encoder: Any = CLIPEncoder(cast(Any, self.config))  # it reads what towers share, and says CLIPConfig

    @torch.no_grad()
    def copy_blocks(self, text_tower: nn.Module) -> bool:
        """Takes the first blocks and positions of a text tower, as CLIP4Clip does; False where they do not fit."""
        blocks = getattr(getattr(text_tower, "encoder", None), "layers", ())
        positions = getattr(getattr(text_tower, "embeddings", None), "position_embedding", None)
        if len(blocks) < len(self.encoder.layers) or positions is None:
            return False
        pairs = list(zip(self.encoder.layers, blocks))
        if any(shapes(mine) != shapes(theirs) for mine, theirs in pairs):
            return False
        if len(positions.weight) < len(self.position_embedding.weight):
            return False
        for mine, theirs in pairs:
            mine.load_state_dict(theirs.state_dict())
        self.position_embedding.weight.copy_(positions.weight[: len(self.position_embedding.weight)])
        return True

    def forward(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        if frames.shape[1] > self.position_embedding.num_embeddings:
            raise InputError(
                f"the frame transformer has positions for {self.position_embedding.num_embeddings} frames, "
                f"got {frames.shape[1]}"
            )
        positions = self.position_embedding(torch.arange(frames.shape[1], device=frames.device))
        hidden = frames + positions.to(frames.dtype)
        if self.frame_differences:
            hidden = hidden + self.difference(F.pad(frames.diff(dim=1), (0, 0, 1, 0)))
        mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden, attention_mask=(frame_mask > 0).long()
        )
        return frames + self.encoder(inputs_embeds=hidden, attention_mask=mask).last_hidden_state


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}

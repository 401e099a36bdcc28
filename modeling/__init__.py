"""DMAE + TPM-CL: the model, its similarity and losses, and its processors."""

from .configuration_dmae import DmaeConfig
from .features import TextFeatures, VideoFeatures
from .loading import load_pretrained
from .losses import info_nce_loss, negnce_loss
from .modeling_dmae import DmaeModel, DmaeOutput
from .processing_dmae import DmaeProcessor
from .similarity import dmae_similarity, nearest_frames
from .token_masking import (
    AttentionTokenWeightPredictor,
    ProjectedAttentionTokenWeightPredictor,
    TokenWeightPredictor,
    adaptive_mask,
    partial_order_loss,
)
from .video_processing_dmae import DmaeVideoProcessor
from .video_reading import VideoDecodeError, VideoFrames, read_frames

__all__ = [
    "AttentionTokenWeightPredictor",
    "DmaeConfig",
    "DmaeModel",
    "DmaeOutput",
    "DmaeProcessor",
    "DmaeVideoProcessor",
    "ProjectedAttentionTokenWeightPredictor",
    "TextFeatures",
    "TokenWeightPredictor",
    "VideoDecodeError",
    "VideoFeatures",
    "VideoFrames",
    "adaptive_mask",
    "dmae_similarity",
    "info_nce_loss",
    "load_pretrained",
    "nearest_frames",
    "negnce_loss",
    "partial_order_loss",
    "read_frames",
]

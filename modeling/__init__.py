"""DMAE + TPM-CL: the model, its similarity and losses, and its processors."""

from .configuration_dmae import DmaeConfig
from .features import TextFeatures, VideoFeatures
from .losses import info_nce_loss, negnce_loss
from .modeling_dmae import DmaeModel, DmaeOutput
from .similarity import dmae_similarity, nearest_frames
from .token_masking import AttentionTokenWeightPredictor, TokenWeightPredictor, adaptive_mask, partial_order_loss

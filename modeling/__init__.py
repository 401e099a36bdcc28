"""DMAE + TPM-CL: the model, its similarity and losses, and its processors.

Imported on first use: the similarity, the losses and the reading of frames need no transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configuration_dmae import DmaeConfig
    from .encoding import encode_texts, encode_videos
    from .errors import DmaeError, InputError, MissingPackageError, ModelError, VideoDecodeError, one_line
    from .features import TextFeatures, VideoFeatures
    from .loading import load_pretrained
    from .losses import info_nce_loss, negnce_loss
    from .media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
    from .modeling_dmae import DmaeModel
    from .output import DmaeOutput
    from .picture_reading import is_picture, read_picture
    from .precision import place
    from .processing_dmae import DmaeProcessor
    from .remote_videos import RemoteVideo, RemoteVideoError, is_url
    from .similarity import dmae_similarity, nearest_frames
    from .token_masking import (
        AttentionTokenWeightPredictor,
        ProjectedAttentionTokenWeightPredictor,
        TokenWeightPredictor,
        adaptive_mask,
        partial_order_loss,
    )
    from .video_processing_dmae import DmaeVideoProcessor
    from .video_reading import VideoFrames, VideoLimits, read_frames
    from .video_stream import FrameStream

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "AttentionTokenWeightPredictor",
    "DmaeConfig",
    "DmaeError",
    "DmaeModel",
    "DmaeOutput",
    "DmaeProcessor",
    "DmaeVideoProcessor",
    "FrameStream",
    "InputError",
    "MissingPackageError",
    "ModelError",
    "ProjectedAttentionTokenWeightPredictor",
    "RemoteVideo",
    "RemoteVideoError",
    "TextFeatures",
    "TokenWeightPredictor",
    "VideoDecodeError",
    "VideoFeatures",
    "VideoFrames",
    "VideoLimits",
    "adaptive_mask",
    "dmae_similarity",
    "encode_texts",
    "encode_videos",
    "info_nce_loss",
    "is_picture",
    "is_url",
    "load_pretrained",
    "nearest_frames",
    "negnce_loss",
    "one_line",
    "partial_order_loss",
    "place",
    "read_frames",
    "read_picture",
]

_MODULES = {
    "IMAGE_SUFFIXES": "media_files",
    "VIDEO_SUFFIXES": "media_files",
    "AttentionTokenWeightPredictor": "token_masking",
    "DmaeConfig": "configuration_dmae",
    "DmaeError": "errors",
    "DmaeModel": "modeling_dmae",
    "DmaeOutput": "output",
    "DmaeProcessor": "processing_dmae",
    "DmaeVideoProcessor": "video_processing_dmae",
    "FrameStream": "video_stream",
    "InputError": "errors",
    "MissingPackageError": "errors",
    "ModelError": "errors",
    "ProjectedAttentionTokenWeightPredictor": "token_masking",
    "RemoteVideo": "remote_videos",
    "RemoteVideoError": "remote_videos",
    "TextFeatures": "features",
    "TokenWeightPredictor": "token_masking",
    "VideoDecodeError": "errors",
    "VideoFeatures": "features",
    "VideoFrames": "video_reading",
    "VideoLimits": "video_reading",
    "adaptive_mask": "token_masking",
    "dmae_similarity": "similarity",
    "encode_texts": "encoding",
    "encode_videos": "encoding",
    "info_nce_loss": "losses",
    "is_picture": "picture_reading",
    "is_url": "remote_videos",
    "load_pretrained": "loading",
    "nearest_frames": "similarity",
    "negnce_loss": "losses",
    "one_line": "errors",
    "partial_order_loss": "token_masking",
    "place": "precision",
    "read_frames": "video_reading",
    "read_picture": "picture_reading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""DMAE + TPM-CL: the model, its similarity and losses, and its processors.

Imported on first use: the similarity, the losses and the reading of frames need no transformers.
"""

from typing import TYPE_CHECKING

from .lazy_names import on_first_use

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

__getattr__ = on_first_use(
    globals(),
    {
        "configuration_dmae": ("DmaeConfig",),
        "encoding": ("encode_texts", "encode_videos"),
        "errors": ("DmaeError", "InputError", "MissingPackageError", "ModelError", "VideoDecodeError", "one_line"),
        "features": ("TextFeatures", "VideoFeatures"),
        "loading": ("load_pretrained",),
        "losses": ("info_nce_loss", "negnce_loss"),
        "media_files": ("IMAGE_SUFFIXES", "VIDEO_SUFFIXES"),
        "modeling_dmae": ("DmaeModel",),
        "output": ("DmaeOutput",),
        "picture_reading": ("is_picture", "read_picture"),
        "precision": ("place",),
        "processing_dmae": ("DmaeProcessor",),
        "remote_videos": ("RemoteVideo", "RemoteVideoError", "is_url"),
        "similarity": ("dmae_similarity", "nearest_frames"),
        "token_masking": (
            "AttentionTokenWeightPredictor",
            "ProjectedAttentionTokenWeightPredictor",
            "TokenWeightPredictor",
            "adaptive_mask",
            "partial_order_loss",
        ),
        "video_processing_dmae": ("DmaeVideoProcessor",),
        "video_reading": ("VideoFrames", "VideoLimits", "read_frames"),
        "video_stream": ("FrameStream",),
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)

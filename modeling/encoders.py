"""The dual encoders of transformers that can stand under the method: one row of `ENCODERS` per model type.

A dual encoder embeds texts and pictures apart, into one space. What differs between types is told by the row: which
state of the text tower is the sentence, whether projections follow the towers, how texts were padded in training and
how pictures were prepared. Read in the modeling files of transformers 5.24.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers.image_utils import PILImageResampling
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from .errors import InputError, ModelError


@dataclass(frozen=True)
class Encoder:
    """One type of dual encoder.

    Attributes:
        title: what people call it.
        text_tower, vision_tower: names of the towers' classes in transformers.
        text_length: tokens of the texts that it was trained with; a tower may have more positions.
        first_is_sentence: the sentence is the state of the first token, rather than the tower's pooled output.
        positions_follow_padding: a text's positions begin after the padding token's id, as RoBERTa's do.
        projected: bias-free linear layers follow both towers; without them the towers end in heads of their own.
        fixed_length: every text is padded to all positions, and attention sees the padding.
        lower_case: texts were in lower case.
        class_token: the vision tower's first token stands for the picture, the others for its patches.
        patches: the vision tower takes pictures cut into patches.
        squashed: pictures are resized to a square whatever their shape, rather than cropped to one.
        image_mean, image_std, resample: of pictures, where a checkpoint does not say.
    """

    title: str
    text_tower: str
    vision_tower: str
    text_length: int = 77
    first_is_sentence: bool = False
    positions_follow_padding: bool = False
    projected: bool = True
    fixed_length: bool = False
    lower_case: bool = False
    class_token: bool = True
    patches: bool = False
    squashed: bool = False
    image_mean: tuple[float, ...] = tuple(OPENAI_CLIP_MEAN)
    image_std: tuple[float, ...] = tuple(OPENAI_CLIP_STD)
    resample: int = PILImageResampling.BICUBIC


_SIGLIP: dict[str, Any] = {
    "text_length": 64,
    "projected": False,
    "fixed_length": True,
    "lower_case": True,
    "class_token": False,
    "squashed": True,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}

ENCODERS = {
    "clip": Encoder("CLIP", "CLIPTextModel", "CLIPVisionModel"),
    # Its end token has id 2, which CLIP's own text tower would take for a sign of a legacy checkpoint.
    "metaclip_2": Encoder("MetaCLIP 2", "MetaClip2TextModel", "MetaClip2VisionModel"),
    # Also SigLIP 2 at fixed resolutions: those checkpoints are of this type.
    "siglip": Encoder("SigLIP", "SiglipTextModel", "SiglipVisionModel", **_SIGLIP),
    # SigLIP 2 "naflex": pictures become squares here, where its own processor would keep their shape.
    "siglip2": Encoder(
        "SigLIP 2",
        "Siglip2TextModel",
        "Siglip2VisionModel",
        patches=True,
        resample=PILImageResampling.BILINEAR,
        **_SIGLIP,
    ),
    "altclip": Encoder("AltCLIP", "AltCLIPTextModel", "AltCLIPVisionModel", positions_follow_padding=True),
    "chinese_clip": Encoder(
        "Chinese-CLIP", "ChineseCLIPTextModel", "ChineseCLIPVisionModel", text_length=52, first_is_sentence=True
    ),
}

# Types that look like dual encoders and cannot be ones here.
_UNFIT = {
    "xclip": "its text embeddings depend on the video, so neither can be indexed",
    "pe_video": "transformers cannot compute its text and video features apart",
    "pe_audio_video": "transformers cannot compute its text and video features apart",
}


def unfit_message(name: str, model_type: str | None) -> str:
    """Why a checkpoint of `model_type` is no dual encoder, and what to give instead, in one line."""
    remedy = f"give a DMAE checkpoint or a dual encoder of type {', '.join(ENCODERS)}"
    if model_type in _UNFIT:
        return f"{name} is a {model_type!r} checkpoint: {_UNFIT[model_type]}; {remedy}"
    if model_type and model_type.endswith(("_text_model", "_vision_model")):
        return f"{name} is a {model_type!r} checkpoint, one tower of two: {remedy}"
    return f"{name} is a {model_type!r} checkpoint, no dual encoder known here: {remedy}"


def text_positions(encoder: Encoder, text_config) -> int:
    """How many tokens the text tower has positions for."""
    before = text_config.pad_token_id + 1 if encoder.positions_follow_padding else 0
    return text_config.max_position_embeddings - before


def picture_size(encoder: Encoder, vision_config) -> tuple[int, int]:
    """Height and width in pixels of the pictures that the vision tower takes."""
    if encoder.patches:
        side = math.isqrt(vision_config.num_patches) * vision_config.patch_size
        return side, side
    size = vision_config.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


def build_towers(encoder: Encoder, text_config, vision_config) -> tuple[nn.Module, nn.Module]:
    """The text and the vision tower, with new weights.

    Raises:
        ValueError: a vision tower without the head that makes one vector of a picture.
    """
    if not getattr(vision_config, "vision_use_head", True):
        raise ModelError("the vision tower has no pooling head (vision_use_head is false): use a checkpoint with one")
    options = {"add_pooling_layer": False} if encoder.first_is_sentence else {}
    text_tower = getattr(transformers, encoder.text_tower)._from_config(text_config, **options)
    return text_tower, getattr(transformers, encoder.vision_tower)._from_config(vision_config)


def build_projections(encoder: Encoder, text_config, vision_config, dim: int) -> tuple[nn.Module, nn.Module]:
    """What follows the towers: linear layers to `dim`, or nothing where the towers have heads of that size.

    Raises:
        ValueError: heads of another size than `dim`.
    """
    if encoder.projected:
        width = getattr(text_config, "project_dim", text_config.hidden_size)
        return nn.Linear(width, dim, bias=False), nn.Linear(vision_config.hidden_size, dim, bias=False)
    sizes = (text_config.projection_size, vision_config.hidden_size)
    if sizes != (dim, dim):
        raise InputError(f"the towers end in {sizes[0]} (text) and {sizes[1]} (vision), not projection_dim={dim}")
    return nn.Identity(), nn.Identity()


def text_states(
    encoder: Encoder, tower: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """States of the sentence `(A, W)` and of each token `(A, T, W)`, before any projection."""
    output = tower(input_ids=input_ids, attention_mask=None if encoder.fixed_length else attention_mask)
    words = output.last_hidden_state
    if not encoder.projected:
        words = tower.head(words)
    return words[:, 0] if encoder.first_is_sentence else output.pooler_output, words


def picture_states(encoder: Encoder, tower: Any, pixels: torch.Tensor, **options) -> torch.Tensor:
    """States `(N, W)` of pictures `(N, 3, H, W)`, before any projection. options: for the tower's layers."""
    if not encoder.patches:
        return tower(pixel_values=pixels, **options).pooler_output
    size = tower.config.patch_size
    rows, columns = pixels.shape[2] // size, pixels.shape[3] // size
    cut = pixels.unflatten(3, (columns, size)).unflatten(2, (rows, size))  # (N, 3, rows, size, columns, size)
    patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # (N, rows * columns, size * size * 3)
    shape = torch.tensor([[rows, columns]], device=pixels.device).expand(len(pixels), 2)
    return tower(pixel_values=patches, pixel_attention_mask=None, spatial_shapes=shape).pooler_output

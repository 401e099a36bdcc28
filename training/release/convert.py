"""Weights of other text-video codes as a DMAE model (`dmae convert`).

CLIP4Clip, TS2-Net, DRL and X-CLIP keep CLIP under OpenAI's names (`visual.conv1.weight`, …), with a prefix such as
`clip.` or `module.clip.`; the first three also train a transformer over the frames (`transformerClip.*`,
`frame_position_embeddings`), which is our frame transformer.
"""

import math
import os
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from dmae.modeling import DmaeConfig, DmaeError, DmaeModel, DmaeProcessor
from dmae.modeling.errors import one_line

StateDict = dict[str, torch.Tensor]

CLIP_TOKENIZER = "openai/clip-vit-base-patch32"
WRAPPERS = ("state_dict", "model_state_dict", "model")
HEAD_SIZE = 64  # of every CLIP that OpenAI released, and of its descendants here
ANCHOR = "visual.conv1.weight"
# OpenAI's name: ours. Layers and the two transposed projections are handled apart.
NAMES = {
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
PROJECTIONS = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
BLOCKS = {"visual.transformer.": "vision_model.encoder.", "transformer.": "text_model.encoder."}
BLOCK_PARTS = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
FRAME_BLOCKS, FRAME_POSITIONS = "transformerClip.", "frame_position_embeddings.weight"


class ConversionError(DmaeError, ValueError):
    """A checkpoint that cannot be converted: one line that says why and what to do."""


@dataclass(frozen=True)
class Conversion:
    """A converted model.

    unused: names in the checkpoint that have no place in the model. new: names in the model that the checkpoint does
    not have; they are as at the start of training.
    """

    model: DmaeModel
    unused: tuple[str, ...]
    new: tuple[str, ...]


def load_state_dict(path: str | os.PathLike) -> StateDict:
    """The tensors in a `.safetensors` file or in what `torch.save` wrote, with no code run.

    Raises:
        ConversionError: the file holds anything else. OSError: it cannot be read.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConversionError(f"{path} is not there: give a file that torch.save or safetensors wrote")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.split(r"\. |\n", str(error).partition("WeightsUnpickler error: ")[2].strip())[0]
        if not found:
            raise ConversionError(f"{path} is no checkpoint, or a torn one") from None
        raise ConversionError(
            f"{path} is refused: it holds more than tensors, which could run code on this machine ({found}); save "
            "`model.state_dict()` alone with torch.save"
        ) from None
    except Exception as error:  # torch and safetensors raise many kinds for a file that is none of theirs
        reason = one_line(error, 120)
        raise ConversionError(f"{path} is no checkpoint, or a torn one ({reason})") from None
    for name in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict):
        raise ConversionError(f"{path} holds a {type(state).__name__}, not a state_dict")
    return {name: value for name, value in state.items() if isinstance(name, str) and torch.is_tensor(value)}


def convert(state: StateDict, *, num_frames: int = 12, max_words: int = 32, **options) -> Conversion:
    """A DMAE model with the weights of a state dict in OpenAI's CLIP names.

    Args:
        state: as `load_state_dict` gives it; not changed.
        num_frames: F of the model; the frame transformer keeps the first F of its positions.
        options: further fields of `DmaeConfig`.

    Raises:
        ConversionError: this is no such CLIP, or a part of it is missing or of another shape.
    """
    anchor = next((name for name in state if name.endswith(ANCHOR)), None)
    if anchor is None:
        raise ConversionError(_no_clip(state))
    clip_prefix = anchor.removesuffix(ANCHOR)
    outer_prefix = clip_prefix.removesuffix("clip.")
    clip = {name.removeprefix(clip_prefix): name for name in state if name.startswith(clip_prefix)}
    outer = {name.removeprefix(outer_prefix): name for name in state if name.startswith(outer_prefix)}
    view = {name: state[original] for name, original in {**outer, **clip}.items()}
    original = {**outer, **clip}

    config = DmaeConfig(**{**_config(view, num_frames, max_words), **options})
    converted, used = _translate(view, config)
    torch.manual_seed(0)  # the heads that the checkpoint does not have
    model = DmaeModel(config).eval()
    _check_shapes(converted, model)
    missing, _ = model.load_state_dict(converted, strict=False)
    lost = [name for name in missing if name.startswith(("text_", "vision_", "visual_", "frame_transformer"))]
    if lost:
        raise ConversionError(f"the checkpoint lacks {len(lost)} weights of CLIP; the first would be {lost[0]}")
    unused = set(state) - {original[name] for name in used}
    return Conversion(model, tuple(sorted(unused)), tuple(missing))


def _no_clip(state: StateDict) -> str:
    if any(name.endswith("visual.layer1.0.conv1.weight") for name in state):
        return "a CLIP with a ResNet has no transformers counterpart: only ViT towers can be converted"
    if any(name.endswith("vision_model.embeddings.patch_embedding.weight") for name in state):
        return "the names are transformers' own: load it with DmaeModel.from_clip or from_pretrained"
    some = ", ".join(list(state)[:3]) or "nothing"
    return f"no CLIP under OpenAI's names here (no …{ANCHOR}); there is {some}, …"


def _config(view: StateDict, num_frames: int, max_words: int) -> dict:
    """What the shapes tell about the towers."""
    try:
        width, _, patch, _ = view[ANCHOR].shape
        grid = math.isqrt(len(view["visual.positional_embedding"]) - 1)
        text_width, dim = view["text_projection"].shape
        vocabulary, positions = len(view["token_embedding.weight"]), len(view["positional_embedding"])
    except (KeyError, ValueError) as error:
        raise ConversionError(f"the checkpoint lacks a part of CLIP, or it has another shape: {error}") from None
    temporal = _depth(view, FRAME_BLOCKS) if FRAME_POSITIONS in view else 0
    scale = {"logit_scale": min(100.0, view["logit_scale"].float().exp().item())} if "logit_scale" in view else {}
    return {
        "vision_config": _tower(width, _depth(view, "visual.transformer."))
        | {"patch_size": patch, "image_size": grid * patch},
        "text_config": _tower(text_width, _depth(view, "transformer."))
        # OpenAI's vocabulary ends with the start and the end of a text.
        | {"vocab_size": vocabulary, "max_position_embeddings": positions}
        | {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1},
        "projection_dim": dim,
        "num_frames": num_frames,
        "max_words": min(max_words, positions),
        "temporal_layers": temporal,
        **scale,
    }


def _tower(width: int, depth: int) -> dict:
    heads = max(1, width // HEAD_SIZE)
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": heads,
        "num_hidden_layers": depth,
    }


def _depth(view: StateDict, prefix: str) -> int:
    numbers = [int(found[1]) for name in view if (found := re.match(rf"{re.escape(prefix)}resblocks\.(\d+)\.", name))]
    return max(numbers, default=-1) + 1


def _translate(view: StateDict, config: DmaeConfig) -> tuple[StateDict, set[str]]:
    """The tensors under our names, and the names that they had."""
    converted, used = {}, {"logit_scale"} & set(view)
    blocks = BLOCKS | ({FRAME_BLOCKS: "frame_transformer.encoder."} if config.temporal_layers else {})
    for name, tensor in view.items():
        if name in NAMES:
            translated = {NAMES[name]: tensor}
        elif name in PROJECTIONS:
            translated = {PROJECTIONS[name]: tensor.T}
        elif name == FRAME_POSITIONS and config.temporal_layers:
            if len(tensor) < config.num_frames:
                raise ConversionError(f"the checkpoint has positions for {len(tensor)} frames: lower num_frames")
            translated = {"frame_transformer.position_embedding.weight": tensor[: config.num_frames]}
        else:
            translated = _translate_block(name, tensor, blocks)
        if translated:
            converted |= {key: value.float().contiguous() for key, value in translated.items()}
            used.add(name)
    return converted, used


def _translate_block(name: str, tensor: torch.Tensor, blocks: dict[str, str]) -> StateDict:
    found = re.fullmatch(r"(.*?)resblocks\.(\d+)\.(.+?)[._](weight|bias)", name)
    if found is None or found[1] not in blocks:
        return {}
    layer = f"{blocks[found[1]]}layers.{found[2]}"
    if found[3] == "attn.in_proj":
        return {f"{layer}.self_attn.{part}_proj.{found[4]}": rows for part, rows in zip("qkv", tensor.chunk(3))}
    return {f"{layer}.{BLOCK_PARTS[found[3]]}.{found[4]}": tensor} if found[3] in BLOCK_PARTS else {}


def _check_shapes(converted: StateDict, model: DmaeModel) -> None:
    expected = model.state_dict()
    for name, tensor in converted.items():
        if name in expected and tensor.shape != expected[name].shape:
            raise ConversionError(
                f"{name} has shape {tuple(tensor.shape)} in the checkpoint, where CLIP has "
                f"{tuple(expected[name].shape)}"
            )


def make_processor(config: DmaeConfig, tokenizer: str = CLIP_TOKENIZER) -> DmaeProcessor:
    """The processor of a converted model: CLIP's tokenizer, and frames by those codes' protocol (one per second).

    Raises:
        OSError: there is no such tokenizer. ConversionError: it is of another vocabulary.
    """
    tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    if len(tokenizer) != config.text_config.vocab_size:
        raise ConversionError(
            f"the tokenizer has {len(tokenizer)} tokens, the checkpoint {config.text_config.vocab_size}: name its own "
            "with --tokenizer"
        )
    return DmaeProcessor.for_config(config, tokenizer, sampling="per_second")

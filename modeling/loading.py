"""One way to get a model with its processor, whatever kind of checkpoint is named."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer
from transformers.image_processing_base import ImageProcessingMixin

from .configuration_dmae import DmaeConfig
from .encoders import ENCODERS, picture_size
from .errors import DmaeError, MissingPackageError, ModelError, one_line
from .modeling_dmae import HUB_OPTIONS, DmaeModel
from .processing_dmae import DmaeProcessor
from .video_processing_dmae import FILTERS

# What a dual encoder's preprocessor_config.json says of pictures, by the names it has there and in ours.
PICTURE_FIELDS = (
    "do_convert_rgb", "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor",
    "do_normalize", "image_mean", "image_std",
)  # fmt: skip
SIZE_FIELDS = ("do_resize", "size", "do_center_crop", "crop_size")


def load_pretrained(name_or_path: str | Path, **kwargs) -> tuple[DmaeModel, DmaeProcessor]:
    """A model in evaluation mode and its processor, from a DMAE checkpoint or, zero-shot, from a dual encoder.

    A dual encoder brings its own preprocessing: size, crop, resampling and normalisation of pictures from its
    `preprocessor_config.json`, its tokenizer, and the length and padding of texts that it was trained with.

    Args:
        name_or_path: folder or Hub id.
        kwargs: as for `from_pretrained` (`revision`, `token`, `dtype`, …); for a dual encoder also fields of
            `DmaeConfig`.

    Raises:
        OSError: there is no such checkpoint. ModelError: it is neither DMAE nor a dual encoder known here, or it is
            damaged. MissingPackageError: its tokenizer needs a package that is not installed.
    """
    name_or_path = str(name_or_path)
    if name_or_path.startswith(("/", ".", "~")) and not Path(name_or_path).exists():
        raise OSError(f"there is no folder {name_or_path}: give the folder of a model, or its Hub id")
    if Path(name_or_path).is_dir() and not (Path(name_or_path) / "config.json").is_file():
        raise OSError(f"{name_or_path} is a folder without config.json: give a model that save_pretrained wrote")
    hub_options = {name: kwargs[name] for name in HUB_OPTIONS if name in kwargs}
    with _named(name_or_path):
        if AutoConfig.from_pretrained(name_or_path, **hub_options).model_type == "dmae":
            model = DmaeModel.from_pretrained(name_or_path, **kwargs)
            processor = DmaeProcessor.from_pretrained(name_or_path, **hub_options)
        else:
            model = DmaeModel.from_dual_encoder(name_or_path, **kwargs)
            processor = DmaeProcessor.for_config(
                model.config,
                _load_tokenizer(name_or_path, model.config.encoder, hub_options),
                **_saved_picture_options(name_or_path, model.config, hub_options),
            )
    return model.eval(), processor


@contextmanager
def _named(name_or_path: str) -> Iterator[None]:
    """Names the checkpoint in what its files make the libraries raise, of many kinds: each has a format of its own."""
    try:
        yield
    except (DmaeError, OSError):
        raise
    except (ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{name_or_path} cannot be loaded as a model: {one_line(error, 300)}") from error


def _saved_picture_options(name: str, config: DmaeConfig, hub_options: dict) -> dict[str, Any]:
    """What the checkpoint itself says of its pictures; nothing where it says nothing."""
    try:
        saved, _ = ImageProcessingMixin.get_image_processor_dict(name, **hub_options)
    except OSError:
        return {}
    options = {field: saved[field] for field in PICTURE_FIELDS if saved.get(field) is not None}
    encoder = ENCODERS[config.encoder]
    wanted = picture_size(encoder, config.vision_config)
    if encoder.patches or _final_size(options) != wanted:
        # What it says of sizes is a number of patches there.
        if not encoder.patches and {"size", "crop_size"} & options.keys():
            told = f"{name} prepares pictures of another size than its tower's {wanted}: the tower's is used"
            warnings.warn(told, stacklevel=4)
        options = {field: value for field, value in options.items() if field not in SIZE_FIELDS}
    if options.get("resample", 0) not in (0, *FILTERS):
        warnings.warn(f"{name} resizes pictures with filter {options['resample']}; bicubic is used", stacklevel=4)
    return options


def _final_size(options: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width of the pictures that a checkpoint's preprocessing ends with, where it says so."""
    size = options.get("crop_size") if options.get("do_center_crop", "crop_size" in options) else options.get("size")
    if isinstance(size, int):
        return size, size
    return (size["height"], size["width"]) if size and {"height", "width"} <= size.keys() else None


def _load_tokenizer(name: str, encoder: str, hub_options: dict):
    try:
        return AutoTokenizer.from_pretrained(name, **hub_options)
    except Exception as error:
        if encoder == "siglip" and not (find_spec("sentencepiece") and find_spec("google.protobuf")):
            raise MissingPackageError(
                f"the tokenizer of {name} needs sentencepiece: pip install sentencepiece protobuf"
            ) from error
        raise

"""One way to get a model with its processor, whatever kind of checkpoint is named."""

from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from .modeling_dmae import DmaeModel
from .processing_dmae import DmaeProcessor


def load_pretrained(name_or_path: str | Path, **kwargs) -> tuple[DmaeModel, DmaeProcessor]:
    """A model in evaluation mode and its processor, from a DMAE checkpoint or, zero-shot, from a CLIP one.

    Args:
        name_or_path: folder or Hub id.
        kwargs: as for `from_pretrained` (`revision`, `token`, `dtype`, …); for CLIP also fields of `DmaeConfig`.

    Raises:
        OSError: there is no such checkpoint. ValueError: it is neither DMAE nor CLIP.
    """
    name_or_path = str(name_or_path)
    if name_or_path.startswith(("/", ".", "~")) and not Path(name_or_path).exists():
        raise OSError(f"there is no folder {name_or_path}: give the folder of a model, or its Hub id")
    if Path(name_or_path).is_dir() and not (Path(name_or_path) / "config.json").is_file():
        raise OSError(f"{name_or_path} is a folder without config.json: give a model that save_pretrained wrote")
    hub_names = ("revision", "token", "cache_dir", "local_files_only")
    hub_options = {name: kwargs[name] for name in hub_names if name in kwargs}
    config = AutoConfig.from_pretrained(name_or_path, **hub_options)
    if config.model_type == "clip":
        model = DmaeModel.from_clip(name_or_path, **kwargs)
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, **hub_options)
        processor = DmaeProcessor.for_config(model.config, tokenizer)
    elif config.model_type == "dmae":
        model = DmaeModel.from_pretrained(name_or_path, **kwargs)
        processor = DmaeProcessor.from_pretrained(name_or_path, **hub_options)
    else:
        raise ValueError(f"{name_or_path} is a {config.model_type!r} checkpoint: give a DMAE or a CLIP one")
    return model.eval(), processor

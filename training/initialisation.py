"""The model and the processor that a training run starts from."""

import math

from transformers import AutoTokenizer

from dmae.modeling import DmaeConfig, DmaeModel, DmaeProcessor
from dmae.modeling.loading import load_pretrained

from .config import ConfigError, TrainConfig, check_names, converted
from .lora import add_lora
from .optimization import freeze_clip

# Of a checkpoint's options, those that say where it comes from rather than what it is.
PASSED_ON = frozenset(("attn_implementation", "cache_dir", "local_files_only", "revision", "subfolder", "token"))


def load_model(config: TrainConfig) -> tuple[DmaeModel, DmaeProcessor]:
    """The model, ready to be trained in float32, and its processor, set to the configuration's frames and words.

    Raises:
        OSError: there is no such checkpoint. ModelError: it is of another kind. InputError: an option does not fit it.
    """
    options = checked_options("model_options", config.model_options)
    if config.attn_implementation:
        options["attn_implementation"] = config.attn_implementation
    lengths = {"num_frames": config.num_frames, "max_words": config.max_words}
    lengths = {name: length for name, length in lengths.items() if length is not None}
    if config.model_config is not None:
        model, processor = _from_scratch(config, {**lengths, **options})
    elif config.model is not None:
        model, processor = load_pretrained(config.model, dtype="float32", **options)
        _refuse_longer(model.config, lengths, config.model)
    else:
        encoder = config.encoder or config.clip
        assert encoder is not None, "config.check() has seen to it"
        model, processor = load_pretrained(encoder, dtype="float32", **{**lengths, **options})
    if "logit_scale" in options and model.config.learn_logit_scale:  # a checkpoint's own is used where none is given
        model.logit_scale.data.fill_(math.log(options["logit_scale"]))
    _set_processor(processor, config)
    if config.freeze_clip:
        freeze_clip(model)
    if model.config.tpm_predictor is not None:
        # Again: from_pretrained undoes the model's own freezing.
        model.frame_predictor.requires_grad_(False)
    if config.lora is not None:
        add_lora(model, config.lora)
    if config.gradient_checkpointing:
        model.activation_checkpointing_enable()
    return model.train(), processor


def checked_options(key: str, options: dict) -> dict:
    """Fields of `DmaeConfig` as `dmae train` was given them, of the right types; `from_pretrained`'s own pass.

    Raises:
        ConfigError: a field that there is not, with the nearest one, or a value of the wrong type.
    """
    hints = DmaeConfig.__annotations__
    ours = {name: value for name, value in options.items() if name not in PASSED_ON}
    check_names(ours, hints, f"{key}.")
    return {**options, **{name: converted(f"{key}.{name}", value, hints[name]) for name, value in ours.items()}}


def _from_scratch(config: TrainConfig, options: dict) -> tuple[DmaeModel, DmaeProcessor]:
    attention = options.pop("attn_implementation", None)
    dmae_config = DmaeConfig(**{**checked_options("model_config", config.model_config or {}), **options})
    model = DmaeModel._from_config(dmae_config, **({"attn_implementation": attention} if attention else {}))
    return model, DmaeProcessor.for_config(dmae_config, AutoTokenizer.from_pretrained(config.tokenizer))


def _refuse_longer(model_config: DmaeConfig, lengths: dict[str, int], name: str) -> None:
    """Predictors and positions of a DMAE checkpoint have fixed lengths."""
    for key, length in lengths.items():
        if length > getattr(model_config, key):
            raise ConfigError(
                f"{key}={length}, but {name} was made for {getattr(model_config, key)}: lower it, or start from "
                "encoder="
            )


def _set_processor(processor: DmaeProcessor, config: TrainConfig) -> None:
    if config.num_frames is not None:
        processor.video_processor.num_frames = config.num_frames
    if config.sampling is not None:
        processor.video_processor.sampling = config.sampling
    if config.max_words is not None:
        processor.max_words = config.max_words
    if config.word_weighting is not None:
        processor.word_weighting = config.word_weighting
    if processor.word_weighting != "idf" or processor.token_frequencies is not None:  # else the captions teach it
        processor(text="a")  # what its weighting needs and does not find is told now, not in the first batch

"""The model and the processor that a training run starts from."""

from transformers import AutoTokenizer

from dmae.modeling import DmaeConfig, DmaeModel, DmaeProcessor
from dmae.modeling.loading import load_pretrained

from .config import ConfigError, TrainConfig
from .optimization import freeze_clip


def load_model(config: TrainConfig) -> tuple[DmaeModel, DmaeProcessor]:
    """The model, ready to be trained in float32, and its processor, set to the configuration's frames and words.

    Raises:
        OSError: there is no such checkpoint. ValueError: it is of another kind, or an option does not fit it.
    """
    options = dict(config.model_options)
    if config.attn_implementation:
        options["attn_implementation"] = config.attn_implementation
    lengths = {"num_frames": config.num_frames, "max_words": config.max_words}
    lengths = {name: length for name, length in lengths.items() if length is not None}
    if config.model_config is not None:
        model, processor = _from_scratch(config, {**lengths, **options})
    elif config.clip is not None:
        model, processor = load_pretrained(config.clip, dtype="float32", **{**lengths, **options})
    else:
        model, processor = load_pretrained(config.model, dtype="float32", **options)
        _refuse_longer(model.config, lengths, config.model)
    _set_processor(processor, config)
    if config.freeze_clip:
        freeze_clip(model)
    if model.config.tpm_predictor is not None:
        # Again: from_pretrained undoes the model's own freezing.
        model.frame_predictor.requires_grad_(False)
    if config.gradient_checkpointing:
        model.activation_checkpointing_enable()
    return model.train(), processor


def _from_scratch(config: TrainConfig, options: dict) -> tuple[DmaeModel, DmaeProcessor]:
    attention = options.pop("attn_implementation", None)
    dmae_config = DmaeConfig(**{**config.model_config, **options})
    model = DmaeModel._from_config(dmae_config, **({"attn_implementation": attention} if attention else {}))
    return model, DmaeProcessor.for_config(dmae_config, AutoTokenizer.from_pretrained(config.tokenizer))


def _refuse_longer(model_config: DmaeConfig, lengths: dict[str, int], name: str) -> None:
    """Predictors and positions of a DMAE checkpoint have fixed lengths."""
    for key, length in lengths.items():
        if length > getattr(model_config, key):
            raise ConfigError(
                f"{key}={length}, but {name} was made for {getattr(model_config, key)}: lower it, or start from clip="
            )


def _set_processor(processor: DmaeProcessor, config: TrainConfig) -> None:
    if config.num_frames is not None:
        processor.video_processor.num_frames = config.num_frames
    if config.sampling is not None:
        processor.video_processor.sampling = config.sampling
    if config.max_words is not None:
        processor.max_words = config.max_words

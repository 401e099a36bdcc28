"""The configuration of a training run: one dataclass, filled from a YAML file and `key=value` overrides."""

import difflib
import math
import os
import re
import types
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Union, get_args, get_origin, get_type_hints

import yaml

RANGES = {
    **dict.fromkeys(("epochs", "gradient_accumulation_steps", "micro_batch_size", "max_steps"), (1, math.inf)),
    **dict.fromkeys(("log_every", "keep_checkpoints", "eval_batch_size", "num_frames"), (1, math.inf)),
    **dict.fromkeys(("checkpoint_every", "num_workers", "shuffle_buffer", "seed", "caption_edits"), (0, math.inf)),
    **dict.fromkeys(("clip_learning_rate", "learning_rate", "weight_decay", "max_grad_norm"), (0, math.inf)),
    "eval_every": (-1, math.inf),
    "warmup_ratio": (0, 1),
    "max_words": (3, math.inf),  # the start and the end of a text are two
}
METRIC = re.compile(r"(t2v|v2t)_(R@1|R@5|R@10|MdR|MnR)|hard_negative_accuracy(/.+)?")


class ConfigError(ValueError):
    """A configuration that cannot be used: one line that names the key and the remedy."""


@dataclass
class TrainConfig:
    """Everything that makes a run; the defaults are the paper's recipe (section 4.1).

    The model is one of `model`, `clip` or `model_config`.
    """

    # Model
    model: str | None = None  # a DMAE checkpoint with its processor: folder or Hub id
    clip: str | None = None  # a CLIP checkpoint to start from: folder or Hub id
    model_config: dict | None = None  # fields of DmaeConfig: start from random weights; needs `tokenizer`
    tokenizer: str | None = None  # of `model_config`: folder or Hub id; a checkpoint brings its own
    model_options: dict = field(default_factory=dict)  # fields of DmaeConfig that differ from the checkpoint's
    # Data
    dataset: str = ""  # msrvtt, msvd, didemo, activitynet, a folder, or a Hub id
    videos: str | None = None  # the folder of the videos, where they do not lie beside their table
    annotations: str | None = None  # the folder of a benchmark's annotation files
    train_split: str = "train"
    eval_split: str | None = "test"  # null: no evaluation
    eval_dataset: str | None = None  # another source of the evaluation split
    missing: Literal["error", "skip"] = "error"  # what to do with captions whose video file is not there
    streaming: bool = False  # read a Hub dataset while it downloads; needs max_steps
    shuffle_buffer: int = 100  # videos among which a stream is shuffled
    # Input
    num_frames: int | None = None  # null: as the processor has it
    max_words: int | None = None  # null: as the processor has it
    sampling: Literal["midpoints", "per_second"] | None = None  # null: as the processor has it
    cache_frames: str = "none"  # "memory": decode each video once and keep its frames; or a folder of `dmae frames`
    random_frames: bool = False  # draw each segment's frame at random among those of the folder of `dmae frames`
    num_workers: int = 4  # decoding processes of each training process
    drop_last: bool = False  # leave out an epoch's last batch where it is smaller
    epoch_over: Literal["captions", "videos"] = "captions"  # an epoch shows every caption, or every video once
    word_dropping: bool = True  # the method's random dropping of uninformative words
    caption_edits: int = 0  # beyond the paper: wrong copies of each caption, further negatives of the videos
    # Optimisation
    epochs: int = 5
    max_steps: int | None = None  # optimizer steps, instead of epochs
    batch_size: int = 128  # of all processes together: what the contrastive loss sees
    micro_batch_size: int | None = None  # per process: cache features and recompute in pieces of this size
    gradient_accumulation_steps: int = 1
    clip_learning_rate: float = 1e-7
    learning_rate: float = 1e-4  # of the new modules
    weight_decay: float = 0.2
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    adam_epsilon: float = 1e-6
    warmup_ratio: float = 0.1
    max_grad_norm: float = 1.0
    freeze_clip: bool = False
    # Execution
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None  # null: as `accelerate launch` says
    gradient_checkpointing: bool = False
    attn_implementation: str | None = None
    compile: bool = False
    seed: int = 42
    deterministic: bool = False
    cpu: bool = False
    # Output
    output_dir: str = "runs/dmae"
    resume: str | None = "auto"  # "auto": the newest checkpoint of output_dir, if any; null: none; or a folder
    checkpoint_every: int = 500  # optimizer steps; 0: each epoch; besides when interrupted and at the end
    keep_checkpoints: int = 2
    eval_every: int = 0  # optimizer steps; 0: at the end of each epoch; -1: only at the end
    eval_batch_size: int = 64
    best_metric: str = "t2v_R@1"
    log_every: int = 10
    trackers: list[str] = field(default_factory=list)  # tensorboard, wandb, … through Accelerate
    progress: bool = True
    push_to_hub: bool = False
    hub_model_id: str | None = None
    hub_private: bool = False

    def to_dict(self) -> dict:
        return asdict(self)

    def check(self) -> None:
        """Raises ConfigError for values that cannot work together, before anything slow begins."""
        if sum(value is not None for value in (self.model, self.clip, self.model_config)) != 1:
            raise ConfigError(
                "start from exactly one of model=<DMAE checkpoint>, clip=<CLIP checkpoint> and model_config={…}"
            )
        if self.model_config is not None and not self.tokenizer:
            raise ConfigError("model_config starts from random weights: give tokenizer=<folder or Hub id> too")
        if self.model_config is None and self.tokenizer is not None:
            raise ConfigError("tokenizer goes with model_config: a checkpoint (model=, clip=) brings its own")
        if not self.dataset:
            raise ConfigError("dataset is missing: a folder, a Hub id, msrvtt, msvd, didemo or activitynet")
        if self.batch_size < 2:
            raise ConfigError(f"batch_size={self.batch_size}: a contrastive loss needs at least 2 pairs to compare")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                limits = f"at least {least}" if most == math.inf else f"from {least} to {most}"
                raise ConfigError(f"{name}={value} must be {limits}")
        if not METRIC.fullmatch(self.best_metric):
            raise ConfigError(
                f"best_metric={self.best_metric} is not measured: it must be t2v_ or v2t_ before R@1, R@5, R@10, MdR "
                "or MnR, or hard_negative_accuracy"
            )
        if self.streaming and (self.max_steps is None or self.cache_frames != "none"):
            raise ConfigError("streaming=true needs max_steps=<number> (a stream has no length) and cache_frames=none")
        if self.random_frames and self.cache_frames in ("none", "memory"):
            raise ConfigError("random_frames=true needs cache_frames=<folder that `dmae frames` wrote>")
        if self.push_to_hub and not self.hub_model_id:
            raise ConfigError("push_to_hub=true needs hub_model_id=<owner/name>")


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> TrainConfig:
    """The configuration in a YAML file, changed by `key=value` texts (values in YAML; `model_options.loss=infonce`
    reaches into a mapping). A file may begin with `extends: other.yaml`, beside it, and say only what differs.

    Raises:
        ConfigError: an unknown key (with the nearest name), a value of the wrong type, or no YAML mapping.
    """
    values = _read(Path(path)) if path else {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override!r}: overrides are written key=value")
        _assign(values, key.strip(), _parse(text, override))
    return config_from_dict(values)


def config_from_dict(values: dict) -> TrainConfig:
    """As `load_config`, from a mapping."""
    hints = get_type_hints(TrainConfig)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(hints)}"
            raise ConfigError(f"unknown key {key!r} in the training configuration: {hint}")
    return TrainConfig(**{key: _convert(key, value, hints[key]) for key, value in values.items()})


def save_config(config: TrainConfig, path: Path) -> None:
    """Writes what differs from the defaults, readable by `load_config`."""
    defaults = TrainConfig().to_dict()
    values = {key: value for key, value in config.to_dict().items() if value != defaults[key]}
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _read(path: Path, extended: tuple[Path, ...] = ()) -> dict:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; examples are in training/configs") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path} must hold 'key: value' lines, not a {type(values).__name__}")
    values = values or {}
    if "extends" not in values:
        return values
    if path.resolve() in extended:
        raise ConfigError(f"{path} extends itself")
    base = _read(path.parent / str(values.pop("extends")), (*extended, path.resolve()))
    for key, value in values.items():
        inner = isinstance(base.get(key), dict) and isinstance(value, dict)
        base[key] = {**base[key], **value} if inner else value
    return base


def _parse(text: str, override: str):
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{override!r}: the value is no YAML; quote it") from None


def _assign(values: dict, key: str, value) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{key}: {parent!r} is not a mapping")
    values[last] = value


def _convert(key: str, value, hint):
    """`value` as the type `hint`. Numbers may be texts: YAML 1.1 reads 1e-7 (without a point) as one."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    wanted = next(option for option in options if option is not type(None))
    if get_origin(wanted) is Literal:
        # YAML 1.1 reads a bare `no` as false.
        value = "no" if value is False and "no" in get_args(wanted) else value
        if value not in get_args(wanted):
            raise ConfigError(f"{key}={value!r}: it must be one of {', '.join(get_args(wanted))}")
        return value
    wanted = get_origin(wanted) or wanted
    if wanted is float and not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    if wanted is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if wanted is str and isinstance(value, str) and value.startswith("~/"):  # YAML has no shell before it
        return os.path.expanduser(value)
    if isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{key}={value!r}: it must be a {wanted.__name__}, not a {type(value).__name__}")

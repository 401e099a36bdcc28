"""The configuration of a training run: one dataclass, filled from a YAML file and `key=value` overrides."""

import difflib
import math
import os
import re
import types
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from dmae.modeling.errors import DmaeError, one_line

METRIC = re.compile(r"(t2v|v2t)_(R@1|R@5|R@10|MdR|MnR)|hard_negative_accuracy(/.+)?")


class ConfigError(DmaeError, ValueError):
    """A configuration that cannot be used: one line that names the key and the remedy."""


def key(
    default: Any,
    help: str,
    *,
    section: str | None = None,
    least: float = -math.inf,
    most: float = math.inf,
    resumable: bool = False,
    path: bool = False,
) -> Any:
    """A key of the configuration with all that is known of it.

    Args:
        help: what it means, as `dmae train --help` and docs/configuration.md print it.
        section: the heading of this key and those that follow it, up to the next heading.
        least, most: the bounds of a number, both allowed.
        resumable: a run that continues from a checkpoint may have another value: it says where and how fast the run
            goes and what it reports, not what is learned.
        path: it may name a place on this machine, which no published file tells.
    """
    about = {"help": help, "section": section, "least": least, "most": most, "resumable": resumable, "path": path}
    if isinstance(default, dict | list):
        return field(default_factory=default.copy, metadata=about)
    return field(default=default, metadata=about)


@dataclass
class TrainConfig:
    """Everything that makes a run; the defaults are the numbers of the paper's section 4.1."""

    model: str | None = key(None, "a DMAE checkpoint with its processor: folder or Hub id", path=True, section="Model")
    encoder: str | None = key(
        None, "a dual encoder to start from (CLIP, SigLIP, …: docs/encoders.md): folder or Hub id", path=True
    )
    clip: str | None = key(None, "encoder's earlier name", path=True)
    model_config: dict | None = key(None, "fields of DmaeConfig: start from random weights; needs tokenizer")
    tokenizer: str | None = key(None, "of model_config: folder or Hub id; a checkpoint brings its own", path=True)
    model_options: dict = key({}, "fields of DmaeConfig that differ from the checkpoint's")

    dataset: str = key("", "msrvtt, msvd, didemo, activitynet, a folder, or a Hub id", path=True, section="Data")
    videos: str | None = key(
        None, "the folder or URL of the videos, where they do not lie beside their table", path=True, resumable=True
    )
    annotations: str | None = key(None, "the folder of a benchmark's annotation files", path=True, resumable=True)
    train_split: str = key("train", "the split to train on")
    eval_split: str | None = key(
        "test", "the split to measure on and to choose the model by; null: no evaluation", resumable=True
    )
    test_split: str | None = key(
        None, "a split to measure the chosen model on, once, when all is done; null: none", resumable=True
    )
    eval_dataset: str | None = key(None, "another source of the evaluation split", path=True, resumable=True)
    missing: Literal["error", "skip"] = key("error", "what to do with captions whose video file is not there")
    sentence_order: Literal["file", "time"] = key(
        "file", "how sentences make DiDeMo's and ActivityNet's paragraphs; published numbers: file"
    )
    streaming: bool = key(False, "read a Hub dataset while it downloads; needs max_steps")
    shuffle_buffer: int = key(100, "videos among which a stream is shuffled", least=0)

    num_frames: int | None = key(None, "frames per video; null: as the processor has it", least=1, section="Input")
    max_words: int | None = key(
        None, "tokens per text, its start and end included; null: as the processor has it", least=3
    )
    word_weighting: Literal["stopwords", "pos", "idf", "none"] | None = key(
        None,
        "content words, which weigh 2, are all but stop words; or nouns, verbs and adjectives as in the method (pos, "
        "needs spaCy); idf: the rarer in the training captions; none: no word weighs more; null: as the processor has "
        "it",
    )
    sampling: Literal["midpoints", "per_second"] | None = key(
        None, "which frames: the middles of equal segments, or one per second; null: as the processor has it"
    )
    cache_frames: str = key(
        "none",
        "none: decode at each use; memory: decode each video once and keep its frames; or a folder of `dmae frames`",
        path=True,
        resumable=True,
    )
    random_frames: bool = key(False, "draw each segment's frame at random among those of the folder of `dmae frames`")
    num_workers: int = key(4, "decoding processes of each training process", least=0, resumable=True)
    drop_last: bool = key(False, "leave out an epoch's last batch where it is smaller")
    epoch_over: Literal["captions", "videos"] = key(
        "captions", "an epoch shows every caption, or every video once with one of its captions"
    )
    consecutive: int = key(
        1,
        "so many videos that follow one another in the corpus share a batch, where neighbours are alike and hard to "
        "tell apart: clips of one film, near-copies",
        least=1,
    )
    word_dropping: bool = key(True, "the method's random dropping of uninformative words")
    caption_edits: int = key(
        0, "beyond the paper: wrong copies of each caption, further negatives of the videos", least=0
    )
    event_twins: float = key(
        0.0,
        "beyond the paper: in this last share of the epochs a pair whose caption tells two events brings a twin into "
        "its batch, caption and frames with the two exchanged, so that only order tells them apart",
        least=0,
        most=1,
    )

    epochs: int = key(5, "passes over the data", least=1, section="Optimisation")
    max_steps: int | None = key(None, "optimizer steps, instead of epochs", least=1)
    batch_size: int = key(
        128, "pairs of all processes together, each compared with the others by the contrastive loss", least=2
    )
    micro_batch_size: int | None = key(
        None,
        "per process: cache features and recompute in pieces of this size (less memory, the same loss)",
        least=1,
        resumable=True,
    )
    gradient_accumulation_steps: int = key(1, "batches per optimizer step", least=1)
    clip_learning_rate: float = key(1e-7, "of the encoder's own weights, CLIP's or another's", least=0)
    learning_rate: float = key(1e-4, "of the new modules", least=0)
    weight_decay: float = key(0.2, "of the matrices; none on biases, norms and scales", least=0)
    adam_beta1: float = key(0.9, "decay of Adam's mean of gradients", least=0, most=1)
    adam_beta2: float = key(0.98, "decay of Adam's mean of squared gradients", least=0, most=1)
    adam_epsilon: float = key(1e-6, "added to the denominator of Adam's step", least=0)
    warmup_ratio: float = key(0.1, "share of the steps in which the learning rates rise from 0", least=0, most=1)
    max_grad_norm: float = key(1.0, "a longer gradient is shortened to this", least=0)
    freeze_clip: bool = key(False, "train the new modules only, not the encoder")
    lora: dict | None = key(
        None, "train low-rank adapters in the encoder's attention, by PEFT: {r: 16}; lora_alpha, lora_dropout, …"
    )

    mixed_precision: Literal["no", "fp16", "bf16", "auto"] | None = key(
        None,
        "null: as `accelerate launch` says; auto: bf16 where the GPU or the CPU multiplies it, else no",
        section="Execution",
    )
    gradient_checkpointing: bool = key(
        False, "recompute the towers' activations in the backward pass: less memory, more time", resumable=True
    )
    attn_implementation: str | None = key(
        None, "attention as transformers names it: sdpa, eager, …; null: its own choice", resumable=True
    )
    compile: bool = key(False, "torch.compile the model", resumable=True)
    seed: int = key(42, "of weights, order, dropping and frames", least=0)
    deterministic: bool = key(False, "only operations whose result is always the same, slower", resumable=True)
    cpu: bool = key(False, "stay on the CPU where there is a GPU", resumable=True)

    output_dir: str = key(
        "runs/dmae",
        "the folder of the model, its checkpoints and metrics",
        path=True,
        resumable=True,
        section="Output",
    )
    resume: str | None = key(
        "auto",
        "auto: continue from the newest checkpoint of output_dir, if any; null: start anew; or a checkpoint's folder",
        path=True,
        resumable=True,
    )
    checkpoint_every: int = key(
        500, "optimizer steps; 0: each epoch; besides when interrupted and at the end", least=0, resumable=True
    )
    keep_checkpoints: int = key(2, "how many of the newest stay", least=1, resumable=True)
    eval_every: int = key(
        0, "optimizer steps; 0: at the end of each epoch; -1: only at the end", least=-1, resumable=True
    )
    eval_batch_size: int = key(64, "videos, or texts, encoded at a time", least=1, resumable=True)
    best_metric: str = key(
        "t2v_R@1",
        "what decides which model is kept: t2v_ or v2t_ before R@1, R@5, R@10, MdR or MnR, or hard_negative_accuracy",
    )
    log_every: int = key(10, "optimizer steps per record of metrics.jsonl", least=1, resumable=True)
    trackers: list[str] = key([], "tensorboard, wandb, … through Accelerate", resumable=True)
    progress: bool = key(True, "show a progress bar", resumable=True)
    push_to_hub: bool = key(False, "publish the finished model; needs hub_model_id", resumable=True)
    hub_model_id: str | None = key(None, "owner/name of the published model", resumable=True)
    hub_private: bool = key(False, "only the owner sees the published model", resumable=True)

    def to_dict(self) -> dict:
        return asdict(self)

    def changes(self) -> dict:
        """What differs from the defaults."""
        defaults = TrainConfig().to_dict()
        return {name: value for name, value in self.to_dict().items() if value != defaults[name]}

    def check(self) -> None:
        """Raises ConfigError for values that cannot work together, before anything slow begins."""
        if sum(value is not None for value in (self.model, self.encoder, self.clip, self.model_config)) != 1:
            raise ConfigError(
                "start from exactly one of model=<DMAE checkpoint>, encoder=<CLIP, SigLIP, … checkpoint> and "
                "model_config={…}"
            )
        if self.model_config is not None and not self.tokenizer:
            raise ConfigError("model_config starts from random weights: give tokenizer=<folder or Hub id> too")
        if self.model_config is None and self.tokenizer is not None:
            raise ConfigError("tokenizer goes with model_config: a checkpoint (model=, encoder=) brings its own")
        if not self.dataset:
            raise ConfigError("dataset is missing: a folder, a Hub id, msrvtt, msvd, didemo or activitynet")
        for item in fields(self):
            value, least, most = getattr(self, item.name), item.metadata["least"], item.metadata["most"]
            if isinstance(value, int | float) and not least <= value <= most:
                limits = f"at least {least}" if most == math.inf else f"from {least} to {most}"
                raise ConfigError(f"{item.name}={value} must be {limits} ({item.metadata['help']})")
        if not METRIC.fullmatch(self.best_metric):
            raise ConfigError(
                f"best_metric={self.best_metric} is not measured: it must be t2v_ or v2t_ before R@1, R@5, R@10, MdR "
                "or MnR, or hard_negative_accuracy"
            )
        if self.streaming and (self.max_steps is None or self.cache_frames != "none"):
            raise ConfigError("streaming=true needs max_steps=<number> (a stream has no length) and cache_frames=none")
        if self.random_frames and self.cache_frames in ("none", "memory"):
            raise ConfigError("random_frames=true needs cache_frames=<folder that `dmae frames` wrote>")
        if self.lora is not None and self.freeze_clip:
            raise ConfigError("lora trains adapters in the encoder, freeze_clip=true nothing in it: choose one")
        if self.push_to_hub and not self.hub_model_id:
            raise ConfigError("push_to_hub=true needs hub_model_id=<owner/name>")


def keys_with(property_name: str) -> list[str]:
    """The keys of which something holds: "resumable" or "path"."""
    return [item.name for item in fields(TrainConfig) if item.metadata[property_name]]


def value_type(hint) -> Any:
    """The type of a key's values where they are not null."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next(option for option in options if option is not type(None))


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
    check_names(values, hints)
    given: dict[str, Any] = {name: converted(name, value, hints[name]) for name, value in values.items()}
    return TrainConfig(**given)


def check_names(values: dict, known: Iterable[str], prefix: str = "") -> None:
    """Raises ConfigError for a key of `values` that is not `known`, with the nearest that is."""
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known)}"
            raise ConfigError(f"unknown key {prefix + str(name)!r} in the training configuration: {hint}")


def save_config(config: TrainConfig, path: Path) -> None:
    """Writes what differs from the defaults, readable by `load_config`."""
    path.write_text(yaml.safe_dump(config.changes(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _read(path: Path, extended: tuple[Path, ...] = ()) -> dict:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; examples are in training/configs") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no YAML: {one_line(error)}") from None
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


def converted(key: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint`. Numbers may be texts: YAML 1.1 reads 1e-7 (without a point) as one."""
    if value is None and type(None) in get_args(hint):
        return None
    wanted = value_type(hint)
    if wanted is Any:
        return value
    if get_origin(wanted) is Literal:
        # YAML 1.1 reads a bare `no` as false.
        value = "no" if value is False and "no" in get_args(wanted) else value
        if value not in get_args(wanted):
            raise ConfigError(f"{key}={value!r}: it must be one of {', '.join(get_args(wanted))}")
        return value
    wanted = get_origin(wanted) or wanted
    if wanted is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    if wanted is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if wanted is str and isinstance(value, str) and value.startswith("~/"):  # YAML has no shell before it
        return os.path.expanduser(value)
    if isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{key}={value!r}: it must be a {wanted.__name__}, not a {type(value).__name__}")

"""Checkpoints that are whole or absent, and a run that continues from one as if it had never stopped."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate import Accelerator

from .config import TrainConfig

STATE_FILE = "run_state.json"
PREFIX = "checkpoint-"

# What may differ between a checkpoint and the run that continues it: where and how fast it runs and what it reports.
FREE_KEYS = frozenset(
    [
        *("output_dir", "resume", "checkpoint_every", "keep_checkpoints", "log_every", "trackers", "progress"),
        *("eval_every", "eval_split", "eval_dataset", "eval_batch_size", "push_to_hub", "hub_model_id", "hub_private"),
        *("num_workers", "cache_frames", "micro_batch_size", "videos", "annotations", "gradient_checkpointing"),
        *("compile", "cpu", "deterministic", "attn_implementation"),
    ]
)


class CheckpointError(ValueError):
    """A checkpoint that this run cannot continue from: one line that says why and what to do."""


@dataclass
class Position:
    """Where a run is.

    step: optimizer steps done. epoch, batch: the epoch, and how many batches of it are consumed.
    evaluated: the step of the last evaluation. best_metrics: of the best one.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    evaluated: int | None = None
    best_metrics: dict = field(default_factory=dict)


class CheckpointStore:
    """The checkpoints of one run: `FOLDER/checkpoint-N`, the newest `keep` of them.

    Each holds model, optimizer, scheduler, gradient scaler and every process's random state, as Accelerate saves them,
    and the position. It is written under another name, flushed to disk and renamed, so that a run killed at any moment
    leaves whole checkpoints only.
    """

    def __init__(self, accelerator: Accelerator, folder: Path, config: TrainConfig):
        self.accelerator, self.folder, self.config = accelerator, folder, config

    def save(self, position: Position) -> Path:
        target = self.folder / f"{PREFIX}{position.step:08d}"
        unfinished = self.folder / f".unfinished-{position.step:08d}"
        main = self.accelerator.is_main_process
        if main:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(unfinished))
        self.accelerator.wait_for_everyone()
        if main:
            state = {"position": asdict(position), "config": self.config.to_dict()}
            (unfinished / STATE_FILE).write_text(json.dumps(state, indent=1), encoding="utf-8")
            flush_folder(unfinished)
            replace_folder(unfinished, target)
            self._prune()
        self.accelerator.wait_for_everyone()
        return target

    def find(self, resume: str | None) -> Path | None:
        """The checkpoint that `resume` asks for: "auto", a folder, or None.

        Raises:
            CheckpointError: the named folder is not a whole checkpoint.
        """
        if resume is None:
            return None
        if resume == "auto":
            return max(self.all(), default=None)
        if not (Path(resume) / STATE_FILE).is_file():
            raise CheckpointError(f"resume={resume}: no checkpoint is there (a folder with {STATE_FILE})")
        return Path(resume)

    def load(self, checkpoint: Path) -> Position:
        """Restores everything but the data; call it after `accelerator.prepare`.

        Raises:
            CheckpointError: it was made with another configuration, or is damaged.
        """
        try:
            state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
            position = Position(**state["position"])
            self._refuse_other_config(checkpoint, state["config"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{checkpoint} is damaged ({error}): delete it, or set resume=null") from None
        self.accelerator.load_state(str(checkpoint))
        return position

    def all(self) -> list[Path]:
        return sorted(path for path in self.folder.glob(f"{PREFIX}*") if (path / STATE_FILE).is_file())

    def _prune(self) -> None:
        for path in self.all()[: -self.config.keep_checkpoints]:
            shutil.rmtree(path)
        for path in self.folder.glob(".unfinished-*"):
            shutil.rmtree(path)

    def _refuse_other_config(self, checkpoint: Path, theirs: dict) -> None:
        ours = json.loads(json.dumps(self.config.to_dict()))
        differing = [
            f"{key}={theirs.get(key)!r} there, {value!r} here"
            for key, value in ours.items()
            if key not in FREE_KEYS and theirs.get(key) != value
        ]
        if differing:
            raise CheckpointError(
                f"{checkpoint} is of another configuration ({'; '.join(differing)}): restore it, set resume=null to "
                "start anew, or choose another output_dir"
            )


def flush_folder(folder: Path) -> None:
    """Puts every file of a folder, and the folder itself, on disk."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_folder(source: Path, target: Path) -> None:
    """Renames a finished folder; an older one of that name goes only once the new one is whole."""
    if target.exists():
        shutil.rmtree(target)
    os.replace(source, target)


def publish_files(source: Path, target: Path) -> None:
    """Moves the files of a finished folder into `target`, each atomically, and removes `source`."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        os.replace(path, target / path.name)
    source.rmdir()

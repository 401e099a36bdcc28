"""Checkpoints that are whole or absent, and a run that continues from one as if it had never stopped."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate import Accelerator

from dmae.modeling.errors import DmaeError, one_line
from dmae.modeling.written_files import follow_umask

from .config import TrainConfig, keys_with

STATE_FILE = "run_state.json"
PREFIX, UNFINISHED = "checkpoint-", ".unfinished-"


class CheckpointError(DmaeError, ValueError):
    """A checkpoint that this run cannot continue from: one line that says why and what to do."""


@dataclass
class Position:
    """Where a run is.

    step: optimizer steps done. epoch, batch: the epoch, and how many batches of it are consumed.
    evaluated: the step of the last evaluation. best_metrics: of the best one.
    seconds: how long the run took so far, without the times between its interruptions.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    evaluated: int | None = None
    best_metrics: dict = field(default_factory=dict)
    seconds: float = 0.0


class CheckpointStore:
    """The checkpoints of one run: `OUTPUT_DIR/checkpoints/checkpoint-N`, the newest `keep_checkpoints` of them.

    Each holds model, optimizer, scheduler, gradient scaler and every process's random state, as Accelerate saves them,
    and the position. It is written under another name, flushed to disk and renamed, so that a run killed at any moment
    leaves whole checkpoints only.
    """

    def __init__(self, accelerator: Accelerator, config: TrainConfig):
        self.accelerator, self.config = accelerator, config
        self.folder = Path(config.output_dir) / "checkpoints"
        self.current: Path | None = None  # the last one that this run saved or loaded

    def save(self, position: Position) -> None:
        target = self.folder / f"{PREFIX}{position.step:08d}"
        unfinished = self.folder / f"{UNFINISHED}{position.step:08d}"
        main = self.accelerator.is_main_process
        if target == self.current:  # the same weights, which may have been evaluated since
            if main:
                self._write_state(target, position)
            return
        if main:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(unfinished))
        self.accelerator.wait_for_everyone()
        if main:
            follow_umask(unfinished)
            self._write_state(unfinished, position)
            flush_folder(unfinished)
            replace_folder(unfinished, target)
            self._prune(target)
        self.accelerator.wait_for_everyone()
        self.current = target

    def find(self, resume: str | None) -> Path | None:
        """The checkpoint that `resume` asks for: "auto", a folder, or None.

        Raises:
            CheckpointError: it was made with another configuration, is damaged, or is no checkpoint.
        """
        if resume is None:
            return None
        checkpoint = max(self.all(), default=None) if resume == "auto" else Path(resume).expanduser()
        if checkpoint is None:
            return None
        if not (checkpoint / STATE_FILE).is_file():
            raise CheckpointError(f"resume={resume}: no checkpoint is there (a folder with {STATE_FILE})")
        self._read_state(checkpoint)
        return checkpoint

    def load(self, checkpoint: Path) -> Position:
        """Restores everything but the data; call it after `accelerator.prepare`.

        Raises:
            CheckpointError: as `find`.
        """
        position = self._read_state(checkpoint)
        try:
            self.accelerator.load_state(str(checkpoint))
        except Exception as error:  # of many kinds: each file of it has a format of its own
            raise CheckpointError(_damaged(checkpoint, error)) from error
        self.current = checkpoint
        return position

    def all(self) -> list[Path]:
        return sorted(path for path in self.folder.glob(f"{PREFIX}*") if (path / STATE_FILE).is_file())

    def _prune(self, newest: Path) -> None:
        """Keeps the newest of this run. Those of later steps are left from a run that this one took the place of."""
        checkpoints = self.all()
        ours = [path for path in checkpoints if path <= newest][-self.config.keep_checkpoints :]
        for path in checkpoints:
            if path not in ours:
                discard_folder(path)
        for path in self.folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(path)

    def _write_state(self, checkpoint: Path, position: Position) -> None:
        state = {"position": asdict(position), "config": self.config.to_dict()}
        temporary = checkpoint / f"{STATE_FILE}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, checkpoint / STATE_FILE)

    def _read_state(self, checkpoint: Path) -> Position:
        try:
            state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
            position = Position(**state["position"])
            self._refuse_other_config(checkpoint, state["config"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise CheckpointError(_damaged(checkpoint, error)) from None
        return position

    def _refuse_other_config(self, checkpoint: Path, theirs: dict) -> None:
        ours = json.loads(json.dumps(self.config.to_dict()))
        theirs = {**TrainConfig().to_dict(), **theirs}  # a key that is younger than the checkpoint had its default
        free = keys_with("resumable")
        differing = [
            f"{key}={theirs[key]!r} there, {value!r} here"
            for key, value in ours.items()
            if key not in free and theirs[key] != value
        ]
        if differing:
            raise CheckpointError(
                f"{checkpoint} is of another configuration ({'; '.join(differing)}): restore it, set resume=null to "
                "start anew, or choose another output_dir"
            )


def _damaged(checkpoint: Path, error: Exception) -> str:
    return (
        f"{checkpoint} is damaged ({one_line(error, 200)}): delete it to continue from the one before, or set "
        "resume=null to start anew"
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
    """Renames a finished folder; one that bears the name goes."""
    if target.exists():
        discard_folder(target)
    os.replace(source, target)


def discard_folder(folder: Path) -> None:
    """Deletes a checkpoint; what a kill leaves of it no longer bears a checkpoint's name."""
    doomed = folder.with_name(f"{UNFINISHED}{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(folder, doomed)
    shutil.rmtree(doomed)


def publish_files(source: Path, target: Path) -> None:
    """Moves the files of a finished folder into `target`, each atomically, and removes `source`."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        os.replace(path, target / path.name)
    source.rmdir()

"""What a run shows: a progress bar, `metrics.jsonl`, Accelerate's trackers and a plot."""

import json
import os
import time
from pathlib import Path

from accelerate import Accelerator
from tqdm.auto import tqdm

from .config import TrainConfig

METRICS_FILE = "metrics.jsonl"
PLOT_FILE = "training.png"


class Tracking:
    """Records of the main process; on the others every method does nothing.

    Each line of `metrics.jsonl` is one record with its `step`: of a training step (`loss`, …) or of an evaluation
    (`t2v_R@1`, …).
    """

    def __init__(self, accelerator: Accelerator, folder: Path, config: TrainConfig, total_steps: int, step: int):
        self.accelerator, self.path, self.active = accelerator, folder / METRICS_FILE, accelerator.is_main_process
        if self.active:
            folder.mkdir(parents=True, exist_ok=True)
            self._forget_after(step)
        if config.trackers:
            flat = {key: value for key, value in config.to_dict().items() if isinstance(value, int | float | str)}
            accelerator.init_trackers("dmae", config=flat)
        self.bar = tqdm(
            total=total_steps, initial=step, desc="train", unit="step", disable=not (self.active and config.progress)
        )
        self.shown = {}

    def advance(self, loss: float) -> None:
        self.bar.update()
        self.shown["loss"] = f"{loss:.3f}"
        self.bar.set_postfix(self.shown, refresh=False)

    def log(self, step: int, values: dict[str, float]) -> None:
        if "t2v_R@1" in values:
            self.shown["R@1"] = f"{values['t2v_R@1']:.1f}"
        self.accelerator.log(values, step=step)
        if self.active:
            record = {"step": step, "time": round(time.time(), 3), **values}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        self.bar.close()
        if self.active:
            plot(read_metrics(self.path), self.path.with_name(PLOT_FILE))

    def _forget_after(self, step: int) -> None:
        """Removes records of steps that a killed run made after its last checkpoint: they will be made again."""
        kept = [record for record in read_metrics(self.path) if record["step"] <= step] if step else []
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        os.replace(temporary, self.path)


def read_metrics(path: Path) -> list[dict]:
    """The records of a `metrics.jsonl`; a last line cut short by a kill is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def plot(records: list[dict], path: Path) -> None:
    """Loss and R@1 over steps as a PNG."""
    from matplotlib.figure import Figure  # slow to import, and needed once

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    losses = [(record["step"], record["loss"]) for record in records if "loss" in record]
    if losses:
        axes.plot(*zip(*losses), color="tab:blue", label="loss")
    recalls = axes.twinx()
    recalls.set_ylabel("R@1 (%)")
    recalls.set_ylim(0, 100)
    for direction, colour in (("t2v", "tab:orange"), ("v2t", "tab:green")):
        points = [(record["step"], record[f"{direction}_R@1"]) for record in records if f"{direction}_R@1" in record]
        if points:
            recalls.plot(*zip(*points), "o-", color=colour, label=f"{direction} R@1")
    if axes.lines or recalls.lines:
        figure.legend(loc="outside upper center", ncols=3)
    figure.savefig(path, dpi=120)

"""The training loop: batches in, checkpoints, metrics and a model out."""

import json
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedType, InitProcessGroupKwargs, set_seed

from dmae.modeling import DmaeError, DmaeModel, load_pretrained
from dmae.modeling.encoding import Normalizer
from dmae.modeling.written_files import check_writable

from .batches.collation import PairBatch, to_device
from .batches.loading import CorpusBatches, make_batches
from .checkpoints import CheckpointStore, Position, flush_folder, publish_files
from .config import ConfigError, TrainConfig, save_config
from .corpora import load_samples
from .distributed import Processes, average_gradients, broadcast_weights, gather_features, gather_objects, highest
from .evaluation.evaluation import evaluate_model
from .grad_cache import cached_backward
from .initialisation import load_model
from .lora import merged_state
from .optimization import learning_rates, make_optimizer, make_scheduler
from .precision import precision_of_its_own, settled
from .release.model_card import TrainingRun
from .release.push import prepare_repo, publish_run
from .text_bank import write_text_bank
from .tracking import Tracking

CONFIG_FILE = "train_config.yaml"
BAD_BATCH_FILE = "bad_batch.json"

logger = logging.getLogger(__name__)


class StopRequest:
    """Ctrl-C and the scheduler's SIGTERM as a request to stop after the present step.

    Inside `with StopRequest() as stop`, the first SIGINT or SIGTERM sets `stop.received` to its number instead of
    ending the program; a second one acts as usual.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.received: int | None = None
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python handles signals nowhere else
            self._previous = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = number
        self.__exit__()


class TrainingError(DmaeError, RuntimeError):
    """Training cannot go on: one line that says why and where the details are."""


@precision_of_its_own()
def train(config: TrainConfig) -> dict:
    """Trains a model as configured, and keeps it in `config.output_dir` with its processor (the best by
    `config.best_metric` where there is an evaluation split, else the last).

    Returns:
        "model_dir", "metrics" (of the best evaluation, or the last losses), "step", "seconds".
        With `test_split` also "test_metrics", of the model that was kept; with `push_to_hub` also "url".

    Raises:
        DmaeError / OSError: a configuration, corpus or checkpoint that cannot be used; one line each.
        TrainingError: the loss is no longer a number. PublishingError: the Hub refuses; asked before the first
            step, and what was trained is kept. KeyboardInterrupt: stopped by a signal, after saving.
    """
    config.check()
    check_writable("output_dir", config.output_dir, folder=True)
    check_trackers(config.trackers)
    execution = settled(config)
    accelerator = Accelerator(
        mixed_precision=execution.mixed_precision,
        cpu=config.cpu,
        log_with=list(config.trackers) or None,
        project_dir=config.output_dir,
        step_scheduler_with_optimizer=False,
        # For as long the others wait for the process whose share of a corpus takes longest to decode.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=2))],
    )
    CheckpointStore(accelerator, config).find(config.resume)  # refused before anything is loaded or decoded
    if config.push_to_hub and config.hub_model_id and accelerator.is_main_process:
        prepare_repo(config.hub_model_id, private=config.hub_private)
    set_seed(config.seed, deterministic=config.deterministic)
    model, processor = load_model(execution)
    if accelerator.distributed_type == DistributedType.FSDP:
        check_for_fsdp(config, model, accelerator.num_processes)
    samples = {name: load_eval_samples(config, getattr(config, name)) for name in ("eval_split", "test_split")}
    batches = make_batches(config, processor, accelerator)
    if accelerator.is_main_process and isinstance(batches, CorpusBatches):
        for name, theirs in samples.items():
            warn_of_shared_videos(batches.samples, theirs or [], f"{name}={getattr(config, name)}")
    set_seed(config.seed, device_specific=True)
    result = Trainer(config, accelerator, model, processor, batches, *samples.values()).run()
    if accelerator.is_main_process:
        run = TrainingRun(
            config,
            metrics=result["metrics"],
            steps=result["step"],
            seconds=result["seconds"],
            processes=accelerator.num_processes,
            test_metrics=result.get("test_metrics"),
        )
        published = publish_run(result["model_dir"], run)
        result |= {"url": published.url} if published else {}
    accelerator.end_training()
    return result


def check_trackers(names: list[str]) -> None:
    """Raises ConfigError for trackers whose library is not there, which Accelerate would leave out with a warning."""
    available = ["all", *map(str, get_available_trackers())]
    missing = [name for name in names if name not in available]
    if missing:
        raise ConfigError(
            f"trackers: {', '.join(missing)} is not installed or unknown; there is {', '.join(available)}"
        )


def check_for_fsdp(config: TrainConfig, model: DmaeModel, processes: int) -> None:
    """Raises ConfigError for what cannot run with the parameters cut up."""
    if config.lora is not None:
        raise ConfigError("lora under FSDP is not supported: adapters are small, start the processes without FSDP")
    if model.config.learn_logit_scale:
        raise ConfigError(
            "FSDP cannot cut up a scalar parameter: set model_options.learn_logit_scale=false (and logit_scale)"
        )
    # Each piece of a cached batch is a collective call: all processes must make as many of them.
    if config.micro_batch_size and (not config.drop_last or config.batch_size % processes or config.event_twins):
        raise ConfigError(
            "micro_batch_size under FSDP needs drop_last=true and a batch_size divisible by the "
            f"{processes} processes, and no event_twins, or the processes would wait for each other forever"
        )


def load_eval_samples(config: TrainConfig, split: str | None) -> list | None:
    if split is None:
        return None
    other = config.eval_dataset is not None
    return load_samples(
        config.eval_dataset or config.dataset,
        split,
        videos=None if other else config.videos,
        annotations=None if other else config.annotations,
        missing=config.missing,
        sentence_order=config.sentence_order,
    )


def warn_of_shared_videos(samples: list, eval_samples: list, named: str) -> None:
    """A folder without splits is both at once. `named`: where the samples of the evaluation come from."""
    trained_on = {_part_of_a_file(sample) for sample in samples} - {None}
    shared = sum(_part_of_a_file(sample) in trained_on for sample in eval_samples)
    if shared:
        logger.warning(
            "%d of the %d videos of %s are trained on too: the metrics will tell what was learned by heart",
            *(shared, len(eval_samples), named),
        )


def _part_of_a_file(sample) -> tuple | None:
    """What tells it from the others of files and URLs; None where the video is neither."""
    place = getattr(sample.video, "url", sample.video)
    return (place, sample.start, sample.end) if isinstance(place, str) else None


def is_worse(metrics: dict[str, float], than: dict[str, float], name: str) -> bool:
    """By one metric, of which ranks are better the lower they are."""
    return metrics[name] > than[name] if name.endswith(("MdR", "MnR")) else metrics[name] < than[name]


class Trainer:
    """One run. `model`, `optimizer` and `scheduler` are as Accelerate prepared them."""

    def __init__(
        self, config: TrainConfig, accelerator: Accelerator, model, processor, batches, eval_samples, test_samples
    ):
        self.config, self.accelerator, self.processor = config, accelerator, processor
        self.batches, self.eval_samples, self.test_samples = batches, eval_samples, test_samples
        self.folder = Path(config.output_dir)
        self.total_steps = config.max_steps or batches.total(config.epochs, config.gradient_accumulation_steps)
        if config.compile:
            model.compile()
        # Together: FSDP replaces the parameters that the optimizer holds.
        self.model, self.optimizer = accelerator.prepare(model, make_optimizer(model, config))
        self.scheduler = make_scheduler(self.optimizer, config, self.total_steps)
        accelerator.register_for_checkpointing(self.scheduler)
        self.normalize = Normalizer(processor.video_processor)
        self.store = CheckpointStore(accelerator, config)
        self.position = Position()
        self.losses, self.counted = {}, time.monotonic()

    def run(self) -> dict:
        self._resume()
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_config(self.config, self.folder / CONFIG_FILE)
        self.tracking = Tracking(self.accelerator, self.folder, self.config, self.total_steps, self.position.step)
        try:
            with StopRequest() as stop:
                while not self.finished:
                    self._epoch(stop)
                self._save_checkpoint()  # before the last evaluation, which may be long and be interrupted
            self._finish()
            if self.accelerator.is_main_process:
                samples = [] if self.config.streaming else self.batches.samples  # a stream is never whole in memory
                write_text_bank(self.folder, (text for sample in samples for text in sample.captions))
            tested = {} if self.test_samples is None else {"test_metrics": self._test(self.test_samples)}
        finally:
            self.tracking.close()
        return {
            "model_dir": str(self.folder),
            "metrics": self.position.best_metrics or self.losses,
            "step": self.position.step,
            "seconds": self.position.seconds,
            **tested,
        }

    @property
    def finished(self) -> bool:
        return self.position.step >= self.total_steps

    def _resume(self) -> None:
        checkpoint = self.store.find(self.config.resume)
        if checkpoint is not None:
            self.position = self.store.load(checkpoint)
            self.accelerator.print(f"continuing from {checkpoint}", file=sys.stderr)

    def _epoch(self, stop: StopRequest) -> None:
        groups = self._groups(self.batches.epoch(self.position.epoch, self.position.batch))
        began = time.monotonic()
        for group in groups:
            values = self._step(group)
            self.position.step += 1
            self.position.batch += len(group)
            self._report(values, group, time.monotonic() - began)
            if highest(stop.received or 0, self.accelerator.device):
                self._save_checkpoint()
                how = "" if self.config.resume == "auto" else " with resume=auto"
                raise KeyboardInterrupt(
                    f"stopped at step {self.position.step}; the same command{how} continues from {self.store.folder}"
                )
            if self.finished:
                break
            if self.config.eval_every > 0 and self.position.step % self.config.eval_every == 0:
                self._evaluate()
            if self.config.checkpoint_every and self.position.step % self.config.checkpoint_every == 0:
                self._save_checkpoint()
            began = time.monotonic()
        else:
            self.position.epoch, self.position.batch = self.position.epoch + 1, 0
            if self.config.eval_every == 0:
                self._evaluate()
            if self.config.checkpoint_every == 0:
                self._save_checkpoint()

    def _groups(self, batches: Iterator[PairBatch]) -> Iterator[list[PairBatch]]:
        """The batches of one optimizer step after the other."""
        while group := list(islice(batches, self.config.gradient_accumulation_steps)):
            yield group

    def _step(self, group: list[PairBatch]) -> dict[str, float]:
        """One optimizer step on the mean loss of the batches."""
        values = {}
        for number, batch in enumerate(group, 1):
            if not len(batch):
                raise TrainingError("not one video of a process's share of a batch can be decoded: see the warnings")
            output = self._backward(batch, 1 / len(group), synchronise=number == len(group))
            for name in ("loss", "contrastive_loss", "partial_order_loss"):
                if (part := getattr(output, name)) is not None:
                    values[name] = values.get(name, 0.0) + part.item() / len(group)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        values["grad_norm"] = float(norm) if norm is not None else 0.0
        # With a scaler, infinite gradients are its own business: it skips the step and lowers the scale.
        if not math.isfinite(values["loss"]) or not (math.isfinite(values["grad_norm"]) or self.accelerator.scaler):
            self._stop_on_bad_batch(group, values)
        values.update(learning_rates(self.optimizer))
        self.optimizer.step()
        if not self.accelerator.optimizer_step_was_skipped:
            self.scheduler.step()
        self.optimizer.zero_grad()
        return values

    def _backward(self, batch: PairBatch, scale: float, synchronise: bool):
        """Adds one batch's gradients; the loss sees the rows of all processes."""
        accelerator, device = self.accelerator, self.accelerator.device
        if self.config.micro_batch_size:
            # FSDP shares out each piece's gradients as they come.
            sharded = accelerator.distributed_type == DistributedType.FSDP
            with nullcontext() if sharded else accelerator.no_sync(self.model):
                output = cached_backward(
                    self.model,
                    batch.inputs,
                    self.config.micro_batch_size,
                    prepare=lambda piece: to_device(piece, device, self.normalize),
                    gather=gather_features,
                    backward=accelerator.backward,
                    scale=scale,
                )
            if synchronise and not sharded:
                average_gradients(self.model)
            return output
        inputs = to_device(batch.inputs, device, self.normalize)
        with nullcontext() if synchronise else accelerator.no_sync(self.model):
            output = self.model(**inputs, gather=gather_features, return_loss=True)
            accelerator.backward(output.loss * scale)
        return output

    def _report(self, values: dict[str, float], group: list[PairBatch], seconds: float) -> None:
        self.tracking.advance(values["loss"])
        if self.position.step % self.config.log_every == 0 or self.finished:
            rows = sum(map(len, group)) * self.accelerator.num_processes
            epoch = {"epoch": self.position.epoch, "samples_per_second": rows / seconds}
            self.tracking.log(self.position.step, {**values, **epoch})
            self.losses = values

    def _save_checkpoint(self) -> None:
        now = time.monotonic()
        self.position.seconds += now - self.counted
        self.counted = now
        self.store.save(self.position)

    def _evaluate(self) -> None:
        """Measures the model, and keeps it where it is the best so far."""
        if self.eval_samples is None:
            return
        metrics = self._measure(self._whole_model(), self.eval_samples)
        self.tracking.log(self.position.step, metrics)
        best = self.config.best_metric
        if best not in metrics:
            raise TrainingError(f"best_metric={best}: the evaluation gives {', '.join(metrics)}")
        self.position.evaluated = self.position.step
        if not self.position.best_metrics or not is_worse(metrics, self.position.best_metrics, best):
            self.position.best_metrics = metrics
            self._save_model()

    def _finish(self) -> None:
        if self.eval_samples is None:
            self._save_model()
        elif self.position.evaluated != self.position.step:
            self._evaluate()
        self._save_checkpoint()

    def _test(self, samples: list) -> dict[str, float]:
        """Measures the model that was kept, on a split that it was not chosen by."""
        self.accelerator.wait_for_everyone()  # it is written by the main process
        model, _ = load_pretrained(self.folder)
        metrics = self._measure(model.to(self.accelerator.device), samples)
        self.tracking.log(self.position.step, {f"test/{name}": value for name, value in metrics.items()})
        return metrics

    def _measure(self, model: DmaeModel, samples: list) -> dict[str, float]:
        """Metrics that all processes measure together."""
        config = self.config
        options = {"batch_size": config.eval_batch_size, "workers": max(1, config.num_workers)}
        everyone = Processes.of(self.accelerator)
        return evaluate_model(model, self.processor, samples, progress=config.progress, processes=everyone, **options)

    def _whole_model(self) -> DmaeModel:
        """The model without wrappers; where FSDP has cut it up, a whole copy."""
        model = self.accelerator.unwrap_model(self.model)
        if self.accelerator.distributed_type != DistributedType.FSDP:
            return model
        state = self.accelerator.get_state_dict(self.model)  # whole on the main process alone
        copy = DmaeModel(model.config)
        if self.accelerator.is_main_process:
            copy.load_state_dict(state)
        copy.to(self.accelerator.device)
        broadcast_weights(copy)
        return copy

    def _save_model(self) -> None:
        state: dict[str, Any] = self.accelerator.get_state_dict(self.model)
        if self.accelerator.is_main_process:
            unfinished = self.folder / ".unfinished-model"
            model = self.accelerator.unwrap_model(self.model)
            state = merged_state(model, state) if self.config.lora is not None else state
            model.save_pretrained(unfinished, state_dict=state)
            self.processor.save_pretrained(unfinished)
            flush_folder(unfinished)
            publish_files(unfinished, self.folder)
        self.accelerator.wait_for_everyone()

    def _stop_on_bad_batch(self, group: list[PairBatch], values: dict[str, float]) -> None:
        rows = [list(zip(batch.video_ids, batch.captions)) for batch in group]
        everyone = gather_objects(rows)
        path = self.folder / BAD_BATCH_FILE
        if self.accelerator.is_main_process:
            record = {"step": self.position.step + 1, "epoch": self.position.epoch, "processes": everyone}
            numbers = {name: str(value) for name, value in values.items()}
            path.write_text(json.dumps({**record, **numbers}, indent=1), encoding="utf-8")
        raise TrainingError(
            f"step {self.position.step + 1}: the loss is {values['loss']}, the gradient norm {values['grad_norm']}; "
            f"the videos and captions of the batch are in {path}; the last checkpoint is whole"
        )

"""A run that is killed, interrupted or fails goes on as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from training_parts import loss_curve, save_tiny_model, write_corpus

from dmae.training import checkpoints, loop
from dmae.training.checkpoints import CheckpointError, CheckpointStore
from dmae.training.config import TrainConfig, save_config
from dmae.training.loop import TrainingError, train
from dmae.training.tracking import read_metrics

STEPS = 20


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A corpus and a model with dropout, so that a random state that is not restored shows."""
    folder = tmp_path_factory.mktemp("start")
    corpus = write_corpus(folder / "corpus")
    model = save_tiny_model(folder / "model", corpus)
    values = json.loads((model / "config.json").read_text())
    values["text_config"]["attention_dropout"] = values["vision_config"]["attention_dropout"] = 0.1
    (model / "config.json").write_text(json.dumps(values))
    return {"dataset": str(corpus), "model": str(model)}


def config_of(start, output, **changes) -> TrainConfig:
    settings = {
        **start,
        "output_dir": str(output),
        "max_steps": STEPS,
        "batch_size": 5,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "clip_learning_rate": 1e-3,
        "cache_frames": "memory",
        "num_workers": 0,
        "checkpoint_every": 4,
        "eval_split": None,
        "log_every": 1,
        "progress": False,
        "cpu": True,
        **changes,
    }
    return TrainConfig(**settings)


@pytest.fixture(scope="module")
def uninterrupted(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(config_of(start, folder))
    curve = loss_curve(folder)
    assert len(curve) == STEPS and curve[-1] < curve[0]
    return folder


# What a terminal does, at a step that does not depend on how busy the machine is.
CTRL_C_IN_STEP_3 = """
import os, signal, sys
from dmae.cli import main
from dmae.training import loop
step = loop.Trainer._step
def press(trainer, group):
    if trainer.position.step == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return step(trainer, group)
loop.Trainer._step = press
sys.exit(main(["train", sys.argv[1]]))
"""


def start_process(config, path, program: str | None = None) -> subprocess.Popen:
    save_config(config, path)
    code = ["-c", program] if program else ["-m", "dmae.cli", "train"]
    command = [sys.executable, *code, str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for_step(process, folder, step) -> None:
    deadline = time.monotonic() + 120
    while not any(record["step"] >= step for record in read_metrics(folder / "metrics.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.005)


def same_weights(ours, theirs) -> bool:
    from safetensors.torch import load_file

    left, right = load_file(ours / "model.safetensors"), load_file(theirs / "model.safetensors")
    return all(torch.equal(left[name], right[name]) for name in left.keys() | right.keys())


def assert_same_run(folder, uninterrupted):
    assert loss_curve(folder) == pytest.approx(loss_curve(uninterrupted), abs=1e-6)
    assert same_weights(folder, uninterrupted)


def steps_in(folder) -> list[int]:
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))


def test_killed_run_continues_to_the_same_curve(start, uninterrupted, tmp_path):
    config = config_of(start, tmp_path / "run")
    process = start_process(config, tmp_path / "config.yaml")
    wait_for_step(process, tmp_path / "run", 10)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert not (tmp_path / "run" / "model.safetensors").exists(), "the run was over before it was killed"
    assert train(config)["step"] == STEPS
    assert_same_run(tmp_path / "run", uninterrupted)


def test_ctrl_c_saves_and_exits(start, uninterrupted, tmp_path):
    config = config_of(start, tmp_path / "run", checkpoint_every=1000)
    process = start_process(config, tmp_path / "config.yaml", CTRL_C_IN_STEP_3)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 130 and "Traceback" not in said
    assert "the same command continues from" in said
    stopped = max((tmp_path / "run" / "checkpoints").iterdir())
    assert int(stopped.name.removeprefix("checkpoint-")) == 3
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)


def test_ctrl_c_in_the_last_evaluation_keeps_the_last_step(start, tmp_path, monkeypatch):
    config = config_of(start, tmp_path / "run", checkpoint_every=1000, eval_split="train", eval_every=-1)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "evaluate_model", interrupted)
        train(config)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [f"checkpoint-{STEPS:08d}"]
    assert train(config)["metrics"]["num_videos"]
    again = train(config)
    assert again["step"] == STEPS and again["metrics"]["num_videos"]


class Killed(BaseException):
    """Stands for a kill at one place: nothing handles it."""


@pytest.mark.parametrize("place", ["flush_folder", "replace_folder"])
@pytest.mark.parametrize("step", [8])
def test_kill_while_a_checkpoint_is_written(start, uninterrupted, tmp_path, monkeypatch, place, step):
    config = config_of(start, tmp_path / "run")
    real, calls = getattr(checkpoints, place), []

    def kill(*arguments):
        calls.append(arguments)
        if len(calls) == step // 4:
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoints, place, kill)
        train(config)
    folder = tmp_path / "run" / "checkpoints"
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-00000004"][: step // 4 - 1]
    assert list(folder.glob(".unfinished-*"))
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)
    assert not list(folder.glob(".unfinished-*"))


def test_a_kill_while_old_checkpoints_are_deleted_leaves_whole_ones(start, tmp_path, monkeypatch):
    def kill(folder, **_):
        if folder.exists():
            (folder / "model.safetensors").unlink()
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoints.shutil, "rmtree", kill)
        train(config_of(start, tmp_path / "run", max_steps=6, checkpoint_every=2, keep_checkpoints=1))
    folder = tmp_path / "run" / "checkpoints"
    assert steps_in(folder) == [4] and (folder / "checkpoint-00000004" / "model.safetensors").is_file()


def test_a_run_that_starts_anew_takes_the_place_of_the_old_one(start, tmp_path):
    """Its first checkpoint is below the old ones, which a later resume=auto must not find."""
    config = config_of(start, tmp_path / "run", max_steps=6, checkpoint_every=2)
    train(config)
    train(replace(config, resume=None, max_steps=3, checkpoint_every=1))
    assert steps_in(tmp_path / "run" / "checkpoints") == [2, 3]
    assert train(replace(config, max_steps=3))["step"] == 3


def test_newest_checkpoints_are_kept(uninterrupted):
    names = sorted(path.name for path in (uninterrupted / "checkpoints").iterdir())
    assert names == [f"checkpoint-{step:08}" for step in (16, 20)]


def test_a_finished_run_is_not_repeated(start, uninterrupted, capsys):
    before = (uninterrupted / "metrics.jsonl").read_text()
    state = json.loads((uninterrupted / "checkpoints" / "checkpoint-00000020" / "run_state.json").read_text())
    again = train(config_of(start, uninterrupted))
    assert again["step"] == STEPS and again["seconds"] >= state["position"]["seconds"] > 0
    assert (uninterrupted / "metrics.jsonl").read_text() == before
    assert "continuing from" in capsys.readouterr().err


def test_another_configuration_is_refused_by_name_before_anything_is_loaded(start, uninterrupted, monkeypatch):
    monkeypatch.setattr(loop, "load_model", None)
    with pytest.raises(CheckpointError, match="batch_size=5 there, 6 here") as error:
        train(config_of(start, uninterrupted, batch_size=6, num_workers=1))
    assert "\n" not in str(error.value)


def test_a_key_that_is_younger_than_the_checkpoint_had_its_default(start, uninterrupted, tmp_path):
    old = tmp_path / "checkpoint-00000020"
    shutil.copytree(uninterrupted / "checkpoints" / old.name, old)
    state = json.loads((old / "run_state.json").read_text())
    del state["config"]["caption_edits"]
    (old / "run_state.json").write_text(json.dumps(state))
    store = CheckpointStore(Accelerator(cpu=True), config_of(start, uninterrupted))
    assert store.find(str(old)) == old
    changed = CheckpointStore(Accelerator(cpu=True), config_of(start, uninterrupted, caption_edits=1))
    with pytest.raises(CheckpointError, match="caption_edits=0 there, 1 here"):
        changed.find(str(old))


def test_a_named_checkpoint_must_be_one(start, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint is there"):
        train(config_of(start, tmp_path / "run", resume=str(tmp_path)))


def test_a_damaged_checkpoint_is_named(start, tmp_path):
    folder = tmp_path / "run" / "checkpoints" / "checkpoint-00000004"
    folder.mkdir(parents=True)
    (folder / "run_state.json").write_text("{")
    with pytest.raises(CheckpointError, match="checkpoint-00000004 is damaged"):
        train(config_of(start, tmp_path / "run"))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin"])
def test_a_checkpoint_with_a_damaged_file_is_named(start, uninterrupted, tmp_path, name):
    copy = shutil.copytree(uninterrupted / "checkpoints" / "checkpoint-00000016", tmp_path / "copy")
    with (copy / name).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(
        CheckpointError, match=r"copy is damaged \(.*delete it to continue from the one before"
    ) as error:
        train(config_of(start, tmp_path / "run", resume=str(copy)))
    assert "\n" not in str(error.value)


def test_a_loss_that_is_no_number_stops_and_names_the_batch(start, tmp_path):
    config = config_of(start, tmp_path / "run", learning_rate=1e30, clip_learning_rate=1e30, warmup_ratio=0.0)
    with pytest.raises(TrainingError, match=r"bad_batch\.json"):
        train(config)
    record = json.loads((tmp_path / "run" / "bad_batch.json").read_text())
    (groups,) = record["processes"]
    assert record["loss"] == "nan" or record["grad_norm"] in ("nan", "inf")
    assert [len(rows) for rows in groups] == [5, 5]
    assert all(video.endswith(".mp4") and caption for rows in groups for video, caption in rows)
    assert not (tmp_path / "run" / "model.safetensors").exists()

"""Two real gloo processes against one process that holds the whole batch."""

import shutil

import pytest
import torch
from places import ROOT
from training_parts import (
    gradients,
    launch,
    loss_curve,
    relative_difference,
    save_tiny_model,
    tiny_model,
    write_corpus,
)
from two_process_step import CASES, ROWS, make_inputs

from dmae.modeling import TextFeatures, VideoFeatures, load_pretrained
from dmae.training.config import TrainConfig, save_config
from dmae.training.distributed import gather_features
from dmae.training.loop import train

pytestmark = pytest.mark.distributed
SCRIPT = ROOT / "tests" / "support" / "two_process_step.py"
FSDP_SCRIPT = SCRIPT.with_name("fsdp_run.py")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    result = tmp_path_factory.mktemp("gloo") / "result.pt"
    done = launch(SCRIPT, result)
    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(result, weights_only=True)
    assert found["processes"] == 2
    return found


@pytest.fixture(scope="module")
def one_process():
    found = {}
    for case, options in CASES.items():
        for size, counts in ROWS.items():
            model = tiny_model(**options)[0]
            output = model(**make_inputs(*counts), return_loss=True)
            output.loss.backward()
            found[case, size] = output.loss.item(), gradients(model)
    return found


@pytest.mark.parametrize("way", ["at once", "cached"])
@pytest.mark.parametrize("size", ROWS)
@pytest.mark.parametrize("case", CASES)
def test_two_processes_agree_with_one(two_processes, one_process, case, size, way):
    key = (case, size) if way == "at once" else (case, size, "cached")
    loss, grads = two_processes[key]
    expected_loss, expected_grads = one_process[case, size]
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    assert relative_difference(grads, expected_grads) < 1e-4


def test_a_single_process_gathers_nothing():
    text = TextFeatures(torch.ones(2, 3), torch.ones(2, 4, 3), torch.ones(2, 4))
    video = VideoFeatures(torch.ones(2, 5, 3), torch.ones(2, 5))
    assert gather_features(text, video) == (text, video)


@pytest.mark.parametrize("changes", [{}, {"micro_batch_size": 2, "drop_last": True}], ids=["at once", "cached"])
def test_a_sharded_run_is_the_run_of_one_process(tmp_path, changes):
    """Two processes under FSDP: losses, the evaluated and saved model, and a run taken up from a checkpoint."""
    corpus = write_corpus(tmp_path / "corpus")
    model = save_tiny_model(tmp_path / "model", corpus, learn_logit_scale=False)
    settings = {"dataset": str(corpus), "model": str(model), "eval_every": 2}
    settings |= {"max_steps": 4, "batch_size": 6, "learning_rate": 1e-3, "clip_learning_rate": 1e-3, "num_workers": 0}
    settings |= {"cache_frames": "memory", "checkpoint_every": 2, "log_every": 1, "progress": False, "cpu": True}
    train(TrainConfig(**settings, **changes, output_dir=str(tmp_path / "whole")))
    save_config(TrainConfig(**settings, **changes, output_dir=str(tmp_path / "cut")), tmp_path / "cut.yaml")
    done = launch(FSDP_SCRIPT, tmp_path / "cut.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    assert loss_curve(tmp_path / "cut") == pytest.approx(loss_curve(tmp_path / "whole"), abs=1e-5)
    ours, theirs = (load_pretrained(str(tmp_path / name))[0].state_dict() for name in ("cut", "whole"))
    # Adam magnifies rounding in gradients that are nearly 0: a step's size is the learning rate.
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours | theirs)

    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "checkpoint-00000004")
    again = launch(FSDP_SCRIPT, tmp_path / "cut.yaml")
    assert again.returncode == 0, again.stderr[-3000:]
    assert loss_curve(tmp_path / "cut") == pytest.approx(loss_curve(tmp_path / "whole"), abs=1e-5)

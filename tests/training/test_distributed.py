"""Two real gloo processes against one process that holds the whole batch."""

from pathlib import Path

import pytest
import torch
from training_parts import gradients, launch, random_inputs, relative_difference, tiny_model
from two_process_step import CASES, ROWS

from dmae.modeling import TextFeatures, VideoFeatures
from dmae.training.distributed import gather_features

pytestmark = pytest.mark.distributed
SCRIPT = Path(__file__).parents[1] / "two_process_step.py"


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
        for size, rows in ROWS.items():
            model = tiny_model(**options)[0]
            output = model(**random_inputs(rows, seed=3), return_loss=True)
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

"""The records of a run, and their picture."""

import warnings

import pytest
from PIL import Image

from dmae.training.tracking import plot


@pytest.mark.parametrize(
    "records",
    [
        [],  # a run shorter than `log_every` that is not evaluated
        [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0}],
        [{"step": 10, "loss": 2.0}, {"step": 10, "t2v_R@1": 50.0, "v2t_R@1": 40.0}],
    ],
    ids=["nothing", "losses", "recalls"],
)
def test_every_run_has_a_picture(records, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot(records, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size == (960, 540)

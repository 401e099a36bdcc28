"""Precision: what a device's default is, that a rounded model is still the same model, and what is said of scores."""

import warnings

import numpy as np
import pytest
import torch
from video_files import write_video

from dmae.modeling import InputError, dmae_similarity, encode_texts, encode_videos
from dmae.modeling.precision import PRECISIONS, default_precision, place, precision_of
from dmae.retrieval import VideoIndex
from dmae.retrieval.indexing.fingerprint import model_encoder
from dmae.training.synthetic.init import new_model

TEXTS = ["a red ball", "a blue box falls", "nothing moves"]


def make():
    model, processor = new_model(TEXTS, width=32, image_size=32, num_frames=4)
    return model.eval(), processor


def test_the_default_is_bf16_where_the_accelerator_has_it(monkeypatch):
    assert default_precision("cpu") == "fp32"
    for supported, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, yes=supported: yes)
        assert default_precision("cuda:0") == expected
    with pytest.raises(InputError, match="precision must be one of fp32, bf16, fp16, got 'int8'"):
        place(make()[0], "cpu", "int8")


def test_a_device_that_is_not_here_is_told_in_one_line():
    absent = next(kind for kind in ("cuda", "xpu", "mps") if not getattr(torch, kind).is_available())
    for device in (absent, "the GPU"):
        with pytest.raises(InputError, match=f"the device '{device}' cannot be used here") as refused:
            place(make()[0], device)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_rounded_model_is_the_same_model_with_nearly_the_same_scores(precision):
    model, processor = make()
    exact = place(make()[0], "cpu")
    assert precision_of(exact) == "fp32"
    rounded = place(model, "cpu", precision)
    assert precision_of(rounded) == precision and next(rounded.parameters()).dtype == PRECISIONS[precision]
    assert model_encoder(rounded) == model_encoder(exact)
    videos = list(np.random.default_rng(0).integers(0, 256, (3, 4, 40, 40, 3), dtype=np.uint8))
    scores = [
        dmae_similarity(*encode_texts(m, processor, TEXTS), *encode_videos(m, processor, videos))
        for m in (rounded, exact)
    ]
    assert scores[0].dtype == torch.float32
    allowed = {"fp32": 0.0, "bf16": 0.02, "fp16": 0.002}[precision]
    assert (scores[0] - scores[1]).abs().max() <= allowed


def test_an_index_records_its_precision_and_says_what_another_means(tmp_path):
    model, processor = make()
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "a.mp4", 8, size=(64, 64))
    index = VideoIndex.create(tmp_path / "index", place(model, "cpu", "bf16"), processor)
    index.add(folder, workers=0)
    assert index.table.settings.precision == "bf16"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VideoIndex.open(tmp_path / "index", model, processor)
    with pytest.warns(UserWarning, match="embedded in bf16, queries are in fp32: scores may differ by about 0.002"):
        other = VideoIndex.open(tmp_path / "index", make()[0], processor)
    assert other.search("a red ball", k=1)[0].score == pytest.approx(
        VideoIndex.open(tmp_path / "index", model, processor).search("a red ball", k=1)[0].score, abs=0.02
    )

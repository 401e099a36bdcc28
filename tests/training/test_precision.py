"""`mixed_precision: auto`, on processors that multiply bfloat16 and on others."""

import pytest
import torch
from accelerate import Accelerator
from tiny import tiny_model
from training_parts import loss_curve, save_tiny_model, write_corpus

from dmae.modeling import load_pretrained
from dmae.training.config import TrainConfig
from dmae.training.loop import train
from dmae.training.precision import bf16_on_cpu, multiplies_bf16, settled


@pytest.fixture(params=["avx512_bf16", "amx_tile", "neither"])
def ability(request, monkeypatch) -> str:
    for name in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name == request.param)
    return request.param


def test_auto_is_what_the_processor_multiplies(ability):
    execution = settled(TrainConfig(cpu=True, mixed_precision="auto"))
    able = ability != "neither"
    assert multiplies_bf16("cpu") == able
    assert execution.mixed_precision == ("bf16" if able else "no")
    assert execution.attn_implementation == ("eager" if able else None)


def test_what_is_asked_for_by_name_stays(ability):
    for asked in (None, "no", "bf16"):
        config = TrainConfig(cpu=True, mixed_precision=asked)
        assert settled(config) == config
    assert settled(TrainConfig(cpu=True, mixed_precision="auto", attn_implementation="sdpa")).attn_implementation == (
        "sdpa"
    )


def test_forward_passes_are_in_bf16_and_the_model_is_as_before(ability):
    model = tiny_model()
    attention, weights = model.config._attn_implementation, next(model.parameters()).dtype
    layer = torch.nn.Linear(4, 4)
    with bf16_on_cpu(model):
        made = layer(torch.ones(1, 4)).dtype
    assert made == (torch.float32 if ability == "neither" else torch.bfloat16)
    assert model.config._attn_implementation == attention and next(model.parameters()).dtype == weights
    assert layer(torch.ones(1, 4)).dtype == torch.float32


@pytest.mark.skipif(not multiplies_bf16("cpu"), reason="this processor does not multiply bfloat16")
def test_auto_trains_as_float32_does_to_the_precision_of_bf16(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    settings = {"dataset": str(corpus), "model": str(save_tiny_model(tmp_path / "model", corpus)), "eval_split": None}
    settings |= {"max_steps": 3, "log_every": 1, "batch_size": 7, "num_workers": 0, "progress": False, "cpu": True}
    callers = Accelerator(cpu=True)
    curves = {}
    for precision in ("no", "auto"):
        folder = tmp_path / precision
        train(TrainConfig(**settings, mixed_precision=precision, output_dir=str(folder)))
        curves[precision] = loss_curve(folder)
    assert curves["auto"] == pytest.approx(curves["no"], rel=0.02) and curves["auto"] != curves["no"]
    assert callers.mixed_precision == "no" and Accelerator(cpu=True, mixed_precision="no").device == callers.device
    model, _ = load_pretrained(tmp_path / "auto")
    assert next(model.parameters()).dtype == torch.float32

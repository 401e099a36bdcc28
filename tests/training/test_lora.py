"""Low-rank adapters: few weights train, a run resumes, and what is saved needs no PEFT."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from dual_encoders import SENTENCES, TYPES, save_dual_encoder
from safetensors.torch import load_file
from training_parts import loss_curve, write_corpus

from dmae.modeling import DmaeModel, load_pretrained
from dmae.modeling.errors import MissingPackageError
from dmae.training.config import ConfigError, TrainConfig
from dmae.training.initialisation import load_model
from dmae.training.loop import train
from dmae.training.lora import add_lora, is_adapter, merged_state
from dmae.training.optimization import make_optimizer

pytest.importorskip("peft")


@pytest.mark.parametrize("model_type", TYPES)
def test_adapters_train_and_merge_in_every_encoder(model_type, tmp_path):
    save_dual_encoder(model_type, tmp_path)
    config = TrainConfig(encoder=str(tmp_path), dataset="d", lora={"r": 2}, num_frames=4, gradient_checkpointing=True)
    model, processor = load_model(config)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {name.partition(".")[0] for name in trained} == {"text_model", "vision_model", "word_predictor"}
    adapters = [name for name in trained if is_adapter(name)]
    assert all(is_adapter(name) for name in trained if not name.startswith("word_predictor."))
    # Two towers of two layers, four projections of an attention (three where BERT's output is no projection).
    assert len(adapters) == 2 * (2 * 4 + 2 * (3 if model_type in ("altclip", "chinese_clip") else 4))
    groups = {group["name"] for group in make_optimizer(model, config).param_groups}
    assert groups == {"new"}, "adapters learn as fast as what is new"

    videos = torch.randint(0, 256, (len(SENTENCES), 4, 3, 40, 40), dtype=torch.uint8)
    inputs = processor(text=SENTENCES, videos=list(videos), return_tensors="pt")
    with torch.no_grad():  # as after training: they begin as zeros
        for name in adapters:
            trained[name].normal_(std=0.3)
    model(**inputs, return_loss=True).loss.backward()
    assert all(trained[name].grad.abs().max() > 0 for name in adapters)

    model.eval()
    plain = DmaeModel.from_dual_encoder(tmp_path, num_frames=4).eval()
    with torch.no_grad():
        before = plain(**inputs).sentence_embeds
        adapted = model(**inputs)
        plain.load_state_dict(merged_state(model, model.state_dict()))
        merged = plain(**inputs)
    assert (adapted.sentence_embeds - before).abs().max() > 1e-2
    for name in ("sentence_embeds", "word_embeds", "frame_embeds"):
        torch.testing.assert_close(merged[name], adapted[name], atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    save_dual_encoder("siglip", folder / "encoder")
    return {"dataset": str(write_corpus(folder / "corpus", videos=6)), "encoder": str(folder / "encoder")}


def config_of(start, output, **changes) -> TrainConfig:
    settings = {"output_dir": str(output), "max_steps": 6, "batch_size": 6, "num_frames": 2, "learning_rate": 1e-2}
    settings |= {"lora": {"r": 2, "lora_alpha": 8}, "word_dropping": False, "cache_frames": "memory", "num_workers": 0}
    settings |= {"checkpoint_every": 3, "eval_split": None, "log_every": 1, "progress": False, "cpu": True}
    return TrainConfig(**{**start, **settings, **changes})


WITHOUT_PEFT = """
import sys
sys.modules["peft"] = None
from dmae import load_pretrained
model, _ = load_pretrained(sys.argv[1])
print(sorted(name for name, _ in model.named_parameters() if "lora" in name or "base_layer" in name))
"""


def test_a_run_resumes_and_saves_a_plain_model(start, tmp_path):
    train(config_of(start, tmp_path / "whole"))
    curve = loss_curve(tmp_path / "whole")
    assert len(curve) == 6 and curve[-1] < curve[0]

    first = tmp_path / "halted"
    shutil.copytree(tmp_path / "whole", first)
    for path in (first / "checkpoints").glob("*6"):  # as if it had been killed after the first one
        shutil.rmtree(path)
    (first / "model.safetensors").unlink()
    train(config_of(start, first))
    weights, resumed = (load_file(folder / "model.safetensors") for folder in (tmp_path / "whole", first))
    assert weights.keys() == resumed.keys() and not any("lora" in name or "base_layer" in name for name in weights)
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)

    untouched = load_pretrained(start["encoder"], num_frames=2)[0].state_dict()
    changed = {name for name, value in untouched.items() if name in weights and not weights[name].equal(value)}
    assert changed and all(".q_proj." in n or ".k_proj." in n or ".v_proj." in n or ".out_proj." in n
                           for n in changed if not n.startswith("word_predictor."))  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PEFT, str(first)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and json.loads(done.stdout) == [], done.stderr[-2000:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "lora.r=None: it is the rank"),
        ({"r": 0}, "lora.r=0: it is the rank"),
        ({"r": True}, "lora.r=True: it is the rank"),
        ({"r": 2, "lora_alpha": "high"}, "lora.lora_alpha='high': it must be a number"),
        ({"r": 2, "lora_dropout": float("nan")}, "lora.lora_dropout=nan: it must be a number"),
        ({"r": 2, "rank": 2}, "unknown key 'lora.rank' in the training configuration"),
        ({"r": 2, "target_modules": ["no_such_layer"]}, "no_such_layer"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(options, message, start):
    model, _ = load_pretrained(start["encoder"], num_frames=2)
    with pytest.raises(ConfigError, match=message) as refused:
        add_lora(model, options)
    assert "\n" not in str(refused.value)


def test_what_to_install_is_said(start, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    model, _ = load_pretrained(start["encoder"], num_frames=2)
    with pytest.raises(MissingPackageError, match=r"pip install 'dmae-video-search\[lora\]'"):
        add_lora(model, {"r": 2})

"""Publishing a model, with the real client against a local stand-in for the Hub."""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from hub_server import HubServer
from huggingface_hub import ModelCard

from dmae.modeling import DmaeConfig, DmaeModel, DmaeProcessor
from dmae.training.commands import push as command
from dmae.training.config import TrainConfig, save_config
from dmae.training.loop import train
from dmae.training.release.model_card import REPO_PLACEHOLDER, TrainingRun, model_card
from dmae.training.release.push import PublishingError, prepare_repo, publish_run, push_model
from dmae.training.synthetic.init import new_model
from dmae.training.synthetic.synthetic import write_corpus

REPO = "owner/tiny-dmae"
CAPTIONS = ["a red circle moves left", "a blue square does not move"]
METRICS = {
    "num_videos": 20,
    "num_texts": 40,
    **{f"{way}_{name}": value for way in ("t2v", "v2t") for name, value in {"R@1": 51.25, "R@5": 80.0}.items()},
    **{
        f"{way}_{name}": value
        for way in ("t2v", "v2t")
        for name, value in {"R@10": 90.0, "MdR": 1, "MnR": 3.5}.items()
    },
    "hard_negative_accuracy": 75.0,
    "hard_negative_accuracy/order": 55.0,
}

# What a reader does who has neither this package nor its files: text and frames in, scores out.
READER = """
import json, sys
import numpy as np
import torch

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *args):
        if name.split(".")[0] in ("dmae", "datasets", "lancedb", "gradio", "torchvision"):
            return None
        return self.finder.find_spec(name, *args)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules") and "dmae" not in sys.modules
frames = [np.random.default_rng(seed).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8) for seed in (0, 1)]
inputs = processor(text=json.loads(sys.argv[2]), videos=frames, return_tensors="pt", do_sample_frames=False)
with torch.no_grad():
    print(json.dumps(model(**inputs).logits_per_text.tolist()))
"""


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model, processor = new_model(CAPTIONS, image_size=32, width=32, vision_layers=1, text_layers=1, num_frames=4)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "optimizer.pt").write_bytes(b"state")
    return folder


@pytest.fixture
def run():
    config = TrainConfig(
        clip="openai/clip-vit-base-patch32",
        dataset="mteb/MSR-VTT",
        epochs=3,
        output_dir="/home/me/x",
        cache_frames="/home/me/frames",
    )
    return TrainingRun(config, METRICS, steps=120, seconds=61.4, processes=8)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with HubServer() as server:
        server.add_token("hf_owner", "owner")
        server.add_token("hf_other", "other")
        server.redirect(monkeypatch, tmp_path / "home", token="hf_owner")
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client's pauses between attempts
        yield server


def logits(reader_args, environment):
    done = subprocess.run(
        [sys.executable, "-c", READER, *reader_args], env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.tensor(json.loads(done.stdout.splitlines()[-1]), dtype=torch.float64)


def test_a_fresh_process_gets_the_same_logits_from_the_hub(hub, model_dir, tmp_path):
    published = push_model(model_dir, REPO, private=True)
    assert published.changed and published.url == f"{hub.endpoint}/{REPO}"
    repo = hub.repos["models", REPO]
    assert repo.private and [commit[1] for commit in repo.commits] == ["initial commit", "Upload a DMAE model"]
    assert {"README.md", "model.safetensors", "modeling_dmae.py", "processor_config.json"} <= set(repo.files)
    assert "optimizer.pt" not in repo.files
    environment = hub.environment(tmp_path / "fresh", token="hf_owner")
    from_hub = logits([REPO, json.dumps(CAPTIONS)], environment)

    videos = [np.random.default_rng(seed).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8) for seed in (0, 1)]
    model, processor = DmaeModel.from_pretrained(model_dir).eval(), DmaeProcessor.from_pretrained(model_dir)
    inputs = processor(text=CAPTIONS, videos=videos, return_tensors="pt", do_sample_frames=False)
    with torch.no_grad():
        expected = model(**inputs).logits_per_text.double()
    assert from_hub.shape == (2, 2) and from_hub.std() > 0
    torch.testing.assert_close(from_hub, expected, rtol=0, atol=1e-5)


def test_a_repeated_push_changes_nothing(hub, model_dir):
    first = push_model(model_dir, REPO)
    uploads = sum(method == "PUT" for method, _ in hub.requests)
    again = push_model(model_dir, REPO)
    assert first.changed and not again.changed and again.commit == first.commit
    assert sum(method == "PUT" for method, _ in hub.requests) == uploads
    assert len(hub.repos["models", REPO].commits) == 2


def test_an_interrupted_upload_is_taken_up_again(hub, model_dir):
    hub.broken_uploads = 2  # the client tries again by itself
    push_model(model_dir, "owner/patient")
    assert "model.safetensors" in hub.repos["models", "owner/patient"].files

    hub.objects.clear()
    hub.broken_uploads = 1000
    with pytest.raises(
        PublishingError, match=r"upload to owner/tiny-dmae was interrupted .*run the same command"
    ) as e:
        push_model(model_dir, REPO)
    assert "\n" not in str(e.value)
    assert list(hub.repos["models", REPO].files) == [".gitattributes"]  # nothing half-published
    hub.broken_uploads = 0
    assert push_model(model_dir, REPO).changed


@pytest.mark.parametrize(
    ("token", "repo", "message"),
    [
        ("", REPO, "log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_other", REPO, "may not write to owner/tiny-dmae"),
        ("hf_unknown", REPO, "does not accept this token"),
    ],
)
def test_without_the_right_token_one_line_says_so(hub, model_dir, monkeypatch, token, repo, message):
    push_model(model_dir, REPO, private=True)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PublishingError, match=message) as caught:
        push_model(model_dir, repo)
    assert "\n" not in str(caught.value)


def test_reading_a_private_model_without_a_token_says_what_to_do(hub, model_dir, monkeypatch, tmp_path):
    push_model(model_dir, REPO, private=True)
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(OSError, match="private"):
        DmaeModel.from_pretrained(REPO, cache_dir=tmp_path / "cache")
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    assert isinstance(DmaeModel.from_pretrained(REPO, cache_dir=tmp_path / "cache"), DmaeModel)


def test_a_public_repository_does_not_receive_a_private_model(hub, model_dir):
    hub.create("owner", {"name": "tiny-dmae"})
    with pytest.raises(PublishingError, match="public"):
        push_model(model_dir, REPO, private=True)
    assert len(hub.repos["models", REPO].commits) == 1


def test_an_unreachable_hub_is_said_in_one_line(hub, model_dir, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PublishingError, match="cannot be reached") as caught:
        push_model(model_dir, REPO)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("model.safetensors", "no weights"),
        ("processor_config.json", "no processor_config.json: processor.save_pretrained"),
        ("modeling_dmae.py", "lacks the model's code \\(modeling_dmae.py\\)"),
    ],
)
def test_an_incomplete_folder_is_refused_before_anything_is_sent(hub, model_dir, tmp_path, remove, message):
    for path in model_dir.iterdir():
        if path.name != remove:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=message):
        push_model(tmp_path, REPO)
    for wrong in ("tiny", "a/b/c", "owner/ti ny"):
        with pytest.raises(ValueError, match="no repository name"):
            push_model(model_dir, wrong)
    assert not hub.requests


def test_the_card_says_what_the_run_knows(run):
    text = model_card(DmaeConfig(), run)
    card = ModelCard(text)
    assert card.data.base_model == "openai/clip-vit-base-patch32" and card.data.datasets == ["mteb/MSR-VTT"]
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["t2v_R@1"].metric_value == 51.25 and results["hard_negative_accuracy/order"].metric_value == 55.0
    assert results["v2t_MnR"].metric_name == "video to text MnR" and results["t2v_R@1"].dataset_split == "test"
    assert "num_videos" not in results and set(METRICS) - set(results) == {"num_videos", "num_texts"}
    assert "| text to video | 51.2 | 80.0 | 90.0 | 1.0 | 3.5 |" in text and "20 videos and 40 texts" in text
    assert "120 steps in 61 s, 8 processes" in text
    assert "accelerate launch --num_processes 8 -m dmae.cli train train_config.yaml" in text
    settings = yaml.safe_load(text.split("```yaml")[1].split("```")[0])
    assert settings["epochs"] == 3 and settings["dataset"] == "mteb/MSR-VTT"
    assert "/home/me" not in text  # no path of the machine that trained it
    assert "![Loss and R@1 over the run](training.png)" in text
    for heading in ("Use", "Evaluation", "Training", "Limits and biases", "Licence", "Method and citation"):
        assert f"\n## {heading}\n" in text


def test_the_card_names_the_losses_that_trained_the_model():
    paper, plain = model_card(DmaeConfig()), model_card(DmaeConfig(loss="infonce", tpm_predictor=None))
    assert "trained with NegNCE and triplet partial margin contrastive learning (TPM-CL)" in paper
    assert "trained with InfoNCE, [arXiv" in plain


def test_the_card_tells_the_limits_of_this_model():
    assert "order of frames changes no score" in model_card(DmaeConfig(num_frames=8))
    text = model_card(DmaeConfig(num_frames=8, temporal_layers=2))
    assert "8 frames of a video" in text and "order of frames changes no score" not in text


@pytest.mark.parametrize(
    ("settings", "title", "type_"),
    [
        ({"dataset": "msrvtt", "videos": "/data/videos"}, "MSR-VTT 1k-A", "msrvtt"),
        ({"dataset": "/data/clips"}, "clips", "clips"),
        ({"dataset": "/data/clips", "eval_dataset": "msvd"}, "MSVD", "mteb/MSVD"),
    ],
)
def test_the_card_names_the_data_that_was_evaluated(settings, title, type_):
    card = ModelCard(model_card(DmaeConfig(), TrainingRun(TrainConfig(**settings), METRICS, 1, 1.0)))
    result = card.data.eval_results[0]
    assert (result.dataset_name, result.dataset_type) == (title, type_) and card.data.datasets is None


def test_a_finished_run_is_published_with_its_card(hub, model_dir, run):
    assert publish_run(model_dir, run) is None
    assert REPO_PLACEHOLDER in (model_dir / "README.md").read_text()
    run.config.push_to_hub, run.config.hub_model_id = True, REPO
    save_config(run.config, model_dir / "train_config.yaml")
    assert publish_run(model_dir, run).changed
    card = hub.repos["models", REPO].files["README.md"].content.decode()
    assert f'from_pretrained("{REPO}", trust_remote_code=True)' in card and REPO_PLACEHOLDER not in card
    settings = yaml.safe_load(hub.repos["models", REPO].files["train_config.yaml"].content)
    assert settings["epochs"] == 3 and settings["output_dir"] == "x"
    assert ModelCard(card).data.to_dict()["model-index"][0]["name"] == "tiny-dmae"


def test_training_publishes_its_model_with_what_it_measured(hub, model_dir, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", num_train=4, num_test=3, workers=1, progress=False)
    config = TrainConfig(model=str(model_dir), dataset=str(corpus), output_dir=str(tmp_path / "run"), max_steps=1)
    config = replace(
        config, batch_size=4, num_workers=1, cpu=True, progress=False, push_to_hub=True, hub_model_id=REPO
    )
    result = train(config)
    files = hub.repos["models", REPO].files
    assert result["url"].endswith(REPO)
    assert {"model.safetensors", "train_config.yaml", "training.png"} <= set(files)
    measured = {found.metric_type: found for found in ModelCard(files["README.md"].content.decode()).data.eval_results}
    assert measured["t2v_R@1"].metric_value == pytest.approx(result["metrics"]["t2v_R@1"], abs=0.01)
    assert measured["t2v_R@1"].dataset_name == "corpus" and str(tmp_path) not in files["README.md"].content.decode()


def test_a_run_that_cannot_be_published_keeps_its_model(hub, model_dir, run, monkeypatch):
    run.config.push_to_hub, run.config.hub_model_id, run.config.hub_private = True, REPO, True
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(PublishingError, match="may not write"):
        prepare_repo(REPO)  # what training asks first
    with pytest.raises(PublishingError, match=rf"is kept, publish it with `dmae push {model_dir} {REPO} --private`"):
        publish_run(model_dir, run)


def test_a_run_without_evaluation_has_a_card_without_results():
    run = TrainingRun(TrainConfig(dataset="clips", eval_split=None), {"loss": 0.5}, 3, 1.0)
    text = model_card(DmaeConfig(), run)
    assert "## Evaluation" not in text and ModelCard(text).data.eval_results is None


def test_command_prints_where_the_model_is(hub, model_dir, capsys):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    assert command.run(parser.parse_args([str(model_dir), REPO, "--json"])) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["url"].endswith(REPO)
    assert command.run(parser.parse_args([str(model_dir), REPO])) == 0
    assert "already up to date" in capsys.readouterr().out

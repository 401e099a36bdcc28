"""The main job through the doors a user takes: corpus, model, training, evaluation, index, search."""

import json
from pathlib import Path

import pytest
from places import CLIPS

from dmae.cli import main
from dmae.retrieval.storage.table import VideoTable
from dmae.training.synthetic.init import new_model


def dmae(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def search(capsys, *arguments: object) -> list[dict]:
    capsys.readouterr()
    dmae("search", *arguments, "--json")
    return json.loads(capsys.readouterr().out)


def test_the_demo_at_a_few_steps(tmp_path, capsys):
    """What `make demo` does, command by command, on a dozen videos."""
    names = ("corpus", "films", "untrained", "model", "index")
    corpus, films, untrained, model, index = (tmp_path / name for name in names)
    dmae("synthetic", corpus, "--train", 12, "--test", 6)
    dmae("synthetic", films, "--films", 1, "--scenes", 4)
    dmae("init", untrained, "--captions", corpus, "--width", 32, "--vision-layers", 1)
    overrides = [f"model={untrained}", f"dataset={corpus}", f"output_dir={model}", "max_steps=3", "batch_size=4"]
    dmae("train", Path("training/configs/demo.yaml"), *overrides, "num_workers=0")
    dmae("evaluate", model, corpus, "--json", tmp_path / "evaluation.json")
    metrics = json.loads((tmp_path / "evaluation.json").read_text())
    found = json.dumps(metrics)
    assert "t2v_R@1" in found and "v2t_MnR" in found and "hard_negative_accuracy" in found
    dmae("index", corpus / "test", films, "--model", model, "--index", index)
    hits = search(capsys, "a red star moves to the left", "--model", model, "--index", index, "-k", 9)
    assert len(hits) == 7 and [h["score"] for h in hits] == sorted((h["score"] for h in hits), reverse=True)
    film = next(hit for hit in hits if hit["id"] == "film_1.mp4")
    assert 0 <= film["start"] <= film["best_time"] <= film["end"] <= film["duration"]
    # The film alone is cut: the clips stay whole, and their scores what they are in the evaluation.
    cut = VideoTable.open(index).scan(["id"], "segment_number > 0")["id"].to_pylist()
    assert set(cut) == {"film_1.mp4"}


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the fourteen real clips are not beside the repository")
def test_real_clips_are_learned_and_found(tmp_path, capsys):
    """R@1 of 100 % on the captions that it saw, and the right file for a sentence of our own."""
    rows = [json.loads(line) for line in (CLIPS / "captions.jsonl").read_text().splitlines()]
    model, processor = new_model(
        (caption for row in rows for caption in row["captions"]), width=64, vision_layers=2, text_layers=1
    )
    model.save_pretrained(tmp_path / "untrained")
    processor.save_pretrained(tmp_path / "untrained")
    settings = {
        "model": tmp_path / "untrained",
        "dataset": CLIPS,
        "eval_split": "train",
        "output_dir": tmp_path / "model",
        "max_steps": 160,
        "batch_size": 14,
        "learning_rate": 2e-3,
        "clip_learning_rate": 2e-3,
        "word_dropping": "false",
        "cache_frames": "memory",
        "num_workers": 0,
        "eval_every": -1,
        "cpu": "true",
    }
    dmae("train", *(f"{name}={value}" for name, value in settings.items()))
    printed = capsys.readouterr().out.split()
    assert float(printed[printed.index("t2v_R@1") + 1]) == 100
    assert float(printed[printed.index("v2t_R@1") + 1]) == 100
    index = tmp_path / "index"
    dmae("index", CLIPS, "--model", tmp_path / "model", "--index", index)
    hits = search(capsys, "a dog rides a skateboard", "--model", tmp_path / "model", "--index", index, "-k", 14)
    assert len(hits) == 14
    assert Path(hits[0]["path"]).name == "skateboarding_dog.mp4"
    assert 0 <= hits[0]["best_time"] <= 30 and hits[0]["score"] > hits[1]["score"]

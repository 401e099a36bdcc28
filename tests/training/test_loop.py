"""Training end to end on real files: it learns, the ways of running it agree, bad input is told in one line."""

import json
import logging

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_parts import launch, loss_curve, save_tiny_model, tiny_model, write_corpus

from dmae.modeling import load_pretrained
from dmae.training.batches.frames import CacheSettings, write_frame_cache
from dmae.training.config import ConfigError, TrainConfig, save_config
from dmae.training.corpora import CorpusError, load_samples
from dmae.training.evaluation.evaluation import evaluate_model
from dmae.training.initialisation import load_model
from dmae.training.loop import check_for_fsdp, is_worse, train, warn_of_shared_videos
from dmae.training.tracking import read_metrics


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    corpus = write_corpus(folder / "corpus")
    return {"dataset": str(corpus), "model": str(save_tiny_model(folder / "model", corpus))}


def config_of(start, output, **changes) -> TrainConfig:
    settings = {
        "output_dir": str(output),
        "max_steps": 4,
        "batch_size": 7,
        "learning_rate": 1e-3,
        "clip_learning_rate": 1e-3,
        "cache_frames": "memory",
        "num_workers": 0,
        "eval_split": None,
        "log_every": 1,
        "progress": False,
        "cpu": True,
    }
    return TrainConfig(**{**start, **settings, **changes})


@pytest.fixture(scope="module")
def plain(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "run"
    train(config_of(start, folder))
    return loss_curve(folder)


def test_it_learns_and_shows_it(start, tmp_path):
    changes = {"max_steps": 150, "batch_size": 12, "eval_split": "test", "eval_every": 75, "learning_rate": 2e-3}
    changes |= {"clip_learning_rate": 2e-3, "model_options": {"logit_scale": 20.0}}
    options = {"epoch_over": "videos", "word_dropping": False, "trackers": ["tensorboard"], "log_every": 10}
    result = train(config_of(start, tmp_path / "run", **changes, **options))
    assert result["metrics"]["t2v_R@1"] == 100 and result["step"] == 150
    model, processor = load_pretrained(result["model_dir"])
    again = evaluate_model(model, processor, load_samples(start["dataset"], "test"), progress=False)
    assert again["t2v_R@1"] == 100
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [record["step"] for record in records if "t2v_R@1" in record] == [75, 150]
    assert [record["step"] for record in records if "loss" in record] == list(range(10, 151, 10))
    assert (tmp_path / "run" / "training.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(tmp_path / "run" / "dmae"))
    events.Reload()
    logged = [(event.step, event.value) for event in events.Scalars("loss")]
    written = [(record["step"], record["loss"]) for record in records if "loss" in record]
    assert logged == [(step, pytest.approx(loss, rel=1e-6)) for step, loss in written]


def test_the_model_is_chosen_on_one_split_and_measured_on_another(start, tmp_path):
    """The first evaluation is the best by far: what is measured in the end is that model, not the last."""
    write_corpus(tmp_path / "corpus" / "train")
    write_corpus(tmp_path / "corpus" / "val", videos=5)
    write_corpus(tmp_path / "corpus" / "test", videos=8)
    changes = {"dataset": str(tmp_path / "corpus"), "eval_split": "val", "test_split": "test", "eval_every": 2}
    changes |= {"clip_learning_rate": 0.5, "word_weighting": "idf"}
    result = train(config_of(start, tmp_path / "run", **changes))
    model, processor = load_pretrained(result["model_dir"])
    assert processor.word_weighting == "idf" and processor.token_frequencies
    for split, name in (("val", "metrics"), ("test", "test_metrics")):
        again = evaluate_model(model, processor, load_samples(changes["dataset"], split), progress=False)
        assert result[name] == pytest.approx(again)
    assert result["metrics"]["num_videos"] == 5 and result["test_metrics"]["num_videos"] == 8
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [record["step"] for record in records if "test/t2v_R@1" in record] == [4]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "split `test`: 8 videos" in card and "chosen on split `val`, by t2v_R@1" in card


def test_the_baseline_has_no_partial_order_loss(start, tmp_path):
    train(config_of(start, tmp_path / "run", model_options={"loss": "infonce", "tpm_predictor": None}))
    first = read_metrics(tmp_path / "run" / "metrics.jsonl")[0]
    assert first["loss"] == first["contrastive_loss"] and "partial_order_loss" not in first


def test_caption_edits_are_harder_than_other_captions(start, tmp_path):
    # NegNCE's set of hard negatives may change with a rounding error.
    infonce = {"model_options": {"loss": "infonce"}}
    train(config_of(start, tmp_path / "run", caption_edits=2, **infonce))
    edited = loss_curve(tmp_path / "run")
    train(config_of(start, tmp_path / "plain", **infonce))
    assert edited[0] > loss_curve(tmp_path / "plain")[0]
    train(config_of(start, tmp_path / "cached", caption_edits=2, micro_batch_size=3, **infonce))
    assert loss_curve(tmp_path / "cached") == pytest.approx(edited, abs=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{"micro_batch_size": 3}, {"cache_frames": "none", "num_workers": 2}, {"gradient_checkpointing": True}],
    ids=lambda changes: next(iter(changes)),
)
def test_other_ways_of_the_same_run(start, plain, tmp_path, changes):
    train(config_of(start, tmp_path / "run", **changes))
    assert loss_curve(tmp_path / "run") == pytest.approx(plain, abs=1e-4)


def test_frames_from_a_folder_of_dmae_frames(start, plain, tmp_path):
    samples = load_samples(start["dataset"], "train")
    write_frame_cache(samples, tmp_path / "frames", CacheSettings(num_frames=2, candidates=1, size=32), progress=False)
    train(config_of(start, tmp_path / "run", cache_frames=str(tmp_path / "frames")))
    assert loss_curve(tmp_path / "run") == pytest.approx(plain, abs=1e-4)


@pytest.mark.distributed
def test_two_processes_run_the_curve_of_one(start, plain, tmp_path):
    save_config(config_of(start, tmp_path / "run"), tmp_path / "config.yaml")
    done = launch("-m", "dmae.cli", "train", tmp_path / "config.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    assert loss_curve(tmp_path / "run") == pytest.approx(plain, abs=1e-4)
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-00000004" / "random_states_1.pkl").is_file()


def test_accumulated_batches_count_alike(start, tmp_path):
    still = {"learning_rate": 0.0, "clip_learning_rate": 0.0}  # so that the second batch meets the same weights
    train(config_of(start, tmp_path / "one", max_steps=2, **still))
    train(config_of(start, tmp_path / "two", max_steps=1, gradient_accumulation_steps=2, **still))
    assert loss_curve(tmp_path / "two") == [pytest.approx(sum(loss_curve(tmp_path / "one")) / 2, abs=1e-5)]


def test_a_stream_trains(start, tmp_path):
    result = train(config_of(start, tmp_path / "run", streaming=True, cache_frames="none", batch_size=5))
    assert result["step"] == 4 and len(loss_curve(tmp_path / "run")) == 4


def test_a_bad_video_is_left_out_and_named(start, tmp_path, caplog):
    corpus = write_corpus(tmp_path / "corpus", videos=6)
    (corpus / "03.mp4").write_bytes(b"an interrupted download")
    with caplog.at_level(logging.WARNING):
        train(config_of({**start, "dataset": str(corpus)}, tmp_path / "run", batch_size=6))
    assert "03.mp4" in caplog.text
    assert len(loss_curve(tmp_path / "run")) == 4


def test_no_readable_video(start, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", videos=3)
    for path in corpus.glob("*.mp4"):
        path.write_bytes(b"")
    with pytest.raises(CorpusError, match="none of the 3 training videos"):
        train(config_of({**start, "dataset": str(corpus)}, tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": "nowhere"}, "nowhere"),
        ({"model": "."}, "folder without config"),
        ({"num_frames": 9}, "num_frames=9, but .* was made for 2"),
        ({"cache_frames": "nowhere"}, "frame cache|dmae frames"),
    ],
)
def test_bad_input_is_told_at_the_start(start, tmp_path, changes, said):
    with pytest.raises((ValueError, OSError), match=said):
        train(config_of(start, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_trackers_that_are_not_there_are_refused(start, tmp_path):
    with pytest.raises(ConfigError, match=r"trackers: notebook is not installed or unknown; there is all, .*tens"):
        train(config_of(start, tmp_path / "run", trackers=["tensorboard", "notebook"]))


def test_evaluating_on_the_training_videos_is_said(start, tmp_path, caplog):
    samples = load_samples(start["dataset"], "train")
    warn_of_shared_videos(samples, samples[:3], "eval_split=test")
    assert "3 of the 3 videos of eval_split=test are trained on too" in caplog.text
    caplog.clear()
    warn_of_shared_videos(samples[3:], samples[:3], "eval_split=test")
    assert not caplog.text


def test_ranks_are_better_the_lower_they_are():
    low, high = {"t2v_MdR": 2.0, "t2v_R@1": 10.0}, {"t2v_MdR": 5.0, "t2v_R@1": 40.0}
    assert is_worse(high, low, "t2v_MdR") and not is_worse(low, high, "t2v_MdR")
    assert is_worse(low, high, "t2v_R@1") and not is_worse(low, low, "t2v_R@1")


def test_one_video_cannot_be_compared(start, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", videos=1)
    assert len(json.loads((corpus / "captions.jsonl").read_text())["captions"]) == 2
    with pytest.raises(ValueError, match="more videos"):
        train(config_of({**start, "dataset": str(corpus)}, tmp_path / "run"))


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({}, True),
        ({"drop_last": True}, False),
        ({"drop_last": True, "batch_size": 7}, True),
        ({"drop_last": True, "event_twins": 0.5}, True),
    ],
)
def test_cached_pieces_that_would_hang_under_fsdp_are_refused(settings, refused):
    config = TrainConfig(**{"micro_batch_size": 2, "batch_size": 8, **settings})
    model = tiny_model(learn_logit_scale=False)[0]
    if refused:
        with pytest.raises(ConfigError, match="drop_last=true and a batch_size divisible by the 2 processes"):
            check_for_fsdp(config, model, 2)
    else:
        check_for_fsdp(config, model, 2)


def test_a_scalar_that_fsdp_cannot_cut_is_refused():
    with pytest.raises(ConfigError, match="learn_logit_scale=false"):
        check_for_fsdp(TrainConfig(), tiny_model(learn_logit_scale=True)[0], 2)


def test_a_learned_scale_starts_where_the_run_says_else_where_the_checkpoint_ended(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", videos=2)
    towers = save_tiny_model(tmp_path / "model", corpus, learn_logit_scale=True, logit_scale=60.0)
    for options, expected in (({}, 60), ({"logit_scale": 20.0}, 20)):
        model, _ = load_model(TrainConfig(model=str(towers), dataset="x", model_options=options))
        assert float(model.scale.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("option", "said"), [("logit_scale", "must be positive"), ("frame_differences", "temporal_layers")]
)
def test_an_option_that_cannot_be_is_told_for_a_checkpoint_too(tmp_path, option, said):
    corpus = write_corpus(tmp_path / "corpus", videos=2)
    towers = save_tiny_model(tmp_path / "model", corpus, temporal_layers=0, learn_logit_scale=True)
    values = {"logit_scale": -3.0, "frame_differences": True}
    with pytest.raises(ValueError, match=said):
        load_model(TrainConfig(model=str(towers), dataset="x", model_options={option: values[option]}))

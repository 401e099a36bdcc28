"""An evaluation, and a frame cache, by the processes of a launch against one process."""

import json

import pytest
import torch
from places import ROOT
from training_parts import launch, save_tiny_model, write_corpus
from two_process_evaluation import cases, measured

from dmae.modeling import VideoFeatures, load_pretrained
from dmae.training.batches.frames import CachedFrames
from dmae.training.commands import evaluate
from dmae.training.corpora import load_samples
from dmae.training.distributed import ALONE, Processes

SCRIPT = ROOT / "tests" / "support" / "two_process_evaluation.py"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twelve videos of two captions and a wrong one each; the third is broken."""
    folder = write_corpus(tmp_path_factory.mktemp("corpus") / "corpus")
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        wrong = {"kind": ("colour", "word")[number % 2], "positive": row["captions"][0], "caption": "no picture"}
        row["hard_negatives"] = [wrong]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "02.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def model(corpus, tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "model", corpus)


@pytest.fixture(scope="module")
def three_processes(corpus, model, tmp_path_factory):
    result = tmp_path_factory.mktemp("gloo") / "result.pt"
    done = launch(SCRIPT, corpus, model, result, processes=3)
    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(result, weights_only=True)
    assert found["processes"] == 3
    return found


@pytest.mark.distributed
@pytest.mark.parametrize("case", ["corpus", "one video", "two videos"])
def test_three_processes_measure_what_one_does(three_processes, corpus, model, case):
    """ "one video" leaves two processes without a video and one without a text."""
    expected = measured(cases(str(corpus))[case], *load_pretrained(model))
    found = three_processes[case]
    torch.testing.assert_close(found["similarity"], expected["similarity"], atol=1e-6, rtol=0)
    assert found["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)
    assert found["samples"] == expected["samples"]
    assert [tuple(item) for item in found["skipped"]] == expected["skipped"]
    for theirs in three_processes["everyone"]:  # all processes know the result
        assert theirs[case] == found["metrics"]
    if case == "corpus":
        assert [video for video, _ in expected["skipped"]] == ["02.mp4"]
        assert {"hard_negative_accuracy/word", "query_bank/t2v_R@1", "softmax_prior/v2t_R@1"} <= set(found["metrics"])


@pytest.mark.distributed
def test_scores_that_are_no_numbers_are_told_to_every_process(three_processes):
    (told,) = set(three_processes["told"])
    assert told.startswith("the model gives 1 texts scores that are no numbers (NaN or infinite): ")


@pytest.mark.distributed
def test_the_command_shares_its_work_under_a_launcher(corpus, model, tmp_path):
    arguments = ["evaluate", model, corpus, "--device", "cpu", "--dual-softmax", "--workers", "1", "--json"]
    done = launch("-m", "dmae.cli", *arguments, tmp_path / "two.json")
    assert done.stdout.count("text to video, dual softmax") == 1, done.stderr[-3000:]  # one table
    assert main_of(evaluate, *arguments[1:], tmp_path / "one.json") == 1
    two, one = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("two", "one"))
    assert two["metrics"] == pytest.approx(one["metrics"], abs=1e-6)
    assert two["skipped"] == one["skipped"] and len(one["skipped"]) == 1


@pytest.mark.distributed
def test_a_frame_cache_is_written_by_all_processes(corpus, tmp_path):
    arguments = ["frames", corpus, tmp_path / "cache", "--num-frames", "2", "--size", "32", "--workers", "1", "--json"]
    done = launch("-m", "dmae.cli", *arguments, processes=3)
    assert done.stdout, done.stderr[-3000:]
    report = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert (report["added"], report["present"], list(report["failed"])) == (11, 0, ["02.mp4"])
    files = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert files == [f"frames-{number:06d}.arrow" for number in range(3)]  # one of each, and nothing left over
    samples = load_samples(str(corpus), "train")
    cached = CachedFrames(tmp_path / "cache", samples)
    assert [cached[index] is None for index in range(12)] == [index == 2 for index in range(12)]
    assert cached[0][0].float().mean(dim=(0, 2, 3))[0] > 200  # the first is red


def main_of(command, *arguments) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(list(map(str, arguments))))


def test_one_process_gathers_nothing():
    rows, video = torch.arange(6).view(3, 2), VideoFeatures(torch.ones(2, 3, 4), torch.ones(2, 3))
    assert ALONE.whole(rows).equal(rows) and ALONE.gather("item") == ["item"] and ALONE.share([1, 2]) == [1, 2]
    assert all(a.equal(b) for a, b in zip(ALONE.videos_of_all(video), video))


def test_work_is_dealt_out_like_cards():
    shares = [Processes(index, 3).share(range(7)) for index in range(3)]
    assert [list(share) for share in shares] == [[0, 3, 6], [1, 4], [2, 5]]

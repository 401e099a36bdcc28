"""Benchmarks of moments in their published forms, the measures, and films of our own searched through an index."""

import json

import pytest
from training_parts import tiny_model

from dmae.cli import main
from dmae.moment_evaluation import evaluate_moments
from dmae.retrieval import VideoIndex
from dmae.training.corpora.moments import load_moments
from dmae.training.corpora.samples import CorpusError
from dmae.training.evaluation.moments import interval_iou, moment_metrics
from dmae.training.synthetic.films import MOMENTS, write_films

FILES = {
    "didemo": (
        "test_data.json",
        json.dumps([{"video": "a.mov", "description": "a bug", "times": [[1, 1], [0, 2], [0, 2], [1, 1]]}]),
        [("a bug", "a.mov", ((0.0, 15.0),))],
    ),
    "activitynet": (
        "val_1.json",
        json.dumps({"v_1": {"duration": 9, "timestamps": [[0, 4], [3, 9]], "sentences": ["one ", " two"]}}),
        [("one", "v_1", ((0.0, 4.0),)), ("two", "v_1", ((3.0, 9.0),))],
    ),
    "charades-sta": (
        "charades_sta_test.txt",
        "3MSZA 24.3 30.4##person turn a light on.\n",
        [("person turn a light on.", "3MSZA", ((24.3, 30.4),))],
    ),
    "qvhighlights": (
        "highlight_val_release.jsonl",
        json.dumps({"qid": 1, "query": "a cat", "vid": "x_0_150", "relevant_windows": [[0, 4], [10, 20]]}) + "\n",
        [("a cat", "x_0_150", ((0.0, 4.0), (10.0, 20.0)))],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_published_forms(tmp_path, name):
    file_name, text, expected = FILES[name]
    (tmp_path / file_name).write_text(text)
    found = [(query.text, query.video, query.spans) for query in load_moments(name, tmp_path)]
    assert found == expected
    (tmp_path / file_name).write_text('{"a": 1}\n')
    with pytest.raises(CorpusError, match=f"is not a file of {name}"):
        load_moments(name, tmp_path / file_name)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(CorpusError, match="no benchmark of moments is called 'tacos'"):
        load_moments("tacos", tmp_path)
    with pytest.raises(CorpusError, match="No such file"):
        load_moments("didemo", tmp_path)


def test_measures():
    assert interval_iou((0, 4), (2, 6)) == pytest.approx(1 / 3)
    assert interval_iou((0, 1), (2, 3)) == 0 and interval_iou((1, 1), (1, 1)) == 1
    metrics = moment_metrics([[0.8, 0.1], [0.2, 0.0, 0.6], []])
    assert metrics["R@1 IoU 0.5"] == pytest.approx(100 / 3) and metrics["R@5 IoU 0.5"] == pytest.approx(200 / 3)
    assert metrics["mIoU"] == pytest.approx(100 / 3)


def test_films_are_the_same_again_and_their_spans_are_where_they_say(tmp_path):
    first, second = (write_films(tmp_path / name, films=2, scenes=3) for name in "ab")
    for name in ("000001.mp4", "000002.mp4", MOMENTS):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    film = json.loads((first / MOMENTS).read_text().splitlines()[0])
    assert [moment["start"] for moment in film["moments"][1:]] == [moment["end"] for moment in film["moments"][:-1]]
    assert film["moments"][-1]["end"] == film["duration"]
    with pytest.raises(ValueError, match="films of another spec"):
        write_films(first, films=1, scenes=3)


def test_moments_are_measured_through_an_index(tmp_path):
    films = write_films(tmp_path / "films", films=2, scenes=4)
    index = VideoIndex.create(tmp_path / "index", *tiny_model(num_frames=4), frames_per_second=2.0)
    index.add(films / "000001.mp4", workers=0)
    report = evaluate_moments(index, load_moments("films", films))
    assert (report["queries"], report["missing"]) == (4, ["000002.mp4"])
    assert set(report["within_video"]) == set(report["corpus"])
    # With one film in it, the index is that film.
    assert report["within_video"] == report["corpus"]
    assert 0 <= report["corpus"]["mIoU"] <= 100


def test_the_command_measures_films(tmp_path, capsys):
    films = write_films(tmp_path / "films", films=1, scenes=3)
    for part in tiny_model(num_frames=4):
        part.save_pretrained(tmp_path / "model")
    measured = ["evaluate", str(tmp_path / "model"), "films", "--moments", "--frames-per-second", "2"]
    assert main([*measured, "--videos", str(films), "--workers", "0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["queries"] == 3 and report["missing"] == [] and report["segments"] > 1
    assert main(measured) == 2
    assert "--moments needs --videos" in capsys.readouterr().err
    nowhere = ["--videos", str(films), "--json", str(tmp_path / "nowhere" / "report.json")]
    assert main([*measured, *nowhere]) == 2  # before the work, not after it
    assert "there is no such folder" in capsys.readouterr().err

"""Benchmarks of moments in their published forms, the measures, and films of our own searched through an index."""

import json

import numpy as np
import pytest
from training_parts import tiny_model

from dmae.cli import main
from dmae.moment_evaluation import evaluate_moments, video_name
from dmae.retrieval import VideoIndex
from dmae.training.corpora.moments import load_moments
from dmae.training.corpora.samples import CorpusError
from dmae.training.evaluation import highlights
from dmae.training.evaluation.highlights import highlight_metrics
from dmae.training.evaluation.moments import average_precision, interval_iou, moment_metrics
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
    found = [np.array([[0.8], [0.1]]), np.array([[0.2], [0.0], [0.6]]), np.zeros((0, 1))]
    metrics = moment_metrics(found)
    assert metrics["R@1 IoU 0.5"] == pytest.approx(100 / 3) and metrics["R@5 IoU 0.5"] == pytest.approx(200 / 3)
    assert metrics["mIoU"] == pytest.approx(100 / 3)


def test_the_average_precision_of_spans_is_that_worked_out_by_hand():
    """Two spans were marked. At 0.5 the first and the third span found are right, the latter by the second marked one,
    since the first has its span: (1 + 2/3) / 2. At 0.6 the first alone is: 1/2. At 0.85 none is.
    """
    found = np.array([[0.8, 0.0], [0.2, 0.1], [0.6, 0.55]])
    assert average_precision(found, 0.5) == pytest.approx(5 / 6)
    assert average_precision(found, 0.6) == average_precision(found, 0.8) == pytest.approx(1 / 2)
    assert average_precision(found, 0.85) == 0
    metrics = moment_metrics([found])
    assert metrics["mAP"] == pytest.approx(100 * (2 * 5 / 6 + 5 * 1 / 2) / 10)
    assert (metrics["mAP IoU 0.5"], metrics["mAP IoU 0.75"]) == pytest.approx((100 * 5 / 6, 50))
    # A wrong span before the right ones: precisions 1/2 and 2/3, of which the first may be read as the second.
    assert average_precision(np.array([[0.0, 0.1], [0.9, 0.0], [0.0, 0.9]]), 0.5) == pytest.approx(2 / 3)
    # What comes after the tenth does not count.
    late = np.zeros((11, 1))
    late[10] = 1.0
    assert average_precision(late, 0.5) == 0 and average_precision(late[1:], 0.5) == pytest.approx(1 / 10)


def test_highlights_are_measured_as_worked_out_by_hand():
    """Clips by score: 0, 3, 2, 1. The first person's highlights, 0 and 2, are at the ranks 1 and 3: (1 + 2/3) / 2; the
    second's, 0 and 1, at 1 and 4: (1 + 2/4) / 2; the third's, 1, at 4: 1/4. A mark of 3 is none.
    """
    scores = np.array([0.9, 0.1, 0.5, 0.7])
    marks = np.array([[4, 4, 0], [0, 4, 4], [4, 0, 0], [0, 3, 3]])
    metrics = highlight_metrics([scores], [marks])
    assert metrics["mAP"] == pytest.approx(100 * (5 / 6 + 3 / 4 + 1 / 4) / 3) and metrics["HIT@1"] == 100
    # A second query whose best clip is "good" for all, and a highlight for nobody, halves both.
    twice = highlight_metrics([scores, scores], [marks, np.full((4, 3), 3)])
    assert twice["mAP"] == pytest.approx(metrics["mAP"] / 2) and twice["HIT@1"] == 50


@pytest.mark.parametrize(
    ("scores", "right", "precision"),
    [
        ([4, 3, 2, 1], [0, 1, 1, 0], 2 / 3),  # 1/2 at the first may be read as the 2/3 at the second
        ([1, 1, 1, 1], [0, 1, 0, 0], 1 / 4),  # equal scores: all at once
        ([2, 2, 1, 1], [1, 0, 0, 1], 1 / 2),  # 1/2 at both
        ([1, 2, 3, 4], [1, 1, 1, 1], 1),
        ([1, 2, 3, 4], [0, 0, 0, 0], 0),
    ],
)
def test_the_average_precision_of_clips(scores, right, precision):
    found = highlights.average_precision(np.array(scores, float), np.array(right, bool))
    assert found == pytest.approx(precision)


def test_the_average_precision_of_clips_is_that_of_a_curve_of_precision_and_recall():
    """As the published evaluation has it, by scikit-learn's curve; scores of one digit, so that many are equal."""
    from sklearn.metrics import precision_recall_curve

    rng = np.random.default_rng(0)
    for _ in range(50):
        scores, right = rng.random(30).round(1), rng.random(30) < rng.random()
        if right.any():
            precision, recall, _ = precision_recall_curve(right, scores)
            best = np.maximum.accumulate(precision)
            expected = best[np.flatnonzero(np.diff(recall))].mean()
            assert highlights.average_precision(scores, right) == pytest.approx(expected)


def test_every_clip_of_a_video_has_marks(tmp_path):
    row = {"query": "a cat", "vid": "x_0.0_9.0", "duration": 9, "relevant_windows": [[2, 6]]}
    row |= {"relevant_clip_ids": [1, 2], "saliency_scores": [[4, 1, 2], [3, 3, 4]]}
    (tmp_path / "highlight_val_release.jsonl").write_text(json.dumps(row) + "\n")
    (query,) = load_moments("qvhighlights", tmp_path)
    assert query.saliency == ((0, 0, 0), (4, 1, 2), (3, 3, 4), (0, 0, 0))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("clips/bP5KfdFJzC4_660.0_810.0.mp4", "bP5KfdFJzC4_660.0_810.0"),
        ("bP5KfdFJzC4_660.0_810.0", "bP5KfdFJzC4_660.0_810.0"),
        ("54322086@N00_2408598493_274c77d26a.avi.mp4", "54322086@N00_2408598493_274c77d26a"),
        ("v_1.MKV", "v_1"),
    ],
)
def test_a_video_has_the_name_that_its_benchmark_knows(file, name):
    assert video_name(file) == name


def test_films_are_the_same_again_and_their_spans_are_where_they_say(tmp_path):
    first, second = (write_films(tmp_path / name, films=2, scenes=3) for name in "ab")
    for name in ("film_1.mp4", "film_2.mp4", MOMENTS):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    film = json.loads((first / MOMENTS).read_text().splitlines()[0])
    assert [moment["start"] for moment in film["moments"][1:]] == [moment["end"] for moment in film["moments"][:-1]]
    assert film["moments"][-1]["end"] == film["duration"]
    with pytest.raises(ValueError, match="films of another spec"):
        write_films(first, films=1, scenes=3)


def test_moments_are_measured_through_an_index(tmp_path):
    films = write_films(tmp_path / "films", films=2, scenes=4)
    index = VideoIndex.create(tmp_path / "index", *tiny_model(num_frames=4), frames_per_second=2.0)
    index.add(films / "film_1.mp4", workers=0)
    report = evaluate_moments(index, load_moments("films", films))
    assert (report["queries"], report["missing"]) == (4, ["film_2.mp4"])
    assert set(report["within_video"]) == set(report["corpus"])
    # With one film in it, the index is that film.
    assert report["within_video"] == report["corpus"]
    assert 0 <= report["corpus"]["mIoU"] <= 100 and 0 <= report["corpus"]["mAP"] <= 100
    assert "highlights" not in report


def test_highlights_are_measured_by_the_timeline_of_an_index(tmp_path):
    films = write_films(tmp_path / "films", films=1, scenes=4)
    (film,) = films.glob("*.mp4")
    index = VideoIndex.create(tmp_path / "index", *tiny_model(num_frames=4), frames_per_second=2.0)
    index.add(film, workers=0)
    times, scores = index.timeline("a red ring", film.name)
    duration = int(times[-1] + 1)
    clips = [
        scores[np.abs(times - (2 * clip + 1)) < 0.3].mean() for clip in range(duration // 2)
    ]  # two frames of each
    row = {"query": "a red ring", "vid": film.stem, "duration": duration, "relevant_windows": [[0, 2]]}
    reports = []
    for clip in (int(np.argmax(clips)), int(np.argmin(clips))):
        marked = row | {"relevant_clip_ids": [clip], "saliency_scores": [[0, 4, 0]]}
        (tmp_path / "marks.jsonl").write_text(json.dumps(marked) + "\n")
        reports.append(evaluate_moments(index, load_moments("qvhighlights", tmp_path / "marks.jsonl"))["highlights"])
    assert reports[0] == pytest.approx({"mAP": 100 / 3, "HIT@1": 100})
    assert reports[1] == pytest.approx({"mAP": 100 / 3 / len(clips), "HIT@1": 0})


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

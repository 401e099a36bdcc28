"""Long videos in an index: cut at every scene, whole or not at all, continued after an interruption."""

import shutil
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from training_parts import tiny_model
from video_files import write_video

from dmae.modeling import VideoDecodeError
from dmae.retrieval import VideoIndex, VideoIndexError
from dmae.retrieval.commands.index import print_report
from dmae.retrieval.indexing import long_videos
from dmae.retrieval.indexing.film_frames import cell_means, film_frames
from dmae.retrieval.indexing.film_loading import load_film
from dmae.retrieval.storage.table import table_names

RATE = 8
MS = Fraction(1, 1000)
SCENES = [24, 40, 16, 32, 48, 20, 28, 32]  # frames


@pytest.fixture(scope="module")
def model():
    return tiny_model(num_frames=4)


def scene(number: int, frame: int) -> np.ndarray:
    """A picture of blocks of colour, with a bar that moves."""
    rng = np.random.default_rng(number)
    picture = rng.integers(0, 255, (4, 4, 3)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    picture[:, (frame * 2) % 60 : (frame * 2) % 60 + 4] = 255
    return picture


def write_film(path, scenes=SCENES, **options):
    pictures = [scene(number, frame) for number, count in enumerate(scenes) for frame in range(count)]
    return write_video(path, pictures, rate=RATE, size=(64, 64), options={"g": "50", "bf": "2"}, **options)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write_film(folder / "film.mp4")
    write_video(folder / "short.mp4", 8, rate=RATE, size=(64, 64))
    return folder


def make(place, model, **options):
    return VideoIndex.create(place, *model, **{"frames_per_second": 4.0, **options})


def spans(index, video="film.mp4"):
    rows = index.table.scan(["segment_number", "segment_start", "segment_end"], f"id = '{video}'").to_pylist()
    rows.sort(key=lambda row: row["segment_number"])
    assert [row["segment_number"] for row in rows] == list(range(len(rows)))
    return [(row["segment_start"], row["segment_end"]) for row in rows]


def test_a_film_becomes_segments_that_cross_no_cut(films, tmp_path, model, capfd):
    index = make(tmp_path / "index", model)
    report = index.add(films, workers=1)
    assert (report.added, report.failed, len(index)) == (2, [], 2)
    found = spans(index)
    longest = index.table.settings.segment_frames
    assert found[0][0] == 0 and found[-1][1] == pytest.approx(sum(SCENES) / RATE)
    assert all(end == following for (_, end), (following, _) in pairwise(found))
    assert all(end - start <= longest / 4.0 + 1e-6 for start, end in found)
    cuts = np.cumsum(SCENES)[:-1] / RATE
    assert all(min(abs(cut - end) for _, end in found) <= 0.25 for cut in cuts)
    assert len(spans(index, "short.mp4")) == 1
    assert index.add(films, workers=0).unchanged == 2
    assert table_names(index.table.database) == ["failures", "videos"]
    assert "WARN" not in capfd.readouterr().err  # of the engine, about tables that it makes


def test_the_score_of_a_segment_is_the_models(films, tmp_path, model):
    from dmae.modeling.encoding import encode_texts
    from dmae.modeling.video_stream import FrameStream

    index = make(tmp_path / "index", model, dtype="float32")
    index.add(films / "film.mp4", workers=0)
    hit = index.search("a red square", k=1)[0]
    row = index.table.scan(["frame_times", "id"], f"segment_number = {hit.segment}").to_pylist()[0]
    frames = {round(f.moment, 3): f.pixels for f in FrameStream(films / "film.mp4", 4.0, size=32)}
    pictures = np.stack([frames[round(moment, 3)] for moment in row["frame_times"]])
    net, processor = model
    inputs = processor.video_processor([pictures], do_sample_frames=False, return_tensors="pt")
    with torch.no_grad():
        features = net.get_video_features(**inputs).to("cpu", torch.float32)
        score = net.similarity(encode_texts(net, processor, ["a red square"]), features)
    assert hit.score == pytest.approx(float(score), abs=2e-3)


def test_a_setting_of_none_keeps_one_segment_per_video(films, tmp_path, model):
    index = make(tmp_path / "index", model, frames_per_second=None)
    index.add(films, workers=0)
    assert index.table.num_segments() == len(index) == 2


def test_keyframes_can_be_what_is_indexed(films, tmp_path, model):
    index = make(tmp_path / "index", model, frames_per_second="keyframes")
    index.add(films / "film.mp4", workers=0)
    found = spans(index)
    assert found[0][0] == 0 and found[-1][1] == pytest.approx(sum(SCENES) / RATE)


def test_an_interrupted_film_is_continued(films, tmp_path, model, monkeypatch):
    whole = make(tmp_path / "whole", model)
    whole.add(films / "film.mp4", workers=0)
    index = make(tmp_path / "index", model)
    monkeypatch.setattr(long_videos, "JOURNAL_SEGMENTS", 2)
    monkeypatch.setattr("dmae.retrieval.indexing.segmentation.STRETCH", 8)
    monkeypatch.setattr("dmae.retrieval.indexing.film_frames.CHUNK_FRAMES", 8)

    def stop(path, share):
        if share > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add(films / "film.mp4", workers=0, tell=stop)
    assert len(index) == 0 and any(name.startswith("journal_") for name in table_names(index.table.database))
    starts = []
    original = long_videos.load_film
    monkeypatch.setattr(long_videos, "load_film", lambda *a, **o: starts.append(o["start"]) or original(*a, **o))
    assert index.add(films / "film.mp4", workers=0).added == 1
    assert starts[0] > 0
    assert spans(index)[-1][1] == spans(whole)[-1][1]
    assert table_names(index.table.database) == ["failures", "videos"]
    assert index.search("a red square", k=1)[0].score == pytest.approx(
        whole.search("a red square", k=1)[0].score, abs=1e-2
    )


def test_a_process_killed_right_after_its_commit_leaves_nothing_for_long(films, tmp_path, model, monkeypatch):
    index = make(tmp_path / "index", model)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dmae.retrieval.storage.journal.drop_journals", killed)
        with pytest.raises(KeyboardInterrupt):
            index.add(films, workers=0)
    assert len(index) == 2 and any(name.startswith("journal_") for name in table_names(index.table.database))
    assert index.add(films, workers=0).unchanged == 2
    assert table_names(index.table.database) == ["failures", "videos"]


def test_of_two_processes_with_one_film_one_gives_up(films, tmp_path, model, monkeypatch):
    index = make(tmp_path / "index", model)
    monkeypatch.setattr("dmae.retrieval.indexing.segmentation.STRETCH", 8)
    monkeypatch.setattr("dmae.retrieval.indexing.film_frames.CHUNK_FRAMES", 8)
    others = []

    def meanwhile(path, share):
        if share > 0.6 and not others:
            others.append(VideoIndex.open(index.uri, *model).add(films, workers=0))

    report = index.add(films, workers=0, commit_seconds=0.0, tell=meanwhile)
    assert (others[0].added, others[0].failed) == (1, [])
    assert report.failed == [(str(films / "film.mp4"), "another process encodes it")]
    assert spans(index)[-1][1] == pytest.approx(sum(SCENES) / RATE)
    assert index.add(films, workers=0).unchanged == 2
    assert table_names(index.table.database) == ["failures", "videos"]


def test_a_film_that_changed_is_cut_anew(tmp_path, model):
    index = make(tmp_path / "index", model)
    path = write_film(tmp_path / "film.mp4")
    index.add(path, workers=0)
    write_film(path, SCENES[:3])
    report = index.add(path, workers=0)
    assert (report.updated, len(index)) == (1, 1)
    assert spans(index)[-1][1] == pytest.approx(sum(SCENES[:3]) / RATE)
    assert index.delete("film.mp4") == 1 and index.table.num_segments() == 0


def test_a_film_with_another_name_keeps_its_segments(films, tmp_path, model):
    index = make(tmp_path / "index", model)
    folder = tmp_path / "films"
    folder.mkdir()
    shutil.copy(films / "film.mp4", folder / "film.mp4")
    index.add(folder, workers=0)
    before, hit = spans(index), index.search("a red square", k=1)[0]
    version = index.table.version
    (folder / "film.mp4").rename(folder / "other.mp4")
    report = index.add(folder, prune=True, workers=0)
    assert (report.unchanged, report.moved, len(index)) == (1, [("film.mp4", "other.mp4")], 1)
    assert index.table.version == version + 1  # all of its segments at once
    again = index.search("a red square", k=1)[0]
    assert spans(index, "other.mp4") == before and (again.id, again.score) == ("other.mp4", hit.score)
    # Where its spans end also goes by a sample of the index, which goes by names.
    assert again.best_time == hit.best_time
    write_film(folder / "other.mp4", SCENES[:3])  # its rows are found by their keys
    assert index.add(folder, workers=0).updated == 1 and len(spans(index, "other.mp4")) < len(before)


def test_a_film_and_a_clip_that_swapped_their_names_keep_their_segments(films, tmp_path, model):
    index, folder = make(tmp_path / "index", model), tmp_path / "films"
    shutil.copytree(films, folder)
    index.add(folder, workers=0)
    before = spans(index)
    (folder / "film.mp4").rename(folder / "other")
    (folder / "short.mp4").rename(folder / "film.mp4")
    (folder / "other").rename(folder / "short.mp4")
    report = index.add(folder, workers=0)
    assert (report.unchanged, len(report.moved), len(index)) == (2, 2, 2)
    assert spans(index, "short.mp4") == before and len(spans(index)) == 1


def test_a_film_that_cannot_be_read_on_is_reported_and_nothing_of_it_kept(films, tmp_path, model, monkeypatch):
    def broken(*args, **options):
        chunks = load_film(*args, **options)
        yield next(chunks)
        yield next(chunks)._replace(error=VideoDecodeError("film.mp4", "cannot be read further"))

    monkeypatch.setattr(long_videos, "load_film", broken)
    monkeypatch.setattr("dmae.retrieval.indexing.film_frames.CHUNK_FRAMES", 8)
    index = make(tmp_path / "index", model)
    report = index.add(films, workers=0)
    assert [reason for _, reason in report.failed] == ["cannot be read further"]
    assert len(index) == 1 and table_names(index.table.database) == ["failures", "videos"]


def test_pictures_that_look_the_same_are_encoded_once(tmp_path, model, monkeypatch):
    rng = np.random.default_rng(0)
    still = scene(1, 0)
    pictures = [np.clip(still + rng.normal(0, 1.5, still.shape), 0, 255).astype(np.uint8) for _ in range(160)]
    path = write_video(tmp_path / "still.mp4", pictures, rate=RATE, size=(64, 64))
    chunks = list(film_frames(str(path), 4.0, size=32))
    assert sum(len(chunk.pixels) for chunk in chunks) == 1
    assert sum(len(chunk.moments) for chunk in chunks) == 80
    index, every = make(tmp_path / "index", model), make(tmp_path / "every", model)
    index.add(path, workers=0)
    monkeypatch.setattr("dmae.retrieval.indexing.film_frames.SAME", -1.0)
    every.add(path, workers=0)
    one, all_ = (i.search("a red square", k=1)[0] for i in (index, every))
    assert one.score == pytest.approx(all_.score, abs=5e-3)


def test_more_frames_than_a_file_has_are_told_and_none_is_kept_twice(films, tmp_path, model, capsys):
    index = make(tmp_path / "index", model, frames_per_second=30.0)
    report = index.add(films / "film.mp4", workers=0)
    line = f"has {RATE} frames per second, not the 30 asked for; took each once"
    assert report.warnings == [(str(films / "film.mp4"), line)]
    rows = index.table.scan(["frame_times", "frame_weights"]).to_pylist()
    weights = np.concatenate([row["frame_weights"] for row in rows])
    assert weights.sum() == sum(SCENES)  # one that looks like the one before counts with it
    numbers = np.concatenate([row["frame_times"] for row in rows]) * RATE - 0.5
    assert numbers == pytest.approx(numbers.round(), abs=1e-2) and len(set(numbers.round())) == len(numbers) > 150
    print_report(index, report)
    assert f"warning: {films / 'film.mp4'}: {line}" in capsys.readouterr().err
    assert make(tmp_path / "slower", model, frames_per_second=4.0).add(films, workers=0).warnings == []


def test_a_slide_that_stays_is_kept_once_for_as_long_as_it_stays(tmp_path, model):
    pictures = [scene(number, 0) for number in range(4)]
    path = write_video(
        tmp_path / "slides.mp4", pictures, size=(64, 64), ticks=[0, 3000, 5000, 9000], tick=MS, options={"bf": "0"}
    )
    index = make(tmp_path / "index", model, frames_per_second=2.0)
    assert "not the 2 asked for" in index.add(path, workers=0).warnings[0][1]
    rows = index.table.scan(["segment_start", "segment_end", "frame_weights"]).to_pylist()
    rows.sort(key=lambda row: row["segment_start"])
    found = [(row["segment_end"] - row["segment_start"], row["frame_weights"]) for row in rows]
    assert [weights for _, weights in found[:3]] == [[3.0], [2.0], [4.0]]
    assert [seconds for seconds, _ in found[:3]] == pytest.approx([3, 2, 4], abs=0.1)


def test_a_damaged_film_is_indexed_with_a_warning(tmp_path, model):
    path = write_film(tmp_path / "film.mp4", muxing={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 4 // 5])
    report = make(tmp_path / "index", model).add(path, workers=1)
    assert (report.added, report.failed) == (1, [])
    assert any("took what is there" in line for _, line in report.warnings)


def test_a_film_that_is_read_elsewhere_gets_the_same_rows(films, tmp_path, model):
    index, other = make(tmp_path / "index", model), make(tmp_path / "other", model)
    index.add(films / "film.mp4", workers=0)
    chunks, shares = film_frames(str(films / "film.mp4"), 4.0, size=32), []
    other.add_film("film.mp4", chunks, path="somewhere", metadata={"kind": "film"}, tell=shares.append)
    assert shares == sorted(shares) and 0.9 < shares[-1] <= 1
    columns = ["segment_key", "segment_start", "segment_end", "frames", "frame_times", "duration"]
    first, second = (i.table.scan(columns).to_pylist() for i in (index, other))
    assert [{name: row[name] for name in columns} for row in first] == [
        {name: row[name] for name in columns} for row in second
    ]
    hit = other.search("a red square", where={"kind": "film"})[0]
    assert (hit.path, hit.metadata) == ("somewhere", {"kind": "film"})


def test_of_a_film_that_does_not_come_whole_nothing_is_kept(films, tmp_path, model):
    index = make(tmp_path / "index", model)

    def broken():
        yield next(film_frames(str(films / "film.mp4"), 4.0, size=32))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add_film("film.mp4", broken())
    assert len(index) == 0 and table_names(index.table.database) == ["videos"]
    whole = make(tmp_path / "whole", model, frames_per_second=None)
    with pytest.raises(VideoIndexError, match="as one segment"):
        whole.add_film("film.mp4", broken())


def test_cells_are_means():
    picture = np.zeros((40, 24, 3), np.uint8)
    picture[:16] = 100
    means = cell_means(picture)
    assert means.shape == (10, 6, 3)
    assert np.allclose(means[:4], 100) and np.allclose(means[4:], 0)
    assert cell_means(np.full((5, 6, 3), 9, np.uint8)).tolist() == [[[9, 9, 9]]]
    assert cell_means(np.zeros((224, 398, 3), np.uint8)).shape == (32, 32, 3)

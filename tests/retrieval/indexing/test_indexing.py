"""Encoding a corpus of real files: complete, idempotent, going on past bad ones, safe to kill and to run twice."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import ROOT
from training_parts import tiny_model
from video_files import write_video

from dmae.modeling import read_frames
from dmae.modeling.features import TextFeatures, VideoFeatures
from dmae.retrieval import SearchLimits, VideoIndex, VideoIndexError
from dmae.retrieval.indexing.corpus import hash_video
from dmae.retrieval.search.query import _as_query, words_of

KILLS = 4  # benchmarks/index_crashes.py does more
PLACES = st.dictionaries(
    st.sampled_from("abcd"), st.integers(0, 2), min_size=1
)  # name of a file: number of its content


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in model:
        part.save_pretrained(folder)
    return folder


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (1, 1, 3)).repeat(48, 0).repeat(64, 1).astype(np.uint8)


def make_corpus(folder, names) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shots = [picture(hash_of(name)), picture(hash_of(name) + 1)]
        write_video(path, [shots[n // 5] for n in range(10)], size=(64, 48), rate=5)


def hash_of(name: str) -> int:
    return sum(map(ord, name)) * 97


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder, ["a.mp4", "b.mp4", "deep/er/c.mkv", "deep/a.mp4", "it's ünï.mp4"])
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42 this is no video" * 50)
    (folder / "notes.txt").write_text("not a video")
    (folder / ".hidden.mp4").write_bytes(b"")
    return folder


@pytest.fixture
def index(model, tmp_path):
    return VideoIndex.create(tmp_path / "index", *model)


def ids(index) -> list[str]:
    return sorted(index.table.scan(["id"])["id"].to_pylist())


def test_a_folder_becomes_searchable(index, corpus, model):
    report = index.add(corpus)
    assert (report.added, report.updated, report.unchanged, report.removed) == (5, 0, 0, 0)
    assert [os.path.basename(path) for path, _ in report.failed] == ["broken.mp4"]
    assert ids(index) == sorted(["a.mp4", "b.mp4", "deep/er/c.mkv", "deep/a.mp4", "it's ünï.mp4"])
    hit = index.search("green square", k=1)[0]
    frames = read_frames(hit.path, num_frames=2)
    np.testing.assert_allclose(hit.frame_times, frames.timestamps, atol=1e-3)
    assert hit.duration == pytest.approx(frames.duration) and hit.best_time in hit.frame_times
    thumbnails = index.thumbnails(ids(index))
    assert len(thumbnails) == 5 and all(jpeg.startswith(b"\xff\xd8") for jpeg in thumbnails.values())


def test_the_score_is_the_models(index, corpus, model):
    index.add(corpus)
    net, processor = model
    inputs = processor(text=["a red square"], videos=[str(corpus / "b.mp4")], return_tensors="pt")
    with torch.no_grad():
        output = net(**inputs)
    hit = next(h for h in index.search("a red square") if h.id == "b.mp4")
    assert hit.score == pytest.approx(float(output.logits_per_text[0, 0] / net.scale), abs=2e-3)
    explanation = index.explain("a red square", "b.mp4")
    assert explanation.score == pytest.approx(hit.score, abs=1e-6)
    assert explanation.similarity.shape == (len(explanation.words), 2) == (len(explanation.word_weights), 2)
    assert explanation.words == ["a", "red", "square"]
    tokens = output.word_embeds[0] @ output.frame_embeds[0].T
    expected = [tokens[at].mean(dim=0) for _, at in words_of(processor, index.encode("a red square"))]
    np.testing.assert_allclose(explanation.similarity, torch.stack(expected), atol=2e-3)
    again = index.rescore("a red square", ["b.mp4", "nope", "a.mp4"])
    assert {hit.id for hit in again} == {"a.mp4", "b.mp4"} and again == sorted(again, key=lambda hit: -hit.score)
    assert next(h for h in again if h.id == "b.mp4").score == pytest.approx(hit.score, abs=1e-6)
    with pytest.raises(VideoIndexError, match="no video 'nope'"):
        index.explain("a red square", "nope")


def test_a_second_run_does_nothing_and_remembers_bad_files(index, corpus):
    index.add(corpus)
    version = index.table.version
    report = index.add(corpus)
    assert (report.added, report.updated, report.unchanged) == (0, 0, 5)
    assert len(report.failed) == 1 and "broken.mp4" in report.failed[0][0] and report.failed[0][1]
    assert index.table.version == version and report.seconds < 2


def test_a_file_that_cannot_be_named_is_reported(index, tmp_path):
    make_corpus(tmp_path, ["a.mp4"])
    os.link(tmp_path / "a.mp4", os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    report = index.add(tmp_path)
    assert report.added == 1
    assert report.failed == [(f"{tmp_path}/caf\\udce9.mp4", "its name is not UTF-8: rename it to index it")]


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"commit_every": 0}, {"workers": -1}, {"rank": 2}])
def test_options_out_of_range_are_named(index, corpus, options):
    with pytest.raises(VideoIndexError, match=f"{next(iter(options))} must be"):
        index.add(corpus, **options)
    for strange in (None, 3, [3]):
        with pytest.raises(VideoIndexError, match="give a folder"):
            index.add(strange)


def test_an_index_that_outgrows_memory_gets_its_vector_index(index, corpus, model):
    small = VideoIndex.open(index.uri, *model, limits=SearchLimits(exact_limit=3))
    index.add(corpus)
    assert "optimize() builds the vector index" in small.stats()["stage_one"]
    expected = [hit.id for hit in small.search("a red square")]
    small.add(corpus)
    assert small.stats()["stage_one"] == "Lance vector index"
    assert [hit.id for hit in small.search("a red square")] == expected


def test_a_folder_without_videos_is_named(index, tmp_path):
    (tmp_path / "notes.txt").write_text("not a video")
    with pytest.raises(VideoIndexError, match=f"no videos in {tmp_path}"):
        index.add(tmp_path)


def test_changes_on_disk_are_followed(index, tmp_path):
    folder = tmp_path / "videos"
    make_corpus(folder, ["a.mp4", "b.mp4", "c.mp4"])
    index.add(folder)
    os.utime(folder / "c.mp4")  # touched, the same bytes
    assert index.search(folder / "b.mp4", k=1)[0].id == "b.mp4"
    (folder / "a.mp4").unlink()
    write_video(folder / "b.mp4", [picture(5)] * 12, size=(64, 48), rate=5)
    make_corpus(folder, ["d.mp4"])
    report = index.add(folder)
    assert (report.added, report.updated, report.unchanged, report.vanished) == (1, 1, 1, ["a.mp4"])
    assert ids(index) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    assert index.search(folder / "b.mp4", k=1)[0].score == pytest.approx(1, abs=2e-3)
    report = index.add(folder, prune=True)
    assert report.removed == 1 and ids(index) == ["b.mp4", "c.mp4", "d.mp4"]


def test_files_that_moved_or_were_touched_are_noted_not_encoded_again(index, tmp_path, monkeypatch):
    make_corpus(tmp_path / "old", ["a.mp4", "b.mp4", "c.mp4"])
    index.add(tmp_path / "old")
    best = index.search("red")[0]
    (tmp_path / "old").rename(tmp_path / "new")
    os.utime(tmp_path / "new" / "a.mp4", ns=(5, 5))
    with monkeypatch.context() as patch:
        patch.setattr(index.model, "get_video_features", None)
        report = index.add(tmp_path / "new")
    assert (report.added, report.updated, report.unchanged, report.vanished) == (0, 0, 3, [])
    again = index.search("red")[0]
    assert (again.id, again.score, again.path) == (best.id, best.score, str(tmp_path / "new" / best.id))
    monkeypatch.setattr("dmae.retrieval.indexing.corpus.hash_video", None)  # nothing is left to compare
    assert index.add(tmp_path / "new").unchanged == 3


def test_a_file_with_another_name_is_known_by_its_bytes(index, tmp_path):
    folder = tmp_path / "videos"
    make_corpus(folder, ["a.mp4", "b.mp4", "c.mp4"])
    index.add(folder, workers=0)
    index.table.update([{"id": "a.mp4", "metadata": '{"kind": "mine"}'}])
    scores = {hit.id: hit.score for hit in index.search("red")}
    assert {hit.id: hit.score for hit in index.search("red")} == scores  # what is searched is in memory now
    (folder / "deep").mkdir()
    (folder / "a.mp4").rename(folder / "deep" / "chef's.mp4")
    shutil.copy(folder / "c.mp4", folder / "copy.mp4")  # the original is still there: another video
    report = index.add(folder, prune=True, workers=0)
    assert (report.added, report.updated, report.unchanged, report.vanished) == (1, 0, 3, [])
    assert report.moved == [("a.mp4", "deep/chef's.mp4")]
    hits = {hit.id: hit for hit in index.search("red")}
    assert hits.keys() == {"b.mp4", "c.mp4", "copy.mp4", "deep/chef's.mp4"}
    moved = hits["deep/chef's.mp4"]
    assert (moved.score, moved.path) == (scores["a.mp4"], str(folder / "deep" / "chef's.mp4"))
    assert moved.metadata == {"kind": "mine"} and index.get(moved.id, ["content_hash"])["content_hash"]
    assert index.add(folder, prune=True, workers=0).unchanged == 4


def test_files_that_swapped_their_names_are_not_encoded_again(index, tmp_path, monkeypatch):
    folder = tmp_path / "videos"
    make_corpus(folder, ["a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4"])
    index.add(folder, workers=0)
    index.table.update([{"id": "a.mp4", "metadata": '{"kind": "mine"}'}])
    before = {hit.id: (hit.score, hit.metadata) for hit in index.search("red")}
    taken = {"b.mp4": "a.mp4", "c.mp4": "b.mp4", "a.mp4": "c.mp4", "d.mp4": "e.mp4"}  # in turn; d in place of e
    for old in taken:
        (folder / old).rename(folder / f"{old}.part")
    for old, new in taken.items():
        (folder / f"{old}.part").replace(folder / new)
    with monkeypatch.context() as patch:
        patch.setattr(index.model, "get_video_features", None)
        report = index.add(folder, workers=0)
    assert (report.added, report.updated, report.unchanged, report.vanished) == (0, 0, 4, [])
    assert dict(report.moved) == taken
    after = {hit.id: (hit.score, hit.metadata) for hit in index.search("red")}
    assert after == {new: before[old] for old, new in taken.items()}
    monkeypatch.setattr("dmae.retrieval.indexing.corpus.hash_video", None)  # nothing is left to compare
    assert index.add(folder, workers=0).unchanged == 4


@settings(max_examples=12, deadline=None)
@given(before=PLACES, after=PLACES)
def test_every_name_has_what_its_file_holds_whatever_was_renamed(corpus, model, before, after):
    contents = [corpus / name for name in ("a.mp4", "b.mp4", "deep/a.mp4")]
    with TemporaryDirectory() as place:
        index, folder = VideoIndex.create(Path(place, "index"), *model), Path(place, "videos")
        for places in (before, after):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name, content in places.items():
                shutil.copy(contents[content], folder / f"{name}.mp4")
            report = index.add(folder, prune=True, workers=0)
            assert report.added + report.updated + report.unchanged == len(places)
            found = {row["id"]: row["content_hash"] for row in index.table.scan(["id", "content_hash"]).to_pylist()}
            assert found == {f"{name}.mp4": hash_video(str(contents[c])) for name, c in places.items()}
            for name in places:
                hit = index.search(folder / f"{name}.mp4", k=1)[0]
                assert hit.score == pytest.approx(1, abs=2e-3) and found[hit.id] == found[f"{name}.mp4"]
                assert hit.path == str(folder / hit.id)


def test_a_file_goes_by_its_new_name_also_where_another_took_the_old_one(index, tmp_path):
    folder = tmp_path / "videos"
    make_corpus(folder, ["a.mp4", "b.mp4"])
    index.add(folder, workers=0)
    (folder / "a.mp4").rename(folder / "c.mp4")
    make_corpus(folder, ["a.mp4"])
    write_video(folder / "a.mp4", [picture(5)] * 12, size=(64, 48), rate=5)
    report = index.add(folder, prune=True, workers=0)
    assert (report.added, report.updated, report.unchanged) == (1, 1, 1)
    assert ids(index) == ["a.mp4", "b.mp4", "c.mp4"]
    assert index.add(folder, workers=0).unchanged == 3


def test_a_file_that_goes_while_it_is_read_stops_nothing(index, tmp_path, monkeypatch):
    make_corpus(tmp_path, ["a.mp4", "b.mp4"])

    def gone(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr("dmae.retrieval.indexing.corpus.hash_video", gone)
    assert index.add(tmp_path).added == 2
    assert index.add(tmp_path).updated == 2  # without a hash they are taken for changed


def test_two_folders_with_the_same_names_stay_apart(index, tmp_path):
    for folder in ("one", "two"):
        make_corpus(tmp_path / folder, ["a.mp4", "b.mp4"])
        index.add(tmp_path / folder)
    assert len(index) == 4
    assert index.add([tmp_path / "one", tmp_path / "two"]).unchanged == 4
    report = index.add([tmp_path / "one" / "a.mp4", tmp_path / "missing.mp4"])
    assert report.unchanged == 1 and report.failed == [(str(tmp_path / "missing.mp4"), "no such file")]
    with pytest.raises(VideoIndexError, match="no file or folder"):
        index.add(tmp_path / "nowhere")


def test_images_and_videos_are_queries(index, corpus, model, tmp_path):
    index.add(corpus)
    frames = read_frames(corpus / "b.mp4", num_frames=2).frames
    image = Image.fromarray(frames[0])
    image.save(tmp_path / "query.png")
    net, processor = model
    with torch.no_grad():
        pixels = processor(videos=[frames[:1], corpus / "b.mp4"], return_tensors="pt", num_frames=2)
        features = net.get_video_features(pixels["pixel_values_videos"], pixels["frame_mask"])
    similarity = features.frame_embeds[0, :1] @ features.frame_embeds[1].T  # (1, 2)
    expected = float((similarity.max() + similarity.mean()) / 2)  # the picture's best frame; each frame's only picture
    for query in (image, frames[0], tmp_path / "query.png", str(tmp_path / "query.png")):
        hit = next(h for h in index.search(query, k=5) if h.id == "b.mp4")
        assert hit.score == pytest.approx(expected, abs=2e-3)
    for query in (corpus / "b.mp4", str(corpus / "b.mp4"), (corpus / "b.mp4").read_bytes()):
        hit = index.search(query, k=1)[0]
        assert hit.id == "b.mp4" and hit.score == pytest.approx(1, abs=2e-3)
    both = index.search(["red square", corpus / "b.mp4", "blue"], k=2)
    assert [h.id for h in both[0]] == [h.id for h in index.search("red square", k=2)]
    assert both[1][0].id == "b.mp4" and len(both) == 3


@pytest.mark.parametrize(
    "query", ["", "  ", [], ["a", ""], 3, None, b"no video", np.zeros((4, 4)), "film.mp4", "missing/film.mp4x "]
)
def test_empty_and_strange_queries(index, corpus, query):
    if isinstance(query, str) and query == "missing/film.mp4x ":
        assert index.search(query) == []  # a text like any other, in an empty index
        return
    with pytest.raises(ValueError) as error:
        index.search(query)
    assert "\n" not in str(error.value)


def test_an_image_counts_as_one_frame_with_the_same_words():
    frames = torch.nn.functional.normalize(torch.randn(1, 1, 8), dim=-1)
    query = _as_query(VideoFeatures(frames, torch.ones(1, 1)))
    torch.testing.assert_close(query.sentence_embeds, frames[:, 0])
    longer = TextFeatures(query.sentence_embeds, query.word_embeds.repeat(1, 3, 1), torch.ones(1, 3))
    assert TextFeatures.cat([query, longer]).word_weights.tolist() == [[1, 0, 0], [1, 1, 1]]


def start(checkpoint, uri, corpus, *extra, **environment):
    command = [
        sys.executable,
        "-m",
        "dmae.cli",
        "index",
        str(corpus),
        "--model",
        str(checkpoint),
        "--index",
        str(uri),
    ]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "RANK": "0", "WORLD_SIZE": "1"} | environment
    return subprocess.Popen(
        [*command, "--batch-size", "1", *extra],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_at_any_moment_it_holds_whole_videos_and_resumes(checkpoint, tmp_path):
    make_corpus(tmp_path / "videos", [f"{n:03d}.mp4" for n in range(30)])
    script = ROOT / "benchmarks" / "index_crashes.py"
    command = [sys.executable, script, tmp_path / "videos", "--model", checkpoint, "--kills", str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] == KILLS and result["whole_after_each"] and result["rows_after_each"][-1] > 0
    assert result["added_last"] + result["unchanged_last"] == 30
    assert result["final"] == {"rows": 30, "distinct": 30, "scored": 30, "whole": 30, "unfinished": 0}


@pytest.mark.distributed
def test_two_processes_add_while_readers_search(model, checkpoint, tmp_path):
    names = [f"{n:03d}.mp4" for n in range(24)]
    make_corpus(tmp_path / "videos", names)
    uri = tmp_path / "index"
    ranks = [
        start(checkpoint, uri, tmp_path / "videos", "--commit-every", "2", RANK=str(rank), WORLD_SIZE="2")
        for rank in range(2)
    ]
    sizes = []
    while any(process.poll() is None for process in ranks):
        if (uri / "videos.lance").is_dir():
            hits = VideoIndex.open(uri, *model).search("red", k=50)
            assert len({h.id for h in hits}) == len(hits)
            sizes.append(len(hits))
        time.sleep(0.1)
    added = []
    for process in ranks:
        out, err = process.communicate()
        assert process.returncode == 0, err
        added.append(int(out.split("(")[1].split(" added")[0]))
    assert sum(added) == len(names) and min(added) > 0
    assert ids(VideoIndex.open(uri)) == names and sizes == sorted(sizes)


@pytest.mark.distributed
def test_two_processes_adding_the_same_videos_double_none(model, checkpoint, tmp_path):
    names = [f"{n:03d}.mp4" for n in range(12)]
    make_corpus(tmp_path / "videos", names)
    VideoIndex.create(tmp_path / "index", *model)
    both = [start(checkpoint, tmp_path / "index", tmp_path / "videos", "--commit-every", "1") for _ in range(2)]
    for process in both:
        assert process.wait(timeout=120) == 0, process.stderr.read()
    assert ids(VideoIndex.open(tmp_path / "index")) == names

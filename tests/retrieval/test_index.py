"""The index as a table: what it takes, what it refuses, and that a refusal changes nothing."""

import json
import os
import subprocess
from dataclasses import replace

import lancedb
import numpy as np
import pyarrow as pa
import pytest
import torch
from embeddings import texts, videos
from training_parts import tiny_model

from dmae.retrieval import VideoIndex, VideoIndexError
from dmae.retrieval.indexing.fingerprint import model_encoder, preprocessing_encoder
from dmae.retrieval.storage.schema import TABLE_NAME, IndexSettings, table_schema
from dmae.retrieval.storage.table import VideoTable

DIM = 16
FRAMES, MASK = videos(12, frames=3, dim=DIM)


@pytest.fixture
def index(tmp_path):
    index = VideoIndex.create(tmp_path / "index", dim=DIM)
    index.add_embeddings([f"v{i}" for i in range(12)], FRAMES, MASK, [{"year": 2000 + i} for i in range(12)])
    return index


def check_unharmed(index):
    reopened = VideoIndex.open(index.uri)
    assert len(reopened) == 12
    assert reopened.search_embeddings(*texts(FRAMES, 1), k=1)[0][0].id == "v0"


def with_nan():
    frames = FRAMES.clone()
    frames[3, 1, 2] = torch.nan
    return frames


BAD_ROWS = {
    "a duplicate id": (["a", "a"], FRAMES[:2], MASK[:2], None, "duplicate id 'a'"),
    "NaN": ([f"n{i}" for i in range(12)], with_nan(), MASK, None, "'n3' has NaN"),
    "infinity": (["a"], FRAMES[:1] * np.inf, MASK[:1], None, "'a' has NaN or infinity"),
    "another dimension": (["a"], FRAMES[:1, :, :8], MASK[:1], None, "dimension 8, the index has 16"),
    "no frames": (["a"], FRAMES[:1], MASK[:1] * 0, None, "'a' has no real frame"),
    "a negative weight": (["a"], FRAMES[:1], -MASK[:1], None, "frame_mask"),
    "a mask of another shape": (["a"], FRAMES[:1], MASK[:1, :2], None, "frame_mask has shape"),
    "too few embeddings": (["a", "b"], FRAMES[:1], MASK[:1], None, "shape \\(2, F, 16\\)"),
    "whole numbers": (["a"], FRAMES[:1].long(), MASK[:1], None, "must be floats"),
    "an empty id": ([""], FRAMES[:1], MASK[:1], None, "non-empty strings"),
    "a string of ids": ("a", FRAMES[:1], MASK[:1], None, "write \\['a'\\]"),
    "metadata of another length": (["a"], FRAMES[:1], MASK[:1], [{}, {}], "2 entries for 1"),
    "metadata that is no JSON": (["a"], FRAMES[:1], MASK[:1], [{"x": object()}], "must be JSON"),
    "metadata of another type": (["a"], FRAMES[:1], MASK[:1], [{"year": "old"}], "'year' is double in this index"),
    "no numbers": (["a"], "frames", None, None, "frame_embeds must be an array of numbers"),
    "rows of several lengths": (["a"], [[[1.0], [1.0, 2.0]]], None, None, "frame_embeds must be an array"),
    "no list of ids": (None, FRAMES[:1], MASK[:1], None, "ids must be a list"),
    "half a character": (["\udc80"], FRAMES[:1], MASK[:1], None, "is not text"),
    "an endless number": (["a"], FRAMES[:1], MASK[:1], [{"year": 10**400}], "'year' holds a number that is too large"),
    "metadata that is a list": (["a"], FRAMES[:1], MASK[:1], [["year"]], "must be a dictionary"),
    "a reserved key": (["a"], FRAMES[:1], MASK[:1], [{"pooled": 1}], "'pooled' is a column"),
}


@pytest.mark.parametrize("rows", BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_bad_rows_are_refused_whole(index, rows):
    *arguments, message = rows
    with pytest.raises(VideoIndexError, match=message) as error:
        index.add_embeddings(*arguments)
    assert "\n" not in str(error.value)
    check_unharmed(index)


BAD_SEARCHES = {
    "k of 0": ({"k": 0}, "k must be"),
    "negative k": ({"k": -3}, "k must be"),
    "half a k": ({"k": 1.5}, "k must be"),
    "negative offset": ({"offset": -1}, "offset must be"),
    "an unfinished filter": ({"where": "duration <"}, "filter 'duration <'"),
    "an unknown column": (
        {"where": "colour = 'red'"},
        "named colour; a filter may name id, path, duration, year",
    ),
    "what the engine would drop": ({"where": "year = 2000 and_then_some"}, "filter 'year = 2000 and_then_some'"),
    "brackets that close another's": ({"where": "year < 0) OR (1 = 1"}, "one expression"),
    "an open bracket": ({"where": "(year < 0"}, "one expression"),
    "a number as filter": ({"where": 5}, "text or a dictionary"),
    "no finite number": ({"where": {"year": np.nan}}, "compares with"),
    "a score in words": ({"min_score": "high"}, "min_score must be a number"),
    "two statements": ({"where": "1=1; DROP TABLE videos"}, "one expression"),
    "a comment": ({"where": "year = 1 -- and the rest"}, "one expression"),
    "an open quote": ({"where": "id = 'v"}, "unclosed quote"),
    "an empty filter": ({"where": " "}, "filter is empty"),
    "no column": ({"where": {"id = '' OR ''": "x"}}, "names a column"),
    "an object": ({"where": {"id": object()}}, "compares with"),
}


@pytest.mark.parametrize("search", BAD_SEARCHES.values(), ids=BAD_SEARCHES.keys())
def test_bad_searches_are_refused(index, search):
    options, message = search
    with pytest.raises(VideoIndexError, match=message) as error:
        index.search_embeddings(*texts(FRAMES, 1), **options)
    assert "\n" not in str(error.value)
    check_unharmed(index)


def test_values_in_a_filter_cannot_leave_their_quotes(index):
    hostile = "x' OR id != '"
    assert index.search_embeddings(*texts(FRAMES, 1), where={"id": hostile}) == [[]]
    assert index.delete(hostile) == 0
    index.add_embeddings([hostile], FRAMES[:1], MASK[:1])
    assert index.search_embeddings(*texts(FRAMES, 1), where={"id": hostile})[0][0].id == hostile
    assert index.delete([hostile]) == 1
    check_unharmed(index)


def test_filters_are_taken_as_meant(index):
    search = lambda where: {h.id for h in index.search_embeddings(*texts(FRAMES, 1), k=12, where=where)[0]}  # noqa: E731
    assert search("year = 2001 OR year = 2003 AND (id = ')' OR id LIKE 'v%')") == {"v1", "v3"}
    assert search({"year": np.int64(2001)}) == search({"year": [2001, np.float32(2001)]}) == {"v1"}
    assert search({"id": []}) == set() and len(search({})) == 12
    index.add_embeddings(["v0"], FRAMES[:1], MASK[:1], [{"order": "it's", "select": True}])
    assert search({"order": "it's", "select": True}) == search("\"order\" = 'it''s'") == {"v0"}


def test_query_features_are_checked(index):
    sentence, words, weights = texts(FRAMES, 2)
    for bad, message in (
        (("sentence", words, weights), "sentence_embeds must be an array"),
        ((sentence[:, :4], words, weights), "dimension"),
        ((sentence, words[:1], weights), "shapes"),
        ((sentence * torch.nan, words, weights), "NaN"),
        ((sentence, words, -weights), "negative"),
    ):
        with pytest.raises(VideoIndexError, match=message):
            index.search_embeddings(*bad)


def test_an_id_added_again_is_replaced_not_doubled(index):
    index.add_embeddings(["v0", "v12"], FRAMES[:2], MASK[:2], [{"year": 1900}, None])
    assert len(index) == 13
    assert index.search_embeddings(*texts(FRAMES, 1), where="year < 1950")[0][0].metadata == {"year": 1900}


def test_arrays_of_any_layout_are_taken(tmp_path):
    index = VideoIndex.create(tmp_path / "i", dim=DIM)
    frozen = FRAMES.numpy().copy()
    frozen.setflags(write=False)
    ids = lambda name: [f"{name}{i}" for i in range(12)]  # noqa: E731
    index.add_embeddings(ids("frozen"), frozen, MASK.bool().numpy())
    index.add_embeddings(ids("turned")[::-1], frozen.astype(np.float64)[::-1], MASK.long().flip(0))
    index.add_embeddings(np.array(ids("listed")), FRAMES.tolist(), MASK.tolist(), metadata=None)
    index.add_embeddings(ids("trained"), FRAMES.double().requires_grad_(), MASK.numpy().astype(np.int8))
    features = [part.numpy()[::-1] for part in texts(FRAMES, 2)]
    hits = index.search_embeddings(*features, k=4)
    assert [{h.id for h in row} for row in hits] == [
        {f"{name}{i}" for name in ("frozen", "turned", "listed", "trained")} for i in (1, 0)
    ]
    assert len({h.score for h in hits[0]}) == 1


def test_ids_are_any_text(tmp_path):
    ids = ["it's", '"quoted"', "日本語/視頻.mp4", "a\nb", "😀", "-- x", "%41", " "]
    index = VideoIndex.create(tmp_path / "i", dim=DIM)
    index.add_embeddings(ids, FRAMES[:8].numpy(), MASK[:8].numpy())
    assert {h.id for h in index.search_embeddings(*texts(FRAMES, 1), k=8)[0]} == set(ids)
    assert index.delete(ids[:4]) == 4 and len(index) == 4


def test_metadata_comes_back_as_given(tmp_path):
    given = {"title": "Ünï", "tags": ["a", "b"], "nested": {"x": 1}, "n": 3, "ok": True, "none": None, "with space": 1}
    index = VideoIndex.create(tmp_path / "i", dim=DIM)
    index.add_embeddings(["a", "b"], FRAMES[:2], MASK[:2], [given | {"path": "x.mp4", "duration": 9}, None])
    hits = {h.id: h for h in index.search_embeddings(*texts(FRAMES, 1))[0]}
    assert hits["a"].metadata == given | {"path": "x.mp4", "duration": 9} and hits["b"].metadata == {}
    assert hits["a"].path == "x.mp4" and hits["a"].duration == 9 and hits["a"].best_time is None
    for where in ("n = 3 AND ok", "title LIKE 'Ü%'", {"none": None, "n": 3}, {"path": "x.mp4"}):
        if where != {"none": None, "n": 3}:
            assert [h.id for h in index.search_embeddings(*texts(FRAMES, 1), where=where)[0]] == ["a"]
    json.dumps(hits["a"].to_dict())
    index.add_embeddings(["c"], FRAMES[:1], MASK[:1], [{"n": np.int64(4), "path": tmp_path / "c.mp4", "big": 2**70}])
    hit = index.search_embeddings(*texts(FRAMES, 1), where="n = 4 AND big > 0")[0][0]
    assert hit.path == str(tmp_path / "c.mp4") and hit.metadata == {"n": 4, "path": hit.path, "big": 2**70}


def test_opening_what_is_no_index_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for place in ("missing", "file", "folder"):
        with pytest.raises(VideoIndexError, match="no video index at"):
            VideoIndex.open(tmp_path / place)
    assert not (tmp_path / "missing").exists()
    for place in ("", None, 3):
        with pytest.raises(VideoIndexError, match="an index is at"):
            VideoIndex.create(place, dim=DIM)
    with pytest.raises(VideoIndexError, match="is a file"):
        VideoIndex.create(tmp_path / "file", dim=DIM)
    lancedb.connect(tmp_path / "foreign").create_table(TABLE_NAME, pa.table({"x": [1]}))
    half = pa.schema([pa.field("id", pa.string())], metadata={"dmae.index": '{"format": 1, "dim": 3}'})
    lancedb.connect(tmp_path / "half").create_table(TABLE_NAME, schema=half)
    for place in ("foreign", "half"):
        with pytest.raises(VideoIndexError, match="not a video index"):
            VideoIndex.open(tmp_path / place)


def test_a_place_in_the_home_folder_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    VideoIndex.create("~/index", dim=DIM)
    assert (tmp_path / "index").is_dir() and len(VideoIndex.open("~/index")) == 0


def test_a_creator_that_was_killed_leaves_nothing_in_the_way(tmp_path):
    (tmp_path / "i" / "videos.lance" / "_versions").mkdir(parents=True)
    with pytest.raises(VideoIndexError, match="no video index at"):
        VideoIndex.open(tmp_path / "i")
    assert len(VideoIndex.create(tmp_path / "i", dim=DIM)) == 0


def test_a_newer_format_is_refused(tmp_path):
    newer = table_schema(replace(IndexSettings(DIM), format=99))
    lancedb.connect(tmp_path / "newer").create_table(TABLE_NAME, schema=newer)
    with pytest.raises(VideoIndexError, match=r"format 99.*upgrade"):
        VideoIndex.open(tmp_path / "newer")


def test_create_refuses_to_replace_unless_asked(index):
    with pytest.raises(VideoIndexError, match=r"VideoIndex\.open.*overwrite=True"):
        VideoIndex.create(index.uri, dim=DIM)
    check_unharmed(index)
    assert len(VideoIndex.create(index.uri, dim=DIM, overwrite=True)) == 0


def test_read_only_refuses_every_change(index):
    reader = VideoIndex.open(index.uri, read_only=True)
    for change in (
        lambda: reader.delete("v0"),
        lambda: reader.add_embeddings(["x"], FRAMES[:1], MASK[:1]),
        lambda: VideoIndex(reader.table, *tiny_model()).add("/"),
        reader.optimize,
    ):
        with pytest.raises(VideoIndexError, match="read-only"):
            change()
    check_unharmed(index)
    assert os.listdir(index.uri) == ["videos.lance"]


def test_a_model_of_another_dimension_is_refused(index, tmp_path):
    with pytest.raises(VideoIndexError, match="dimension 16, the model 32"):
        VideoIndex.open(index.uri, *tiny_model())
    with pytest.raises(VideoIndexError, match="dimension 16, the model 32"):
        VideoIndex.create(tmp_path / "i", *tiny_model(), dim=16)
    assert not (tmp_path / "i").exists()


def test_another_model_or_preprocessing_is_refused_naming_both(tmp_path):
    model, processor = tiny_model()
    index = VideoIndex.create(tmp_path / "i", model, processor)
    without_heads, _ = tiny_model(tpm_predictor=None)  # which only training uses
    without_heads.load_state_dict(model.state_dict(), strict=False)
    VideoIndex.open(tmp_path / "i", without_heads, processor)
    other, _ = tiny_model(seed=1)
    with pytest.raises(VideoIndexError, match=r"made with the model .*, not "):
        VideoIndex.open(tmp_path / "i", other, processor)
    _, wider = tiny_model(num_frames=3)
    with pytest.raises(VideoIndexError, match=r"made with the preprocessing 2 frames 32x32 .*, not 3 frames 32x32"):
        VideoIndex.open(tmp_path / "i", model, wider)
    with pytest.raises(VideoIndexError, match="without a model"):
        VideoIndex.open(tmp_path / "i").search("text")
    assert index.stats()["model"]["fingerprint"] == model_encoder(model).fingerprint


def test_fingerprints_survive_saving_and_precision(tmp_path):
    model, processor = tiny_model()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    reloaded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert model_encoder(reloaded).fingerprint == model_encoder(model).fingerprint
    again = type(processor).from_pretrained(tmp_path)
    assert preprocessing_encoder(again).fingerprint == preprocessing_encoder(processor).fingerprint


def test_a_full_disk_is_one_line_and_harms_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs privileges")
    try:
        index = VideoIndex.create(disk / "index", dim=DIM)
        index.add_embeddings([f"v{i}" for i in range(12)], FRAMES, MASK)
        many = torch.randn(40, 64 * 1024 // DIM // 2, DIM)
        with pytest.raises(VideoIndexError, match="no space left on the device") as error:
            index.add_embeddings([f"big{i}" for i in range(40)], many)
        assert "\n" not in str(error.value)
        check_unharmed(index)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(VideoIndexError, match="not writable"):
            VideoIndex.open(index.uri).delete("v1")
        check_unharmed(index)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_several_threads_may_search_at_once(index):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        hits = list(pool.map(lambda _: index.search_embeddings(*texts(FRAMES, 1), k=3)[0], range(20)))
    assert {tuple(h.id for h in found) for found in hits} == {tuple(h.id for h in hits[0])}


def test_the_table_takes_rows_back_in_the_order_asked(index):
    rows = index.table.scan(["id"]).to_pylist()
    wanted = [rows[n] for n in (7, 0, 11, 3)]
    found = VideoTable.open(index.uri).take(np.array([row["_rowid"] for row in wanted]), ["id"])
    assert found["id"].to_pylist() == [row["id"] for row in wanted]

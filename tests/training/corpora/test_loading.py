"""Folders, parquet datasets and streams become video samples, and what is wrong with them is said at the start."""

import csv
import json
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Audio, Dataset, DatasetDict, Features, Value, Video, load_dataset
from hub_server import HubServer

from dmae.training.corpora import CorpusError, HardNegative, VideoSample, load_samples


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def touch(folder, *names):
    """Files that exist; nothing here decodes them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


@pytest.fixture
def folder(tmp_path):
    touch(tmp_path, "a.mp4", "b.mkv")
    write_jsonl(
        tmp_path / "captions.jsonl",
        [{"video": "a.mp4", "captions": ["a dog runs", "a running dog"]}, {"video": "b.mkv", "caption": "a boat"}],
    )
    return tmp_path


@pytest.fixture
def parquet(tmp_path):
    """One caption a row, the videos' bytes inside: the columns of `mteb/MSR-VTT`, sound included."""
    rows = [(f"video{i // 2}.mp4", f"caption {i}") for i in range(8)]
    data = Dataset.from_dict(
        {
            "video": [{"path": path, "bytes": path.encode() * 10} for path, _ in rows],
            "audio": [{"path": None, "bytes": b"sound"} for _ in rows],
            "caption": [caption for _, caption in rows],
        }
    ).cast(Features({"video": Video(), "audio": Audio(), "caption": Value("string")}))
    (tmp_path / "corpus").mkdir()
    for shard in range(2):
        data.shard(2, shard, contiguous=True).to_parquet(tmp_path / "corpus" / f"test-0000{shard}-of-00002.parquet")
    return str(tmp_path / "corpus")


def test_a_split_that_a_table_does_not_have_is_refused(folder):
    """A table without splits is train, val or test as asked; any other name is a mistake, or a folder beside it."""
    assert [len(load_samples(str(folder), split)) for split in ("train", "validation", "test")] == [2, 2, 2]
    with pytest.raises(
        CorpusError, match=r"captions\.jsonl is not divided into splits and has no 'foo': ask for train"
    ):
        load_samples(str(folder), "foo")
    touch(folder, "foo/c.mp4")
    with (folder / "captions.jsonl").open("a") as table:
        table.write(json.dumps({"video": "foo/c.mp4", "caption": "a cat"}) + "\n")
    assert [sample.captions for sample in load_samples(str(folder), "foo")] == [("a cat",)]


def test_folder_with_captions(folder):
    samples = load_samples(str(folder), "test")
    assert samples == [
        VideoSample("a.mp4", str(folder / "a.mp4"), ("a dog runs", "a running dog")),
        VideoSample("b.mkv", str(folder / "b.mkv"), ("a boat",)),
    ]


@pytest.mark.parametrize("column", ["captions", "hard_negatives"])
def test_half_a_character_is_refused_with_its_row(folder, column):
    bad = {"captions": ["a dog \ud83d runs"]}
    if column == "hard_negatives":
        bad = {"captions": ["a dog"], column: [{"kind": "x", "positive": "a dog", "caption": "a \ude00 dog"}]}
    write_jsonl(folder / "captions.jsonl", [{"video": "a.mp4", "caption": "fine 😀"}, {"video": "b.mkv", **bad}])
    with pytest.raises(CorpusError, match=r"captions\.jsonl, row 2: .*half a character, \\ud(83d|e00)"):
        load_samples(str(folder), "test")


def test_split_folders_and_hard_negatives(tmp_path):
    negative = {"kind": "colour", "positive": "a red cube", "caption": "a blue cube"}
    for split in ("train", "test"):
        touch(tmp_path / split, "1.mp4")
        rows = [{"video": "1.mp4", "captions": ["a red cube"], "hard_negatives": [negative], "attributes": {"n": 1}}]
        write_jsonl(tmp_path / split / "captions.jsonl", rows)
    (sample,) = load_samples(str(tmp_path), "test")
    assert sample.video == str(tmp_path / "test" / "1.mp4")
    assert sample.hard_negatives == (HardNegative("colour", "a red cube", "a blue cube"),)
    with pytest.raises(CorpusError, match="no split 'val': there is train, test"):
        load_samples(str(tmp_path), "val")


def test_videofolder_csv_divided_by_its_folders(tmp_path):
    """datasets' convention: one metadata.csv above the split folders, a caption a row."""
    touch(tmp_path, "train/a.mp4", "validation/b.mp4")
    with open(tmp_path / "metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(
            [("file_name", "text"), ("train/a.mp4", "one"), ("validation/b.mp4", "two"), ("train/a.mp4", "3")]
        )
    assert [(s.video_id, s.captions) for s in load_samples(str(tmp_path), "train")] == [("train/a.mp4", ("one", "3"))]
    assert [(s.video_id, s.captions) for s in load_samples(str(tmp_path), "val")] == [("validation/b.mp4", ("two",))]


def test_csv_holds_a_list_of_captions_as_json(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    rows = [("file_name", "captions"), ("a.mp4", '["one, two", "three"]'), ("b.mp4", "[sic] a caption")]
    with open(tmp_path / "metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert [s.captions for s in load_samples(str(tmp_path), "test")] == [("one, two", "three"), ("[sic] a caption",)]


def test_moments_of_one_file_are_samples_of_their_own(tmp_path):
    touch(tmp_path, "a.mp4")
    rows = [{"video": "a.mp4", "caption": "x", "start": 0, "end": 5}, {"video": "a.mp4", "caption": "y", "start": 5.5}]
    write_jsonl(tmp_path / "captions.jsonl", rows)
    samples = load_samples(str(tmp_path), "train")
    assert [(s.video_id, s.start, s.end) for s in samples] == [("a.mp4[0-5]", 0.0, 5.0), ("a.mp4[5.5-]", 5.5, None)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"video": "gone.mp4", "caption": "x"}, {"video": "a.mp4", "caption": "y"}], "without a video: 1 of 2"),
        ([{"caption": "x"}], r"row 1: no column with a video \(video, file_name\); there is caption"),
        ([{"video": None, "caption": "x"}], "row 1: a caption without a video"),
        ([{"video": "a.mp4", "title": "x"}], "row 1: no column with a caption"),
        ([{"video": "a.mp4", "captions": [3]}], "row 1: captions must be a text or a list of texts"),
        ([{"video": "../a.mp4", "caption": "x"}], "must be relative and stay inside its folder"),
        ([{"video": "/etc/passwd", "caption": "x"}], "must be relative and stay inside its folder"),
        ([{"video": "a.mp4", "captions": ["x"]}] * 2, "duplicated id 'a.mp4' in rows 1 and 2"),
        ([{"video": "a.mp4", "video_id": "1", "caption": "x"}, {"video": "b.mp4", "video_id": "1", "caption": "y"}],
         "duplicated id '1': it stands for"),
        ([{"video": "a.mp4", "caption": "x", "end": "late"}], "'end' must be seconds, not 'late'"),
        ([{"video": "a.mp4", "caption": "x", "hard_negatives": ["y"]}], "hard_negatives must be a list of"),
        ([], "is empty: not one video with a caption"),
        ([{"video": "a.mp4", "caption": None}], "is empty: not one video with a caption"),
        ([{"video": "a.mp4", "captions": []}], "is empty: not one video with a caption"),
    ],
)  # fmt: skip
def test_bad_rows_are_named(tmp_path, rows, message):
    touch(tmp_path, "a.mp4", "b.mp4")
    write_jsonl(tmp_path / "captions.jsonl", rows)
    with pytest.raises(CorpusError, match=message) as error:
        load_samples(str(tmp_path), "train")
    assert "\n" not in str(error.value)


def test_a_cut_off_table_is_named_by_its_line(folder):
    with open(folder / "captions.jsonl", "a") as file:
        file.write('{"video": "a.mp4", "capt')
    with pytest.raises(CorpusError, match="line 3 is not JSON"):
        load_samples(str(folder), "train")


@pytest.mark.parametrize(
    ("table", "content"),
    [
        ("captions.jsonl", '{"video": "a.mp4", "caption": "café"}'.encode("latin-1")),
        ("metadata.csv", "file_name,text\na.mp4,café".encode("latin-1")),
        ("metadata.csv", b'file_name,text\na.mp4,"' + b"x" * 200_000),
    ],
)
def test_a_table_that_is_no_text_is_named(tmp_path, table, content):
    touch(tmp_path, "a.mp4")
    (tmp_path / table).write_bytes(content)
    with pytest.raises(CorpusError, match=f"{table}.* cannot be read"):
        load_samples(str(tmp_path), "train")


def test_missing_videos_can_be_skipped_and_extra_ones_are_reported(folder, caplog):
    (folder / "a.mp4").unlink()
    touch(folder, "extra.mp4")
    with caplog.at_level(logging.WARNING):
        (sample,) = load_samples(str(folder), "train", missing="skip")
    assert sample.video_id == "b.mkv"
    assert "captions without a video: 1 of 2" in caplog.text and "(a.mp4)" in caplog.text
    assert "1 videos in" in caplog.text and "extra.mp4" in caplog.text
    kept = load_samples(str(folder), "train", videos=str(folder / "nowhere"), missing="keep")
    assert [sample.video_id for sample in kept] == ["a.mp4", "b.mkv"]


@pytest.mark.parametrize("source", ["nowhere", "/no/such/folder", "./clips", "msrvt"])
def test_a_source_that_is_nothing(source):
    with pytest.raises(CorpusError, match="no folder here, no dataset of the Hub"):
        load_samples(source, "train")


def test_a_folder_without_a_table(tmp_path):
    with pytest.raises(CorpusError, match=r"has no captions.jsonl, metadata.jsonl or metadata.csv"):
        load_samples(str(tmp_path), "train")


def test_mapped_parquet_merges_captions_and_reads_bytes_late(parquet):
    samples = load_samples(parquet, "test")
    assert [s.captions for s in samples] == [(f"caption {2 * i}", f"caption {2 * i + 1}") for i in range(4)]
    video = samples[2].video
    assert isinstance(video, dict) and "bytes" not in dict.keys(video)  # not in memory until asked for
    assert video["path"] == "video2.mp4" and video["bytes"] == video.get("bytes") == b"video2.mp4" * 10
    sent = pickle.dumps([sample.video for sample in samples])
    assert b"video2.mp4video2.mp4" not in sent  # decoding processes read the file, too
    assert [copy["bytes"] for copy in pickle.loads(sent)] == [f"video{i}.mp4".encode() * 10 for i in range(4)]


@pytest.mark.parametrize("kind", ["folder", "mapped", "streamed"])
def test_videos_without_a_caption_give_one_warning(tmp_path, caplog, kind):
    rows = [("a.mp4", "one"), ("b.mp4", ""), ("c.mp4", ""), ("d.mp4", "two")]
    if kind == "folder":
        touch(tmp_path, *(video for video, _ in rows))
        write_jsonl(tmp_path / "captions.jsonl", [{"video": video, "caption": text} for video, text in rows])
    else:
        videos = [{"path": video, "bytes": video.encode()} for video, _ in rows]
        data = Dataset.from_dict({"video": videos, "caption": [text for _, text in rows]})
        data.cast(Features({"video": Video(), "caption": Value("string")})).to_parquet(tmp_path / "test.parquet")
    with caplog.at_level(logging.WARNING):
        samples = load_samples(str(tmp_path), "test", streaming=kind == "streamed")
        for _ in range(2):
            assert [sample.video_id for sample in samples] == ["a.mp4", "d.mp4"]
    (warning,) = [record.getMessage() for record in caplog.records if "caption" in record.getMessage()]
    expected = {
        "folder": "2 videos in",
        "mapped": "2 videos without a caption",
        "streamed": "row 1: a video without a",
    }
    assert expected[kind] in warning


def test_streamed_parquet_is_sharded_by_process(parquet):
    shares = [load_samples(parquet, "test", streaming=True, process_index=i, num_processes=2) for i in range(2)]
    read = [[(s.video_id, s.captions) for s in share] for share in shares]
    assert read == [
        [("video0.mp4", ("caption 0", "caption 1")), ("video1.mp4", ("caption 2", "caption 3"))],
        [("video2.mp4", ("caption 4", "caption 5")), ("video3.mp4", ("caption 6", "caption 7"))],
    ]
    assert [(s.video_id, s.captions) for s in shares[0]] == read[0]  # a second pass
    assert next(iter(shares[0])).video["bytes"] == b"video0.mp4" * 10


def test_a_streamed_file_is_shared_out_by_video(parquet):
    """Two files among three processes: no two processes hold captions of one video."""
    options = {"streaming": True, "num_processes": 3}
    shares = [load_samples(parquet, "test", process_index=i, **options) for i in range(3)]
    read = [(s.video_id, s.captions) for share in shares for s in share.shuffle(seed=1)]
    captions = {}
    for index, share in enumerate(shares):
        for sample in share:
            captions.setdefault(sample.video_id, set()).update((index, caption) for caption in sample.captions)
    assert all(len({index for index, _ in said}) == 1 for said in captions.values())
    assert sorted(text for said in captions.values() for _, text in said) == [f"caption {i}" for i in range(8)]
    assert sorted(text for _, texts in read for text in texts) == [f"caption {i}" for i in range(8)]


def test_stream_shuffles_anew_each_epoch(parquet):
    stream = load_samples(parquet, "test", streaming=True).shuffle(seed=3, buffer_size=8)
    orders = set()
    for epoch in range(4):
        stream.set_epoch(epoch)
        captions = tuple(caption for sample in stream for caption in sample.captions)
        assert sorted(captions) == [f"caption {i}" for i in range(8)]
        orders.add(captions)
    assert len(orders) > 1


@pytest.mark.parametrize("streaming", [False, True])
def test_videos_without_a_name_are_told_apart_by_content(tmp_path, streaming):
    videos = [{"path": None, "bytes": content} for content in (b"one", b"two", b"two")]
    Dataset.from_dict({"video": videos, "caption": ["a", "b", "c"]}).to_parquet(tmp_path / "test.parquet")
    samples = list(load_samples(str(tmp_path), "test", streaming=streaming))
    assert [s.captions for s in samples] == [("a",), ("b", "c")]
    assert [s.video["bytes"] for s in samples] == [b"one", b"two"]


def test_parquet_of_file_names_needs_the_folder_of_videos(tmp_path):
    touch(tmp_path / "videos", "a.mp4")
    (tmp_path / "data").mkdir()
    Dataset.from_dict({"video": ["a.mp4"], "caption": ["x"]}).to_parquet(tmp_path / "data" / "test.parquet")
    with pytest.raises(CorpusError, match="'video' holds file names; give the folder of the videos"):
        load_samples(str(tmp_path / "data"), "test")
    for streaming in (False, True):
        given = {"videos": str(tmp_path / "videos"), "streaming": streaming}
        (sample,) = load_samples(str(tmp_path / "data"), "test", **given)
        assert (sample.video_id, sample.video) == ("a.mp4", str(tmp_path / "videos" / "a.mp4"))


def test_parquet_with_another_column_or_split(tmp_path):
    Dataset.from_dict({"video": ["a.mp4"], "title": ["x"]}).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(CorpusError, match=r"no column 'captions' or 'caption' .*; it has video, title"):
        load_samples(str(tmp_path), "test")
    with pytest.raises(CorpusError, match="Unknown split"):
        load_samples(str(tmp_path), "train")


def test_parquet_with_two_videos_of_one_name(tmp_path):
    videos = [{"path": "v.mp4", "bytes": b"one"}, {"path": "v.mp4", "bytes": b"other"}]
    Dataset.from_dict({"video": videos, "caption": ["a", "b"]}).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(CorpusError, match=r"two different videos are both called 'v.mp4'"):
        load_samples(str(tmp_path), "test")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_cut_off_parquet_file_is_one_line(parquet, streaming):
    file = sorted(Path(parquet).iterdir())[-1]
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CorpusError, match="test") as error:
        list(load_samples(parquet, "test", streaming=streaming))
    assert "\n" not in str(error.value)


READER = """
import json, sys, time
time.sleep = lambda seconds: None  # the client's pauses between attempts
from dmae.training.corpora import CorpusError, load_samples
for streaming in (True, False):
    try:
        samples = list(load_samples("owner/clips", "test", streaming=streaming))
        print(json.dumps([(s.video_id, s.captions, s.video["bytes"].decode()) for s in samples]))
    except CorpusError as error:
        print(json.dumps(str(error)))
"""


def test_a_dataset_of_the_hub_is_mapped_and_streamed(parquet, tmp_path, monkeypatch):
    def read(home):
        environment = os.environ | hub.environment(tmp_path / home, "hf_owner")
        done = subprocess.run([sys.executable, "-c", READER], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    with HubServer() as hub:
        api = hub.as_owner(monkeypatch, tmp_path / "home")
        api.create_repo("owner/clips", repo_type="dataset", private=True)
        api.upload_folder(folder_path=parquet, path_in_repo="data", repo_id="owner/clips", repo_type="dataset")
        streamed, mapped = read("reader")
        expected = [[f"video{i}.mp4", [f"caption {2 * i}", f"caption {2 * i + 1}"]] for i in range(4)]
        assert streamed == mapped == [[name, said, name * 10] for name, said in expected]
        hub.longest_answer = 1500
        broken = read("interrupted")
        assert all("owner/clips, split 'test': " in said and "\n" not in said for said in broken)
        assert "the download was interrupted" in broken[1]


def test_local_streams_are_shared_out(folder):
    shares = [load_samples(str(folder), "train", streaming=True, process_index=i, num_processes=2) for i in range(2)]
    assert [[s.video_id for s in share] for share in shares] == [["a.mp4"], ["b.mkv"]]
    with pytest.raises(CorpusError, match="2 videos cannot be shared among 3 processes"):
        load_samples(str(folder), "train", streaming=True, num_processes=3)


def test_the_datasets_library_reads_the_same_folder(tmp_path):
    """Our reading of the videofolder convention is datasets' own."""
    for split in ("train", "test"):
        touch(tmp_path / split, "a.mp4")
        write_jsonl(tmp_path / split / "metadata.jsonl", [{"file_name": "a.mp4", "captions": [split, "x"]}])
    theirs = load_dataset("videofolder", data_dir=str(tmp_path))
    assert isinstance(theirs, DatasetDict)
    for split in ("train", "test"):
        row = theirs[split].cast_column("video", Video(decode=False))[0]
        (sample,) = load_samples(str(tmp_path), split)
        assert (sample.video, list(sample.captions)) == (row["video"]["path"], row["captions"])

"""The four benchmarks, read from miniatures in exactly the schema in which their authors publish them."""

import csv
import json
import logging
import os
import pickle

import pytest

from dmae.training.corpora import CorpusError, load_samples, loading
from dmae.training.corpora.benchmarks import BENCHMARKS
from dmae.training.corpora.plain_pickle import read_plain_pickle


def write_csv(path, *rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"video")


def read(source, root, split):
    return load_samples(source, split, annotations=str(root), videos=str(root / "videos"))


@pytest.fixture
def msrvtt(tmp_path):
    touch(tmp_path / "videos", "all/video0.mp4", "all/video1.mp4", "video7010.webm")
    videos = [
        {"category": 9, "url": f"https://www.youtube.com/watch?v=x{i}", "video_id": f"video{i}", "start time": 137.72,
         "end time": 149.44, "split": "train", "id": i}
        for i in (0, 1, 7010)
    ]  # fmt: skip
    captions = [("video0", "a car is shown"), ("video1", "a man runs"), ("video0", "a red car"), ("video7010", "x")]
    sentences = [{"caption": text, "video_id": video, "sen_id": i} for i, (video, text) in enumerate(captions)]
    info = {"contributor": "Microsoft MSM group", "data_created": "2016-04-14 14:30:20", "version": "1.0"}
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps({"info": info, "videos": videos, "sentences": sentences}))
    write_csv(tmp_path / "MSRVTT_train.9k.csv", ["video_id"], ["video0"], ["video1"])
    write_csv(
        tmp_path / "MSRVTT_JSFUSION_test.csv",
        ["key", "vid_key", "video_id", "sentence"],
        ["ret0", "msr7010", "video7010", "a woman, in a dress, is talking"],
    )
    return tmp_path


def test_msrvtt(msrvtt):
    train = read("msrvtt", msrvtt, "train")
    assert [(s.video_id, s.captions) for s in train] == [
        ("video0", ("a car is shown", "a red car")),
        ("video1", ("a man runs",)),
    ]
    assert train[0].video == str(msrvtt / "videos" / "all" / "video0.mp4")
    (test,) = read("msrvtt", msrvtt, "test")
    assert test.captions == ("a woman, in a dress, is talking",)
    assert test.video == str(msrvtt / "videos" / "video7010.webm")
    with pytest.raises(CorpusError, match="MSR-VTT 1k-A has no split 'val': there is train, test"):
        read("msrvtt", msrvtt, "val")


def test_msrvtt_in_another_form(msrvtt):
    write_csv(msrvtt / "MSRVTT_JSFUSION_test.csv", ["video_id", "caption"], ["video7010", "x"])
    with pytest.raises(CorpusError, match=r"not in the published form \(KeyError: 'sentence'\); get it from https://"):
        read("msrvtt", msrvtt, "test")
    (msrvtt / "MSRVTT_data.json").write_text('{"sentences": [{"capt')
    with pytest.raises(CorpusError, match=r"MSRVTT_data.json.* not in the published form \(JSONDecodeError"):
        read("msrvtt", msrvtt, "train")


@pytest.mark.parametrize("protocol", range(6))
def test_msvd(tmp_path, protocol):
    """`raw-captions.pkl` maps a clip to the word lists of its sentences; repeated sentences count, as in the field."""
    captions = {
        "-4wsuPCjDBc_5_15": [["a", "squirrel", "eats"], ["a", "squirrel", "eats"]],
        "4cgzdXlJksU_83_90": [["两", "个人"]],
        "yREFbDOVDEg_6_23": [["a", "boat"]],
    }
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps(captions, protocol=protocol))
    (tmp_path / "train_list.txt").write_text("-4wsuPCjDBc_5_15\n")
    (tmp_path / "test_list.txt").write_text("4cgzdXlJksU_83_90\nyREFbDOVDEg_6_23\n")
    touch(tmp_path / "videos", *(f"{name}.avi" for name in captions))
    (train,) = read("msvd", tmp_path, "train")
    assert train.captions == ("a squirrel eats", "a squirrel eats")
    assert [s.captions for s in read("msvd", tmp_path, "test")] == [("两 个人",), ("a boat",)]
    with pytest.raises(CorpusError, match=r"MSVD, split 'val': val_list.txt is not in .*msvd_data.zip"):
        read("msvd", tmp_path, "val")


def test_a_python_2_pickle_of_texts_is_read(tmp_path):
    (tmp_path / "raw-captions.pkl").write_bytes(b"(dp0\nS'clip_1_2'\np1\n(lp2\n(lp3\nS'a'\np4\naVdog\np5\naas.")
    assert read_plain_pickle(tmp_path / "raw-captions.pkl") == {"clip_1_2": [["a", "dog"]]}


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, protocol):
    marker = tmp_path / "was-run"
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps({"clip": [Malicious(marker)]}, protocol=protocol))
    (tmp_path / "test_list.txt").write_text("clip\n")
    touch(tmp_path / "videos", "clip.avi")
    with pytest.raises(ValueError, match=r"not plain data: the pickle wants to run .*; it is refused"):
        read("msvd", tmp_path, "test")
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": [["b"]]})[:-3], b"0.", b"Na."])
def test_a_damaged_pickle_is_named(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pkl"):
        read_plain_pickle(tmp_path / "x.pkl")


DIDEMO_ROW = {"dl_link": "https://www.flickr.com/video_download.gne?id=1", "num_segments": 6}


def didemo_row(video, text, *times):
    return {**DIDEMO_ROW, "annotation_id": 0, "description": text, "video": video, "times": [list(t) for t in times]}


def write_didemo(root, names, rows, split="test"):
    (root / f"{split}_list.txt").write_text("".join(f"{name}\n" for name in names))
    (root / f"{split}_data.json").write_text(json.dumps(rows))


def test_didemo(tmp_path):
    """The list names the videos; a video's sentences make one paragraph, in the order of the file."""
    rows = [
        didemo_row("12@N02_1_87.mov", "then it jumps.", (2, 2), (2, 3), (1, 2), (2, 2)),
        didemo_row("12@N02_1_87.", "the same video under another name.", (0, 0)),
        didemo_row("12@N02_1_87.mov", "a dog enters ", (0, 0), (0, 0), (0, 0), (0, 1)),
        didemo_row("70@N00_2_a4.3gp", "a boat.", (0, 5), (0, 5), (0, 5), (0, 5)),
    ]
    write_didemo(tmp_path, ["70@N00_2_a4.3gp", "12@N02_1_87.mov"], rows)
    touch(tmp_path / "videos", "12@N02_1_87.mp4", "70@N00_2_a4.3gp")  # the first was converted after the download
    second, first = read("didemo", tmp_path, "test")
    assert first.captions == ("then it jumps. a dog enters",)
    assert (first.video, first.start, first.end) == (str(tmp_path / "videos" / "12@N02_1_87.mp4"), None, 32.0)
    assert second.captions == ("a boat.",)
    places = {"annotations": str(tmp_path), "videos": str(tmp_path / "videos")}
    sorted_by_time = load_samples("didemo", "test", sentence_order="time", **places)
    assert sorted_by_time[1].captions == ("a dog enters then it jumps.",)  # the annotators' mean first chunk
    with pytest.raises(CorpusError, match=r'sentence_order must be "file" or "time", not'):
        load_samples("didemo", "test", sentence_order="alphabet", **places)


@pytest.mark.parametrize("name", ["1@N0_2_a.avi", "1@N0_2_a.mts", "1@N0_2_a.null", "1@N0_2_a."])
@pytest.mark.parametrize("on_disk", ["{name}", "{name}.mp4", "{name}.MKV", "1@N0_2_a.webm", "more/1@N0_2_a.qt"])
def test_a_video_is_found_however_it_was_downloaded_or_converted(tmp_path, name, on_disk):
    write_didemo(tmp_path, [name], [didemo_row(name, "a boat.", (0, 0))])
    touch(tmp_path / "videos", "1@N0_2_a.txt", "1@N0_2.mp4", "1@N0_2_ab.mp4", on_disk.format(name=name))
    (sample,) = read("didemo", tmp_path, "test")
    assert sample.video == str(tmp_path / "videos" / on_disk.format(name=name))


def test_the_whole_name_comes_first(tmp_path):
    names = ["a.mov", "a.avi", "b.avi"]
    write_didemo(tmp_path, names, [didemo_row(name, "a boat.", (0, 0)) for name in names])
    touch(tmp_path / "videos", "z/a.mov", "a.avi", "a.avi.mp4", "b.mp4", "z/b.avi.mp4")
    found = [os.path.relpath(sample.video, tmp_path / "videos") for sample in read("didemo", tmp_path, "test")]
    assert found == ["z/a.mov", "a.avi", "z/b.avi.mp4"]


def test_a_list_that_names_a_video_twice_is_refused(tmp_path, msrvtt):
    write_didemo(tmp_path, ["a.mov", "b.mov", "a.mov"], [didemo_row("a.mov", "a boat.", (0, 0))])
    touch(tmp_path / "videos", "a.mov")
    with pytest.raises(CorpusError, match=r"test_list.txt names a video twice \(a.mov\); get it from .*collaborative"):
        read("didemo", tmp_path, "test")
    write_csv(msrvtt / "MSRVTT_train.9k.csv", ["video_id"], ["video0"], ["video1"], ["video0"], ["video1"])
    with pytest.raises(CorpusError, match=r"9k.csv names a video twice \(video0, and 1 others\); get it from https"):
        read("msrvtt", msrvtt, "train")
    rows = [["key", "video_id", "sentence"], ["ret0", "video7010", "a dog"], ["ret1", "video7010", "a cat"]]
    write_csv(msrvtt / "MSRVTT_JSFUSION_test.csv", *rows)
    with pytest.raises(CorpusError, match=r"MSRVTT_JSFUSION_test.csv names a video twice \(video7010\); get it"):
        read("msrvtt", msrvtt, "test")
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps({"v_1_2": [["a", "dog"]]}))
    (tmp_path / "test_list.txt").write_text("v_1_2\n\nv_1_2\n")
    with pytest.raises(CorpusError, match=r"test_list.txt names a video twice \(v_1_2\); get it from .*msvd_data"):
        read("msvd", tmp_path, "test")


def test_captions_of_another_version_are_refused(tmp_path, msrvtt):
    write_didemo(tmp_path, ["a.mov", "b.mov"], [didemo_row("a.mov", "a boat.", (0, 0))])
    touch(tmp_path / "videos", "a.mov")
    message = r"test_data.json has no caption for 1 of the 2 videos that test_list.txt names \(b.mov\).*LocalizingMom"
    with pytest.raises(CorpusError, match=message):
        read("didemo", tmp_path, "test")
    write_csv(msrvtt / "MSRVTT_train.9k.csv", ["video_id"], ["video0"], ["video9"])
    with pytest.raises(CorpusError, match=r"MSRVTT_data.json has no caption for 1 of the 2 videos that MSRVTT_train"):
        read("msrvtt", msrvtt, "train")
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps({"v_1_2": [["a", "dog"]]}))
    (tmp_path / "test_list.txt").write_text("v_3_4\n")
    with pytest.raises(CorpusError, match=r"raw-captions.pkl has no caption for 1 of the 1 videos"):
        read("msvd", tmp_path, "test")
    (tmp_path / "test_list.txt").unlink()
    with pytest.raises(CorpusError, match=r"DiDeMo.*test_list.txt is not in .*; get it from .*collaborative-experts"):
        read("didemo", tmp_path, "test")


def test_a_split_of_another_size_than_the_published_one_is_told(tmp_path, caplog):
    write_didemo(tmp_path, ["a.mov"], [didemo_row("a.mov", "a boat.", (0, 0))])
    touch(tmp_path / "videos", "a.mov")
    with caplog.at_level(logging.WARNING):
        read("didemo", tmp_path, "test")
    assert "1 videos with a caption in" in caplog.text and "published numbers are on 1004" in caplog.text


def test_activitynet(tmp_path):
    rows = {
        "v_QOlSCBRmfWY": {
            "duration": 82.73,
            "timestamps": [[17.37, 60.81], [0.83, 19.86], [0.83, 12.0]],
            "sentences": ["The girl dances.", " A woman is seen", " leading in"],
        },
        "v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0.28, 55.15]], "sentences": ["A tutorial."]},
    }
    (tmp_path / "val_1.json").write_text(json.dumps(rows))
    touch(tmp_path / "videos", "v_QOlSCBRmfWY.mp4", "uqiMw7tQ1Cc.mkv")  # both ways in which the downloads are named
    first, second = read("activitynet", tmp_path, "test")
    assert first.captions == ("The girl dances. A woman is seen leading in",)
    assert (first.video_id, first.end) == ("v_QOlSCBRmfWY", None)
    assert second.video == str(tmp_path / "videos" / "uqiMw7tQ1Cc.mkv")
    assert read("activitynet", tmp_path, "val") == [first, second]  # val1 is what the field tests on
    places = {"annotations": str(tmp_path), "videos": str(tmp_path / "videos")}
    sorted_by_time = load_samples("activitynet", "test", sentence_order="time", **places)
    assert sorted_by_time[0].captions == ("leading in A woman is seen The girl dances.",)


def test_activitynet_in_another_form(tmp_path):
    row = {"duration": 9.0, "timestamps": [[0.0, 5.0], [5.0, 9.0]], "sentences": ["A dog."]}
    (tmp_path / "val_1.json").write_text(json.dumps({"v_a": row}))
    touch(tmp_path / "videos", "v_a.mp4")
    with pytest.raises(CorpusError, match=r"val_1.json in .* is not in the published form \(ValueError"):
        read("activitynet", tmp_path, "val")


def test_missing_videos_are_counted(msrvtt, caplog):
    (msrvtt / "videos" / "all" / "video1.mp4").unlink()
    with pytest.raises(
        CorpusError, match=r"captions without a video: 1 of 2 videos .*\(video1\); complete the folder"
    ):
        read("msrvtt", msrvtt, "train")
    with caplog.at_level(logging.WARNING):
        given = {"annotations": str(msrvtt), "videos": str(msrvtt / "videos"), "missing": "skip"}
        assert [s.video_id for s in load_samples("msrvtt", "train", **given)] == ["video0"]
    assert "they are left out" in caplog.text
    given = {"annotations": str(msrvtt), "videos": str(msrvtt / "nowhere"), "missing": "keep"}
    assert [s.video_id for s in load_samples("msrvtt", "train", **given)] == ["video0", "video1"]


def test_videos_without_a_caption_are_counted(tmp_path, caplog):
    empty = {"duration": 9.0, "timestamps": [[0.0, 5.0]], "sentences": [" "]}
    rows = {"v_a": empty, "v_b": {**empty, "sentences": ["A dog."]}}
    (tmp_path / "train.json").write_text(json.dumps(rows))
    touch(tmp_path / "videos", "v_a.mp4", "v_b.mp4")
    with caplog.at_level(logging.WARNING):
        assert [s.video_id for s in read("activitynet", tmp_path, "train")] == ["v_b"]
    assert "1 videos without a caption are left out (v_a" in caplog.text


def test_missing_files_say_where_to_get_them(tmp_path):
    with pytest.raises(CorpusError, match=r"MSRVTT_JSFUSION_test.csv is not in .*; get it from https://.*msrvtt_data"):
        load_samples("msrvtt", "test", annotations=str(tmp_path), videos=str(tmp_path))
    with pytest.raises(CorpusError, match="give the folder of its videos too; get them from https://"):
        load_samples("msrvtt", "test", annotations=str(tmp_path))
    with pytest.raises(
        CorpusError, match=r"only its evaluation split is read from the Hub \(mteb/MSVD\). For 'train'"
    ):
        load_samples("msvd", "train")


@pytest.mark.parametrize("source", BENCHMARKS)
def test_without_files_the_evaluation_split_comes_from_the_hub(source, monkeypatch, caplog):
    asked = []
    monkeypatch.setattr(loading, "load_hub", lambda *args, **options: asked.append((args, options)) or ["sample"])
    assert load_samples(source, "test") == ["sample"]
    ((repo, split), options) = asked[0]
    assert repo.startswith("mteb/") and split == "test" and len(options["revision"]) == 40
    assert "do not compare with published numbers" in caplog.text

"""Spans as files: the right frames, the sound kept, and timelines that OpenTimelineIO opens again."""

import csv
import os

import av
import numpy as np
import pytest
from video_files import read_numbers, write_video

from dmae.modeling import VideoDecodeError
from dmae.retrieval import SearchHit, VideoIndexError
from dmae.retrieval.sharing.clips import cut_clip, cut_hits
from dmae.retrieval.sharing.edit_lists import write_timeline

RATE = 25
GROUPS = {"g": "10", "bf": "2", "x264-params": "scenecut=0"}


def hit(path, start, end, **fields):
    defaults = {"id": "some/film é.mp4", "score": 0.5, "best_time": start, "duration": 2.0}
    nothing = {"frame_scores": np.empty(0), "frame_times": np.empty(0)}
    return SearchHit(path=str(path), start=start, end=end, **{**defaults, **nothing, **fields})


def read(path):
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        sounds = len(container.streams.audio)
    times = [time for time, _ in frames]
    return read_numbers(np.stack([pixels for _, pixels in frames])), times, sounds


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("start, end, first, last", [(0.8, 1.4, 20, 34), (0.92, 1.6, 23, 39), (0.0, 0.4, 0, 9)])
def test_a_clip_holds_its_span_and_the_sound(tmp_path, suffix, start, end, first, last):
    source = write_video(tmp_path / f"a.{suffix}", 50, options=GROUPS, sound=True)
    clip = cut_clip(source, start, end, tmp_path / "clip")
    numbers, times, sounds = read(clip)
    assert numbers == list(range(first, last + 1))
    assert times[0] == pytest.approx(0, abs=0.05) and times[-1] == pytest.approx((last - first) / RATE, abs=0.05)
    assert sounds == 1
    with av.open(str(clip)) as container:
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert seconds == pytest.approx(end - start, abs=0.2)


def test_sound_that_comes_before_the_first_picture_is_kept(tmp_path):
    source = write_video(tmp_path / "a.mp4", 20, rate=5, options=GROUPS, sound=True)
    clip = cut_clip(source, 0.5, 1.5, tmp_path / "clip")
    numbers, times, _ = read(clip)
    assert numbers == [2, 3, 4, 5, 6, 7] and times[0] == pytest.approx(0, abs=0.05)
    with av.open(str(clip)) as container:
        sound = [frame.time for frame in container.decode(audio=0)]
    assert sound[0] == pytest.approx(0, abs=0.1) and sound[-1] == pytest.approx(1, abs=0.15)


def test_a_turned_picture_stands_upright(tmp_path):
    source = write_video(tmp_path / "a.mp4", 50, options=GROUPS, rotation=(90, False, False))
    clip = cut_clip(source, 0.5, 1.0, tmp_path / "clip")
    with av.open(str(clip)) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (64, 96)


def test_what_lies_outside_is_left_out(tmp_path):
    source = write_video(tmp_path / "a.mp4", 50, options=GROUPS)
    assert read(cut_clip(source, 1.5, 99.0, tmp_path / "clip"))[0][-1] == 49
    with pytest.raises(VideoDecodeError, match=r"holds nothing of its 2\.00 s"):
        cut_clip(source, 3.0, 4.0, tmp_path / "none")
    assert not list(tmp_path.glob("none*"))


def test_hits_become_files_with_padding(tmp_path):
    source = write_video(tmp_path / "a.mp4", 50, options=GROUPS)
    files = cut_hits([hit(source, 0.8, 1.2), hit(source, 0.4, 0.8)], tmp_path / "clips" / "new", padding=0.2)
    assert [path.name[:3] for path in files] == ["01-", "02-"] and all(path.suffix == ".mp4" for path in files)
    assert read(files[0])[0] == list(range(15, 35))


def test_cuts_that_cannot_be_made_are_told(tmp_path):
    source = write_video(tmp_path / "a.mp4", 50)
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoIndexError, match=r"clips cannot be written to .* \(it is a file\): give a folder"):
        cut_hits([hit(source, 0, 1)], tmp_path / "file")
    with pytest.raises(VideoIndexError, match="padding of a cut"):
        cut_hits([hit(source, 0, 1)], tmp_path / "clips", padding=-1)
    with pytest.raises(VideoIndexError, match="has no times"):
        cut_hits([hit(source, None, None)], tmp_path / "clips")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(VideoIndexError, match="clips cannot be written"):
        cut_hits([], tmp_path / "clips")


@pytest.mark.parametrize("suffix", [".otio", ".edl"])
def test_a_timeline_is_opened_again(tmp_path, suffix):
    otio = pytest.importorskip("opentimelineio")
    hits = [hit("/films/a.mp4", 0.8, 1.2), hit("/films/b.mp4", 10.0, 12.0, duration=60.0)]
    write_timeline(hits, tmp_path / f"hits{suffix}", "a dog")
    rate = {"rate": 25.0} if suffix == ".edl" else {}
    timeline = otio.adapters.read_from_file(str(tmp_path / f"hits{suffix}"), **rate)
    clips = list(timeline.find_clips())
    assert [clip.source_range.duration.to_seconds() for clip in clips] == pytest.approx([0.4, 2.0])
    assert [clip.source_range.start_time.to_seconds() for clip in clips] == pytest.approx([0.8, 10.0])
    if suffix == ".otio":
        assert [clip.media_reference.target_url for clip in clips] == ["/films/a.mp4", "/films/b.mp4"]


def test_a_table_of_spans(tmp_path):
    write_timeline([hit("/films/a.mp4", 0.8, 1.2)], tmp_path / "hits.csv", "a dog")
    rows = list(csv.DictReader((tmp_path / "hits.csv").open(encoding="utf-8")))
    assert rows == [
        {"rank": "1", "id": "some/film é.mp4", "path": "/films/a.mp4", "start": "0.8", "end": "1.2"}
        | {"best_time": "0.8", "score": "0.5"}
    ]
    with pytest.raises(VideoIndexError, match="a timeline ends in"):
        write_timeline([], tmp_path / "hits.xml", "a dog")

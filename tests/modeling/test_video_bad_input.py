"""Bad input: one line that names it, soon, and nothing left open; flipped bytes: a result or a `VideoDecodeError`."""

import io
import os
import tempfile
import threading
import time
import warnings
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from video_files import FRAMES, middles, read_numbers, write_video

from dmae.modeling.video_reading import VideoDecodeError, VideoLimits, read_frames
from dmae.modeling.video_source import OpenVideo


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "numbers.mp4", options={"g": "10"})


def bad_sources(folder):
    (folder / "empty.mp4").touch()
    (folder / "notes.mp4").write_text("these are notes\n" * 100)
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(100_000))
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nnumbers.mp4\n#EXT-X-ENDLIST\n")
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile numbers.mp4\n")
    (folder / "a.png").write_bytes(bytes.fromhex("89504e470d0a1a0a0000000d49484452") + bytes(64))
    return {
        "missing": (folder / "missing.mp4", "no such file"),
        "empty": (folder / "empty.mp4", "is empty"),
        "folder": (folder, "is a folder"),
        "text": (folder / "notes.mp4", "cannot be read as a video"),
        "noise": (folder / "noise.mp4", "cannot be read as a video"),
        "playlist": (folder / "list.m3u8", "cannot be read as a video"),
        "concat script": (folder / "concat.mp4", "cannot be read as a video"),
        "picture": (folder / "a.png", "cannot be read as a video"),
        "device": ("/dev/zero", "is a folder or a device"),
        "url": ("https://example.com/a.mp4", "is a URL; download it first"),
        "no bytes": (b"", "is empty"),
        "bytes": (b"\x00" * 1000, "cannot be read as a video"),
        "nothing in a row": ({"path": None, "bytes": None}, "expected a path"),
        "number": (3, "expected a path"),
        "none": (None, "expected a path"),
        "text file": (io.StringIO("text"), "opened as text"),
        "null in a path": ("a\x00b.mp4", "no such file"),
    }


def test_each_bad_source_says_why(tmp_path, video):
    for name, (source, reason) in bad_sources(tmp_path).items():
        started = time.perf_counter()
        with pytest.raises(VideoDecodeError) as caught:
            read_frames(source)
        assert reason in str(caught.value), name
        assert "\n" not in str(caught.value)
        if isinstance(source, os.PathLike):
            assert str(source) in str(caught.value)
        assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    "options",
    [
        {"num_frames": 0},
        {"num_frames": -3},
        {"num_frames": 2.5},
        {"num_frames": True},
        {"start": 1, "end": 1},
        {"start": 1, "end": 0.5},
        {"end": 0},
        {"start": -1},
        {"start": float("nan")},
        {"end": float("inf")},
        {"size": 0},
        {"sampling": "some"},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense(video, options):
    with pytest.raises(ValueError, match=r"numbers\.mp4: "):
        read_frames(video, **options)


def test_a_decoder_bomb_is_refused(tmp_path, video):
    with pytest.raises(VideoDecodeError, match=r"numbers\.mp4.*96 x 64.*limit"):
        read_frames(video, limits=VideoLimits(max_pixels=5000))
    with pytest.raises(VideoDecodeError, match=r"numbers\.mp4.*duration.*limit"):
        read_frames(video, limits=VideoLimits(max_duration=1))
    with pytest.raises(VideoDecodeError, match="packets"):
        mkv = write_video(tmp_path / "a.mkv")
        read_frames(mkv, limits=VideoLimits(max_packets=10))
    data = bytearray(write_video(tmp_path / "a.gif", codec="gif", pix_fmt="rgb8").read_bytes())
    data[6:10] = b"\xff\xff\xff\xff"
    started = time.perf_counter()
    with pytest.raises(VideoDecodeError):
        read_frames(bytes(data))
    assert time.perf_counter() - started < 2


def test_a_video_of_days_is_refused(tmp_path):
    path = write_video(tmp_path / "long.mkv", 2, ticks=[0, 200_000_000], tick=Fraction(1, 1000))
    with pytest.raises(VideoDecodeError, match=r"long\.mkv.*exceeds the limit"):
        read_frames(path)


def _fill(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb") as file:
        file.write(data)


def test_binary_files_and_rows(video):
    expected = middles(FRAMES, 4)
    with open(video, "rb") as file:
        for _ in range(2):  # the whole file, wherever it stands
            assert read_numbers(read_frames(file, 4).frames) == expected
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe:
        threading.Thread(target=_fill, args=(writing, video.read_bytes())).start()
        assert read_numbers(read_frames(pipe, 4).frames) == expected
    data = video.read_bytes()
    for source in (
        str(video),
        io.BytesIO(data),
        bytearray(data),
        memoryview(data),
        {"path": "gone.mp4", "bytes": data},
    ):
        assert read_numbers(read_frames(source, 4).frames) == expected


class Unplugged(io.BytesIO):
    """A file whose disk or network goes after so many bytes were read."""

    def __init__(self, data: bytes, reach: int):
        super().__init__(data)
        self.reach = reach

    def read(self, size=-1):
        self.reach -= size
        if self.reach < 0:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_half_of_what_could_be_read_is_not_taken_for_the_whole(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (120, 64, 96, 3), np.uint8)
    data = write_video(tmp_path / "a.mkv", list(noise), options={"g": "10", "crf": "1"}).read_bytes()
    assert len(data) > 200_000
    with pytest.raises(VideoDecodeError, match=r"Input/output error") as told:
        read_frames(Unplugged(data, len(data) // 2))
    assert told.value.passing
    with pytest.warns(UserWarning):  # a file that is itself half is another matter
        read_frames(data[: len(data) // 2])


def test_a_disk_that_fails_is_told_from_a_file_that_is_bad(tmp_path):
    film = write_video(tmp_path / "a.mkv", 20)
    video = OpenVideo(str(film), str(film), VideoLimits(), 1)
    trouble = av.error.OSError(5, "Input/output error")
    assert not video._is_out_of_reach(trouble) and not video._is_out_of_reach(av.error.InvalidDataError(1, "bad"))
    film.unlink()
    assert video._is_out_of_reach(trouble)


def test_a_name_that_looks_like_a_protocol(tmp_path, monkeypatch, video):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:a.mp4").write_bytes(video.read_bytes())
    assert read_numbers(read_frames("concat:a.mp4", 2).frames) == middles(FRAMES, 2)


def test_a_thousand_opens_leave_nothing_open(tmp_path, video):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(video.read_bytes()[:1500])
    tiny = write_video(tmp_path / "tiny.mp4", 2, size=(32, 32))
    read_frames(tiny, 1)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(500):
        read_frames(tiny, 1, threads=1)
        with pytest.raises(VideoDecodeError):
            read_frames(bad)
    assert len(os.listdir("/proc/self/fd")) <= before


VARIANTS = {
    "mp4": {"options": {"g": "5", "bf": "2"}},
    "mkv": {"options": {"g": "5", "bf": "2"}},
    "webm": {"codec": "libvpx-vp9"},
    "ts": {"options": {"g": "5"}},
    "avi": {"codec": "mpeg4"},
    "gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mpg": {"codec": "mpeg2video"},
    "hevc.mp4": {"codec": "libx265"},
}


@cache
def small_file(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_video(Path(folder) / f"a.{suffix}", 12, size=(32, 32), **VARIANTS[suffix]).read_bytes()


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(list(VARIANTS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=24),
    st.floats(0.2, 1),
    st.booleans(),
)
def test_flipped_bytes_give_a_result_or_an_error(suffix, flips, kept, in_header):
    data = bytearray(small_file(suffix))
    reach = min(len(data), 800) if in_header else len(data)
    for position, value in flips:
        data[int(position * reach)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read_frames(bytes(data[: max(int(len(data) * kept), 1)]), 3, threads=1)
        except VideoDecodeError:
            return
    assert found.frames.dtype == np.uint8 and found.frames.shape[0] == 3 and found.frames.shape[3] == 3
    assert np.isfinite(found.timestamps).all()

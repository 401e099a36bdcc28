"""The player's clock: where a video starts and ends, which stream is shown, and files that say otherwise."""

import struct
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import FRAMES, RATE, middles, read_numbers, write_video

from dmae.modeling.video_reading import VideoDecodeError, read_frames

GROUPS = {"g": "10", "bf": "3"}
MS = Fraction(1, 1000)


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_frames(*args, **options)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mov"])
def test_a_start_that_is_not_zero(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}", options=GROUPS, ticks=list(range(50, 50 + FRAMES)))
    found = read_frames(path, 10)
    assert read_numbers(found.frames) == middles(FRAMES, 10)
    assert found.timestamps == pytest.approx([n / RATE for n in middles(FRAMES, 10)], abs=1e-3)
    assert found.warnings == ()


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_picture_that_starts_after_the_sound(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}", options=GROUPS, ticks=list(range(10, 10 + FRAMES)), sound=True)
    found = read_frames(path, 10)
    assert read_numbers(found.frames) == middles(FRAMES, 10)
    assert found.timestamps[0] == pytest.approx(0.4 + middles(FRAMES, 10)[0] / RATE, abs=2e-2)
    assert read_numbers(read_frames(path, 1, start=0.8, end=1.2).frames) == [15]


def test_an_edit_list_that_discards_the_first_keyframe(tmp_path):
    path = write_video(tmp_path / "a.mp4", options={"g": "20", "bf": "3"}, ticks=list(range(-7, FRAMES - 7)))
    found = read_frames(path, FRAMES - 7)
    assert read_numbers(found.frames) == list(range(7, FRAMES))
    assert found.timestamps[0] == pytest.approx(0, abs=1e-3)
    assert read_numbers(read_frames(path, 3).frames) == [7 + n for n in middles(FRAMES - 7, 3)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate(tmp_path, suffix):
    ticks = np.cumsum([0, *np.random.default_rng(0).integers(5, 400, FRAMES - 1)]).tolist()
    path = write_video(tmp_path / f"a.{suffix}", options=GROUPS, ticks=ticks, tick=MS)
    found = read_frames(path, 31, end=ticks[-1] / 1000)
    moments = (np.arange(31) + 0.5) * ticks[-1] / 31
    assert read_numbers(found.frames) == (np.searchsorted(ticks, moments, side="right") - 1).tolist()
    assert found.timestamps == pytest.approx([ticks[n] / 1000 for n in read_numbers(found.frames)], abs=2e-3)
    per_second = read_frames(path, 100, sampling="per_second", end=ticks[-1] / 1000)
    expected = np.searchsorted(ticks, np.arange(len(per_second)) * 1000, side="right") - 1
    assert read_numbers(per_second.frames) == expected.tolist()


def test_ntsc_rate_over_a_longer_time(tmp_path):
    path = write_video(tmp_path / "a.mp4", 250, rate=Fraction(30000, 1001), options={"g": "30", "bf": "3"})
    assert read_numbers(read_frames(path, 100).frames) == middles(250, 100)
    seconds = read_frames(path, 100, sampling="per_second")
    assert read_numbers(seconds.frames) == [int(second * 30000 / 1001) for second in range(9)]
    assert seconds.fps == pytest.approx(29.97, abs=0.01)


def test_per_second_is_thinned_as_clip4clip_does(tmp_path):
    path = write_video(tmp_path / "a.mp4", 110, rate=10, options=GROUPS)
    expected = [10 * second for second in np.linspace(0, 10, 4, dtype=int)]
    assert read_numbers(read_frames(path, 4, sampling="per_second").frames) == expected


@pytest.mark.parametrize("suffix, codec, pix_fmt", [("mp4", "libx264", "yuv420p"), ("gif", "gif", "rgb8")])
def test_one_frame(tmp_path, suffix, codec, pix_fmt):
    found = read_frames(write_video(tmp_path / f"a.{suffix}", 1, codec=codec, pix_fmt=pix_fmt), 4)
    assert found.frames.shape == (4, 64, 96, 3)
    assert read_numbers(found.frames) == [0] * 4
    assert found.duration >= 0


def test_a_duration_of_zero(tmp_path):
    data = bytearray(write_video(tmp_path / "a.mp4", 1).read_bytes())
    for box, offset in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        at = data.index(box) + offset
        data[at : at + 4] = bytes(4)
    assert read_numbers(quietly(bytes(data), 2).frames) == [0, 0]


@pytest.mark.parametrize("count", [0, 7, 4000])
def test_an_avi_header_that_lies_about_the_number_of_frames(tmp_path, count):
    data = bytearray(write_video(tmp_path / "a.avi", codec="mpeg4").read_bytes())
    for at in (data.index(b"avih") + 24, data.index(b"strh") + 40):
        data[at : at + 4] = struct.pack("<I", count)
    assert read_numbers(quietly(bytes(data), 8).frames) == middles(FRAMES, 8)


@pytest.mark.parametrize("seconds", [0.5, 900.0])
def test_an_mkv_header_that_lies_about_the_duration(tmp_path, seconds):
    data = bytearray(write_video(tmp_path / "a.mkv", options=GROUPS).read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", seconds * 1000)
    assert read_numbers(quietly(bytes(data), 8).frames) == middles(FRAMES, 8)


def test_an_mkv_without_a_duration(tmp_path):
    path = write_video(tmp_path / "a.mkv", options=GROUPS, muxing={"live": "1"})
    assert b"\x44\x89\x88" not in path.read_bytes()
    assert read_numbers(read_frames(path, 8).frames) == middles(FRAMES, 8)


@pytest.mark.parametrize("suffix, muxing", [("mp4", {"movflags": "faststart"}), ("mkv", {}), ("ts", {}), ("avi", {})])
def test_half_a_file(tmp_path, suffix, muxing):
    codec = "mpeg4" if suffix == "avi" else "libx264"
    whole = write_video(tmp_path / f"a.{suffix}", 120, options={"g": "10", "bf": "0"}, muxing=muxing, codec=codec)
    data = whole.read_bytes()
    half = tmp_path / f"half.{suffix}"
    half.write_bytes(data[: int(len(data) * 0.6)])
    if suffix == "ts":  # a transport stream has no length of its own: a shorter one is whole
        numbers = read_numbers(quietly(half, 10).frames)
    else:
        with pytest.warns(UserWarning, match="half"):
            found = read_frames(half, 10)
        assert found.warnings
        numbers = read_numbers(found.frames)
    assert numbers == sorted(numbers)
    assert numbers[0] < 10 and 40 < numbers[-1] < 90


def test_an_mp4_whose_index_is_cut_off_is_an_error(tmp_path):
    data = write_video(tmp_path / "a.mp4").read_bytes()
    with pytest.raises(VideoDecodeError, match="bytes"):
        read_frames(data[: len(data) // 2])


def test_the_largest_of_several_streams(tmp_path):
    path = write_video(tmp_path / "a.mkv", options=GROUPS, extra_streams=((32, 32), (64, 48)))
    assert read_numbers(read_frames(path, 6).frames) == middles(FRAMES, 6)


@pytest.mark.parametrize("cover", [False, True])
def test_sound_alone_or_with_a_cover_picture_is_an_error(tmp_path, cover):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        frames = [(sound, av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono"))]
        frames[0][1].sample_rate = 16000
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            frames.append((picture, av.VideoFrame(64, 64, "yuvj420p")))
        for stream, frame in frames:
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    with pytest.raises(VideoDecodeError, match=r"a\.mp4.*no video stream"):
        read_frames(path)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "mpeg4"])
def test_damaged_pictures_come_with_a_warning(tmp_path, codec):
    path = write_video(tmp_path / "a.mkv", codec=codec, options={"g": "10"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for position, size in packets[12:15]:
        garbage = size - max(size // 3, 6)
        data[position + size - garbage : position + size] = np.random.default_rng(0).bytes(garbage)
    with pytest.warns(UserWarning, match="damaged"):
        numbers = read_numbers(read_frames(bytes(data), FRAMES).frames)
    assert numbers[:10] == list(range(10)) and numbers[21:] == list(range(21, FRAMES))


def test_a_window_past_the_end(tmp_path):
    path = write_video(tmp_path / "a.mp4", options=GROUPS)
    assert read_numbers(read_frames(path, 4, start=0.8, end=99).frames) == [22, 27, 32, 37]
    with pytest.raises(ValueError, match=r"a\.mp4.*start"):
        read_frames(path, 4, start=5)


def test_random_segments_are_seeded_and_stay_in_their_segments(tmp_path):
    path = write_video(tmp_path / "a.mp4", options=GROUPS)
    drawn = [
        read_numbers(read_frames(path, 4, sampling="random_segments", seed=(1, epoch)).frames) for epoch in range(9)
    ]
    assert all(10 * segment <= n < 10 * segment + 10 for numbers in drawn for segment, n in enumerate(numbers))
    assert len({tuple(numbers) for numbers in drawn}) > 5
    assert drawn[3] == read_numbers(read_frames(path, 4, sampling="random_segments", seed=(1, 3)).frames)

"""`FrameStream`: the right frame at every moment of a whole video in any format, and what it says of bad ones."""

import struct
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from video_files import read_numbers, write_video

from dmae.modeling.video_reading import VideoDecodeError, read_frames
from dmae.modeling.video_stream import FrameStream

COUNT, RATE = 240, 24
MS = Fraction(1, 1000)


def stream(path, rate=2.0, **options):
    """The numbers of the frames, their moments and the stream."""
    frames = FrameStream(path, rate, threads=1, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = list(frames)
    return read_numbers(np.stack([frame.pixels for frame in read])), [frame.moment for frame in read], frames


def at_middles(count, file_rate, rate):
    """The numbers of the frames on screen at the middle of each `1 / rate` seconds."""
    return [int((n + 0.5) * file_rate / rate + 1e-9) for n in range(int(count / file_rate * rate + 0.5))]


@pytest.mark.parametrize(
    "codec, suffix, options",
    [
        ("libx264", "mp4", {"g": "48", "bf": "3"}),
        ("libx264", "mp4", {"g": "12", "bf": "2", "x264-params": "open-gop=1"}),
        ("libx264", "mkv", {"g": "1000", "bf": "3", "x264-params": "b-pyramid=normal"}),
        ("libx264", "avi", {"g": "20", "bf": "3"}),
        ("libx265", "mp4", {"x265-params": "log-level=none:keyint=16:bframes=3:open-gop=1"}),
        ("mpeg4", "avi", {"g": "12", "bf": "2"}),
        ("mpeg2video", "ts", {"g": "12", "bf": "2"}),
        ("mjpeg", "mov", {}),
        ("libvpx-vp9", "webm", {"g": "30"}),
    ],
)
@pytest.mark.parametrize("rate", [0.4, 2.0, 24.0])
def test_every_moment_gets_the_frame_on_screen(tmp_path, codec, suffix, options, rate):
    path = write_video(
        tmp_path / f"a.{suffix}",
        COUNT,
        codec=codec,
        rate=RATE,
        options=options,
        pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
    )
    numbers, moments, frames = stream(path, rate)
    assert numbers == at_middles(COUNT, RATE, rate)
    assert moments == pytest.approx([(n + 0.5) / rate for n in range(len(numbers))], abs=1e-6)
    assert frames.duration == pytest.approx(COUNT / RATE, abs=0.05)
    assert frames.warnings == ()


@settings(max_examples=15, deadline=None)
@given(
    gaps=st.lists(st.integers(5, 900), min_size=1, max_size=40),
    rate=st.sampled_from([0.3, 1.0, 3.7, 11.0]),
    group=st.sampled_from(["4", "15", "100"]),
)
@example(gaps=[5, 5, 41, 5, 5], rate=0.3, group="4")  # shorter than half of what lies between two moments
def test_it_reads_what_read_frames_reads(tmp_path_factory, gaps, rate, group):
    ticks = np.cumsum([0, *gaps]).tolist()
    path = write_video(
        tmp_path_factory.mktemp("v") / "a.mp4",
        len(ticks),
        ticks=ticks,
        tick=MS,
        options={"g": group, "bf": "3"},
    )
    numbers, moments, frames = stream(path, rate)
    # A window that begins and ends as far from a moment as it gets holds its middle: read_frames at one moment.
    for number, moment in zip(numbers, moments):
        half = min(0.5 / rate, moment - frames.begin, frames.begin + frames.duration - moment)
        assert read_numbers(read_frames(path, 1, start=moment - half, end=moment + half).frames) == [number]


def test_a_last_picture_may_stay_longer_than_its_packet_says(tmp_path):
    path = write_video(tmp_path / "a.mp4", 3, ticks=[0, 5, 11], tick=MS, options={"g": "4", "bf": "3"})
    numbers, _, frames = stream(path, 50.0)
    assert (numbers, frames.warnings) == ([1, 2, 2], ())
    read = read_frames(path, 5)
    assert (read_numbers(read.frames), read.warnings) == ([1, 2, 2, 2, 2], ())


def test_a_matroska_file_too_short_for_decoding_times_keeps_its_times(tmp_path):
    path = write_video(tmp_path / "a.mkv", 3, ticks=[0, 5, 10], tick=MS, options={"g": "4", "bf": "3"})
    numbers, _, _ = stream(path, 0.3)
    assert numbers == read_numbers(read_frames(path, 1).frames) == [2]
    assert read_frames(path, 1).timestamps == pytest.approx([0.01])


def test_a_start_that_is_not_zero_and_an_edit_list(tmp_path):
    options = {"g": "20", "bf": "3"}
    late = write_video(tmp_path / "late.ts", COUNT, rate=RATE, options=options, ticks=list(range(50, 50 + COUNT)))
    assert stream(late)[0] == at_middles(COUNT, RATE, 2)
    cut = write_video(tmp_path / "cut.mp4", COUNT, rate=RATE, options=options, ticks=list(range(-12, COUNT - 12)))
    assert stream(cut)[0] == [12 + n for n in at_middles(COUNT - 12, RATE, 2)]
    sound = write_video(tmp_path / "sound.mp4", 48, rate=RATE, options=options, ticks=list(range(24, 72)), sound=True)
    numbers, moments, frames = stream(sound, 1)
    assert (numbers, moments, frames.begin) == (
        [12, 36],
        pytest.approx([1.5, 2.5], abs=0.1),
        pytest.approx(1, abs=0.1),
    )


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_stream_goes_on_where_another_stopped(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}", COUNT, rate=RATE, options={"g": "30", "bf": "3"})
    whole = stream(path, 3)
    for edge in (1 / 3, 2.0, 5.0, 9 + 2 / 3):
        first, second = stream(path, 3, end=edge), stream(path, 3, start=edge)
        assert first[0] + second[0] == whole[0]
        assert first[1] + second[1] == whole[1]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_keyframes_are_those_the_encoder_made(tmp_path, suffix):
    path = write_video(
        tmp_path / f"a.{suffix}", COUNT, rate=RATE, options={"g": "50", "bf": "3", "x264-params": "scenecut=0"}
    )
    numbers, moments, _ = stream(path, "keyframes")
    assert numbers == [0, 50, 100, 150, 200]
    assert moments == pytest.approx([n / RATE for n in numbers], abs=2e-3)
    assert stream(path, "keyframes", start=3.0, end=8.0)[0] == [100, 150]


def test_one_frame_gives_one_frame(tmp_path):
    path = write_video(tmp_path / "a.mp4", 1)
    numbers, moments, frames = stream(path, 0.5)
    assert numbers == [0] and 0 <= moments[0] <= frames.duration


def test_the_same_picture_is_converted_once(tmp_path):
    path = write_video(tmp_path / "slides.mp4", 3, ticks=[0, 4000, 9000], tick=MS, options={"bf": "0"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = [frame.pixels for frame in FrameStream(path, 1.0)]
    assert read_numbers(np.stack(frames[:9])) == [0] * 4 + [1] * 5
    assert len({id(pixels) for pixels in frames[:9]}) == 2


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_file_of_fewer_frames_than_asked_for_gives_each_once(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}", 30, rate=5, options={"g": "10", "bf": "2"})
    numbers, moments, frames = stream(path, 20.0)
    assert numbers == list(range(30))
    assert moments == pytest.approx([(n + 0.5) / 5 for n in range(30)], abs=2e-3)
    assert frames.warnings == ("has 5 frames per second, not the 20 asked for; took each once",)
    with pytest.warns(UserWarning, match=rf"a\.{suffix}: has 5 frames per second, not the 20 asked for"):
        list(FrameStream(path, 20.0))
    assert stream(path, 20.0, start=3.0)[0] == numbers[15:]  # a stream goes on where another stopped
    assert stream(path, 5.0)[2].warnings == ()


def test_thirty_frames_of_29_97_are_no_excess(tmp_path):
    path = write_video(tmp_path / "a.mp4", 60, rate=Fraction(30000, 1001))
    assert stream(path, 30.0)[2].warnings == ()


def test_of_slides_there_is_a_frame_every_second_at_most(tmp_path):
    path = write_video(tmp_path / "slides.mp4", 3, ticks=[0, 4000, 9000], tick=MS, options={"bf": "0"})
    numbers, moments, frames = stream(path, 10.0)
    assert numbers[:9] == [0] * 4 + [1] * 5 and np.diff(moments) == pytest.approx(1.0)
    assert "not the 10 asked for" in frames.warnings[0]


def test_frames_come_at_the_size_asked_for(tmp_path):
    path = write_video(tmp_path / "a.mp4", 60, rate=RATE, size=(96, 64))
    assert {frame.pixels.shape for frame in FrameStream(path, 1.0, size=32)} == {(32, 48, 3)}


def test_a_damaged_stretch_is_passed_with_a_warning(tmp_path):
    path = write_video(tmp_path / "a.mp4", COUNT, rate=RATE, options={"g": "24", "bf": "2"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pts, p.pos, p.size) for p in container.demux(video=0) if p.size]
    low, high = 2 * len(packets) // 5, 3 * len(packets) // 5
    for _, position, size in packets[low:high]:
        data[position + 5 : position + size] = b"\x00" * (size - 5)
    path.write_bytes(data)
    numbers, _, frames = stream(path, 4)
    expected = at_middles(COUNT, RATE, 4)
    assert len(numbers) == len(expected)
    assert numbers[:12] == expected[:12] and numbers[-12:] == expected[-12:]
    assert len(frames.warnings) == 1 and "damaged" in frames.warnings[0]
    with pytest.warns(UserWarning, match="a.mp4: is damaged"):
        list(FrameStream(path, 4))


def test_a_file_that_ends_early_gives_what_it_holds(tmp_path):
    path = write_video(
        tmp_path / "a.mp4", COUNT, rate=RATE, options={"g": "24", "bf": "2"}, muxing={"movflags": "faststart"}
    )
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5])
    numbers, moments, frames = stream(path)
    assert numbers == at_middles(COUNT, RATE, 2)[: len(numbers)] and 8 <= len(numbers) < 16
    assert moments[-1] < frames.duration < 9
    assert "says it lasts 10.0 s" in frames.warnings[0]


def test_pictures_that_change_size_keep_the_first_size(tmp_path):
    parts = [write_video(tmp_path / f"{w}.ts", 48, rate=RATE, size=(w, 64), codec="mpeg2video") for w in (96, 128)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = {frame.pixels.shape for frame in FrameStream(joined, 4.0)}
    assert shapes == {(64, 96, 3)}


@pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf"), "all", None, True])
def test_a_rate_that_makes_no_sense_is_refused(rate):
    with pytest.raises(ValueError, match="frames_per_second must be above 0"):
        FrameStream("a.mp4", rate)


def test_no_video_is_one_line(tmp_path):
    (tmp_path / "a.mp4").write_bytes(struct.pack(">I4s", 8, b"free") * 20)
    with pytest.raises(VideoDecodeError, match=r"a\.mp4"):
        next(iter(FrameStream(tmp_path / "a.mp4")))

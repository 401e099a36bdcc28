"""Files as cameras, capture cards and cutting tools leave them: false keyframes, a start between keyframes, clocks
that jump, pixels that are not square."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from video_files import all_called_keyframes, middles, numbered, read_numbers, without_first, write_video

from dmae.modeling.video_reading import VideoLimits, read_frames
from dmae.modeling.video_stream import FrameStream

FINE = {"qmin": "2", "qmax": "2"}
GROUPS_OF_20 = {"g": "20", "keyint_min": "20", "sc_threshold": "0", "bf": "0"}
HEVC = {"x265-params": "log-level=none:keyint=20:min-keyint=20:scenecut=0:bframes=0"}


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_frames(*args, **options)


@pytest.mark.parametrize(
    "codec, suffix",
    [
        ("mpeg4", "mp4"),
        ("mpeg4", "3gp"),
        ("mpeg4", "avi"),
        ("h263", "3gp"),
        ("cinepak", "mov"),
        ("cinepak", "avi"),
        ("msmpeg4v3", "avi"),
        ("wmv2", "avi"),
        ("mpeg2video", "mov"),
        ("libx264", "mp4"),
        ("libx265", "mp4"),
    ],
)
def test_a_container_that_calls_every_packet_a_keyframe(tmp_path, codec, suffix):
    options = {"libx264": GROUPS_OF_20, "libx265": HEVC}.get(codec, {"g": "20", **FINE})
    colour = "rgb24" if codec == "cinepak" else "yuv420p"
    written = write_video(tmp_path / f"a.{suffix}", 120, codec=codec, options=options, pix_fmt=colour, size=(176, 144))
    found = read_frames(all_called_keyframes(written), 8)
    assert read_numbers(found.frames) == middles(120, 8)
    assert found.warnings == ()
    assert read_numbers(read_frames(written, 3, start=2.0, end=3.2).frames) == [55, 65, 75]


# codec, container, and the number of the first frame that decoding everything shows of the cut file
LATE = [
    ("libx264", "ts", 20),
    ("libx264", "mkv", 20),
    ("libx264", "mp4", 20),
    ("libx264", "flv", 20),
    ("libx264", "avi", 20),
    ("libx265", "ts", 20),
    ("libx265", "mp4", 20),
    ("mpeg2video", "ts", 20),
    ("mpeg2video", "mkv", 20),
    ("mpeg1video", "mpg", 20),
    ("mpeg4", "mkv", 20),
    ("libvpx", "webm", 20),
    ("libvpx-vp9", "webm", 20),
    ("cinepak", "mov", 20),
]


@pytest.mark.parametrize("codec, suffix, first", LATE)
def test_a_recording_that_begins_between_keyframes(tmp_path, codec, suffix, first):
    scene_cuts = {"sc_threshold": "1000000000"} if codec.startswith("mpeg") else {}
    options = HEVC if codec == "libx265" else GROUPS_OF_20 | scene_cuts
    colour = "rgb24" if codec == "cinepak" else "yuv420p"
    written = write_video(tmp_path / f"a.{suffix}", 60, codec=codec, options=options, pix_fmt=colour, size=(176, 144))
    late = without_first(written, 6)
    with pytest.warns(UserWarning, match="begins between keyframes"):
        found = read_frames(late, 9)  # 54 frames are left: one in six, of which the first lie before a keyframe
    assert read_numbers(found.frames) == [max(number, first) for number in range(9, 60, 6)]
    assert read_numbers(quietly(late, 2, start=1.6, end=2.0).frames) == [48, 53]
    first_only = quietly(late, 1, start=0, end=0.2)
    assert read_numbers(first_only.frames) == [first]
    assert first_only.timestamps[0] == pytest.approx((first - 6) / 25, abs=0.01)


def joined(path, *parts):
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def part(path, first, **options):
    return write_video(path, [numbered(first + number) for number in range(50)], options={"g": "10"}, **options)


@pytest.mark.parametrize(
    "codec, suffix", [("libx264", "ts"), ("libx264", "m2ts"), ("mpeg2video", "ts"), ("mpeg2video", "vob")]
)
def test_joined_recordings_are_read_one_after_the_other(tmp_path, codec, suffix):
    parts = [part(tmp_path / f"{first}.{suffix}", first, codec=codec) for first in (0, 100, 200)]
    film = joined(tmp_path / f"all.{suffix}", *parts)
    with pytest.warns(UserWarning, match="several recordings joined"):
        found = read_frames(film, 15)
    assert read_numbers(found.frames) == [*range(5, 50, 10), *range(105, 150, 10), *range(205, 250, 10)]
    assert found.duration == pytest.approx(6)
    assert found.timestamps == pytest.approx(np.arange(0.2, 6, 0.4), abs=0.01)
    assert read_numbers(quietly(film, 5, start=3, end=5).frames) == [130, 140, 200, 210, 220]


@pytest.mark.parametrize("hours", [0.01, 25])
def test_a_clock_that_leaps_is_not_a_duration(tmp_path, hours):
    early = part(tmp_path / "early.ts", 0)
    later = part(tmp_path / "later.ts", 100, ticks=[int(hours * 3600 * 25) + number for number in range(50)])
    for film, expected in (
        (joined(tmp_path / "a.ts", early, later), [5, 15, 25, 35, 45, 105, 115, 125, 135, 145]),
        (joined(tmp_path / "b.ts", later, early), [105, 115, 125, 135, 145, 5, 15, 25, 35, 45]),
    ):
        found = quietly(film, 10, limits=VideoLimits(max_duration=60))
        assert read_numbers(found.frames) == expected
        assert found.duration == pytest.approx(4)


def test_a_pause_is_no_jump(tmp_path):
    ticks = [*range(10), *range(200, 210)]  # 7.6 s in which nothing moved
    found = read_frames(write_video(tmp_path / "a.ts", 20, ticks=ticks, options={"g": "10"}), 4)
    assert found.duration == pytest.approx(8.4)
    assert found.warnings == ()
    assert read_numbers(found.frames) == [9, 9, 9, 9]


def disc(width: int, height: int, aspect: Fraction) -> np.ndarray:
    """A picture whose disc is round once its pixels are `aspect` times as wide as high."""
    y, x = np.mgrid[:height, :width]
    inside = ((x + 0.5 - width / 2) * float(aspect)) ** 2 + (y + 0.5 - height / 2) ** 2 < (0.35 * height) ** 2
    return np.where(inside[..., None], np.uint8(230), np.uint8(30)).repeat(3, axis=2)


DVD, HDV, NARROW = (Fraction(64, 45), (144, 256)), (Fraction(4, 3), (144, 240)), (Fraction(8, 9), (162, 180))


@pytest.mark.parametrize(
    "suffix, pixels", [("mp4", DVD), ("mpg", DVD), ("mkv", HDV), ("ts", HDV), ("avi", HDV), ("mp4", NARROW)]
)
def test_pixels_that_are_not_square(tmp_path, suffix, pixels):
    aspect, shown = pixels
    codec = "mpeg2video" if suffix == "mpg" else "libx264"
    path = write_video(
        tmp_path / f"a.{suffix}", [disc(180, 144, aspect)] * 3, size=(180, 144), codec=codec, pixel_aspect=aspect
    )
    assert read_frames(path, 1).frames.shape == (1, *shown, 3)
    frame = read_frames(path, 1, size=72).frames[0]
    rows, columns = np.nonzero(frame[:, :, 1] > 128)
    assert min(frame.shape[:2]) == 72
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)


def test_pixels_that_are_not_square_in_a_turned_picture(tmp_path):
    aspect = Fraction(2)
    path = write_video(
        tmp_path / "a.mp4",
        [disc(80, 128, aspect)] * 3,
        size=(80, 128),
        pixel_aspect=aspect,
        rotation=(90, False, False),
    )
    frame = read_frames(path, 1).frames[0]
    assert frame.shape == (160, 128, 3)
    rows, columns = np.nonzero(frame[:, :, 1] > 128)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)


@pytest.mark.parametrize("aspect", [Fraction(4352, 4335), Fraction(1, 200), Fraction(99, 1)])
def test_a_pixel_aspect_that_means_nothing_is_ignored(tmp_path, aspect):
    path = write_video(tmp_path / "a.mp4", 3, pixel_aspect=aspect)
    assert read_frames(path, 1).frames.shape == (1, 64, 96, 3)


def streamed(path, rate, **options):
    stream = FrameStream(path, rate, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = list(stream)
    return read_numbers(np.stack([frame.pixels for frame in frames])), stream.warnings


def test_a_stream_bears_false_keyframes(tmp_path):
    for codec, suffix in (("mpeg4", "mp4"), ("cinepak", "mov"), ("wmv2", "avi")):
        colour = "rgb24" if codec == "cinepak" else "yuv420p"
        path = tmp_path / f"{codec}.{suffix}"
        write_video(path, 120, codec=codec, options={"g": "20", **FINE}, pix_fmt=colour, size=(176, 144))
        all_called_keyframes(path)
        assert streamed(path, 2.5) == ([*range(5, 120, 10)], ())
        assert streamed(path, 2.5, start=2) == ([*range(55, 120, 10)], ())
        assert streamed(path, 0.25)[0] == [50]


@pytest.mark.parametrize(
    "codec, suffix", [("libx264", "ts"), ("libx264", "avi"), ("mpeg4", "mkv"), ("libvpx", "webm")]
)
def test_a_stream_bears_a_start_between_keyframes(tmp_path, codec, suffix):
    late = without_first(write_video(tmp_path / f"a.{suffix}", 60, codec=codec, options=GROUPS_OF_20), 6)
    numbers, told = streamed(late, 25 / 6)
    assert numbers == [max(number, 20) for number in range(9, 60, 6)]
    assert any("begins between keyframes" in line and "2 moments" in line for line in told)
    assert streamed(late, 25 / 6, end=0.4)[0] == [20, 20]


def test_a_stream_reads_joined_recordings(tmp_path):
    parts = [part(tmp_path / f"{first}.ts", first) for first in (0, 100, 200)]
    numbers, told = streamed(joined(tmp_path / "all.ts", *parts), 2.5)
    assert numbers == [*range(5, 50, 10), *range(105, 150, 10), *range(205, 250, 10)]
    assert "several recordings joined" in told[0]


def test_a_stream_shows_square_pixels(tmp_path):
    path = write_video(
        tmp_path / "a.mp4", [disc(180, 144, Fraction(4, 3))] * 3, size=(180, 144), pixel_aspect=Fraction(4, 3)
    )
    assert [frame.pixels.shape for frame in FrameStream(path, 1)] == [(144, 240, 3)]
    assert [frame.pixels.shape for frame in FrameStream(path, "keyframes", size=72)] == [(72, 120, 3)]

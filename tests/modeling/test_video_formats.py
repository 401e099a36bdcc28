"""`read_frames` returns the frames that a player shows, whatever the codec, the container and their order."""

import os

import pytest
from video_files import FRAMES, middles, read_numbers, write_video

from dmae.modeling.video_reading import read_frames

B_FRAMES = {"g": "10", "bf": "3"}
X264 = "keyint=10:scenecut=0:bframes=3:"
# name -> (file suffix, options of write_video)
VARIANTS = {
    "h264": ("mp4", {"options": B_FRAMES}),
    "h264 one keyframe": ("mp4", {"options": {"g": "1000", "bf": "3"}}),
    "h264 only keyframes": ("mp4", {"options": {"g": "1"}}),
    "h264 without B frames": ("mp4", {"options": {"g": "10", "bf": "0"}}),
    "h264 B pyramid": ("mp4", {"options": {"g": "20", "bf": "8", "x264-params": "b-pyramid=normal:b-adapt=0"}}),
    "h264 open groups": ("mp4", {"options": {"x264-params": X264 + "open-gop=1:b-adapt=0"}}),
    "h264 open groups in mkv": ("mkv", {"options": {"x264-params": X264 + "open-gop=1:b-adapt=0"}}),
    "h264 intra refresh": ("mp4", {"options": {"x264-params": "keyint=10:intra-refresh=1:bframes=0"}}),
    "h264 interlaced": ("mp4", {"options": {"flags": "+ildct+ilme", "g": "10", "bf": "3"}}),
    "h264 4:4:4": ("mp4", {"options": B_FRAMES, "pix_fmt": "yuv444p"}),
    "h264 10 bit": ("mp4", {"options": B_FRAMES, "pix_fmt": "yuv420p10le"}),
    "h264 odd size 4:4:4": ("mp4", {"options": B_FRAMES, "pix_fmt": "yuv444p", "size": (97, 65)}),
    "h264 mov": ("mov", {"options": B_FRAMES}),
    "h264 mkv": ("mkv", {"options": B_FRAMES}),
    "h264 mpegts": ("ts", {"options": B_FRAMES}),
    "h264 flv": ("flv", {"options": B_FRAMES}),
    "h264 avi": ("avi", {"options": B_FRAMES}),
    "h264 fragments": ("mp4", {"options": B_FRAMES, "muxing": {"movflags": "frag_keyframe+empty_moov"}}),
    "h264 index first": ("mp4", {"options": B_FRAMES, "muxing": {"movflags": "faststart"}}),
    "h264 sound": ("mp4", {"options": B_FRAMES, "sound": True}),
    "h264 sound mkv": ("mkv", {"options": B_FRAMES, "sound": True}),
    "hevc": ("mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=10:bframes=4"}}),
    "hevc open groups": (
        "mp4",
        {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=10:open-gop=1:bframes=4:b-adapt=0"}},
    ),
    "hevc temporal layers": (
        "mkv",
        {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=20:temporal-layers=3:bframes=3"}},
    ),
    "hevc 10 bit": ("mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
    "hevc 12 bit 4:2:2": ("mkv", {"codec": "libx265", "pix_fmt": "yuv422p12le"}),
    "av1": ("mp4", {"codec": "libsvtav1", "options": {"g": "10"}}),
    "av1 webm 10 bit": ("webm", {"codec": "libsvtav1", "pix_fmt": "yuv420p10le", "options": {"g": "16"}}),
    "vp8": ("webm", {"codec": "libvpx", "options": {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "vp9": ("webm", {"codec": "libvpx-vp9", "options": {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "vp9 odd size": ("webm", {"codec": "libvpx-vp9", "options": {"g": "10"}, "size": (97, 65)}),
    "vp9 4:4:4": ("webm", {"codec": "libvpx-vp9", "pix_fmt": "yuv444p"}),
    "mpeg4": ("mp4", {"codec": "mpeg4", "options": {"g": "10", "bf": "2"}}),
    "mpeg4 avi": ("avi", {"codec": "mpeg4", "options": {"g": "10"}}),
    "mpeg4 avi B frames": ("avi", {"codec": "mpeg4", "options": {"g": "10", "bf": "2"}}),
    "mpeg2 program stream": ("mpg", {"codec": "mpeg2video", "options": {"g": "10", "bf": "2"}}),
    "mpeg2 transport stream": ("ts", {"codec": "mpeg2video", "options": {"g": "10", "bf": "2"}}),
    "mpeg1": ("mkv", {"codec": "mpeg1video", "options": {"g": "10", "bf": "2"}}),
    "gif": ("gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    "mjpeg avi": ("avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {"qmin": "2", "qmax": "2"}}),
    "prores": ("mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    "ffv1": ("mkv", {"codec": "ffv1", "pix_fmt": "yuv444p"}),
    "raw": ("avi", {"codec": "rawvideo", "pix_fmt": "yuv420p"}),
    "wmv": ("wmv", {"codec": "wmv2", "options": {"qmin": "2", "qmax": "2"}}),
}


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda name: name.replace(" ", "-"))
def video(request, tmp_path_factory):
    suffix, options = VARIANTS[request.param]
    return write_video(tmp_path_factory.mktemp("video") / f"video.{suffix}", **options)


@pytest.mark.parametrize("num_frames", [1, 3, 12, FRAMES, 2 * FRAMES])
def test_midpoints(video, num_frames):
    found = read_frames(video, num_frames)
    assert read_numbers(found.frames) == middles(FRAMES, num_frames)
    assert found.duration == pytest.approx(1.6, abs=1e-3)
    assert found.warnings == ()


def test_per_second(video):
    found = read_frames(video, 12, sampling="per_second")
    assert read_numbers(found.frames) == [0, 25]
    assert found.timestamps == pytest.approx([0, 1], abs=1e-3)


@pytest.mark.parametrize("start, end, expected", [(0.8, None, [22, 26, 30, 34, 38]), (0.2, 0.4, [5, 6, 7, 8, 9])])
def test_window(video, start, end, expected):
    assert read_numbers(read_frames(video, 5, start=start, end=end).frames) == expected


def test_bytes_are_the_file(video):
    from_path, from_bytes = read_frames(video, 7), read_frames(video.read_bytes(), 7)
    assert (from_path.frames == from_bytes.frames).all()


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="the system has no such call")
def test_writing_a_file_leaves_the_priority_as_it_was(tmp_path):
    """One encoder makes the process a real-time one where it may, and tests then hang."""
    write_video(tmp_path / "a.mp4", 2, codec="libsvtav1")
    assert os.sched_getscheduler(0) == os.SCHED_OTHER

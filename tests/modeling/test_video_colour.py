"""Frames come out upright and in the colours that the stream's own matrix, range and depth mean."""

import warnings

import av
import numpy as np
import pytest
from video_files import orientation, write_video

from dmae.modeling.video_reading import read_frames
from dmae.modeling.video_stream import FrameStream

PATCHES = np.array(
    [
        [16, 16, 16],
        [235, 235, 235],
        [200, 30, 30],
        [30, 200, 30],
        [30, 30, 200],
        [200, 200, 30],
        [180, 90, 40],
        [128] * 3,
    ]
)
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}  # H.273 code -> weights of red and blue
NAMES = {1: "bt709", 5: "bt601", 9: "bt2020"}


def patches(width: int, height: int) -> np.ndarray:
    """(height, width, 3) RGB: one broad vertical stripe a colour."""
    return np.broadcast_to(PATCHES[np.arange(width) * len(PATCHES) // width], (height, width, 3)).astype(np.uint8)


def planes(rgb: np.ndarray, matrix: int, full: bool, depth: int, chroma: int, pix_fmt: str) -> av.VideoFrame:
    """The same picture as Y'CbCr by the formulas of ITU-T H.273, 8.3, written out plane by plane."""
    red, blue = LUMA[matrix]
    rgb = rgb.astype(np.float64) / 255
    luma = rgb @ [red, 1 - red - blue, blue]
    cb, cr = (rgb[..., 2] - luma) / (2 * (1 - blue)), (rgb[..., 0] - luma) / (2 * (1 - red))
    scale = 2 ** (depth - 8)
    top = 2**depth - 1
    y = luma * top if full else (16 + 219 * luma) * scale
    u, v = (
        (128 * scale) + (c * top if full else c * 224 * scale)
        for c in (cb[::chroma, ::chroma], cr[::chroma, ::chroma])
    )
    frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], pix_fmt)
    for plane, values in zip(frame.planes, (y, u, v)):
        values = np.round(values).clip(0, top).astype(np.uint8 if depth == 8 else "<u2")
        padded = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        padded[: values.shape[0], : values.shape[1]] = values
        plane.update(padded.tobytes())
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


def stripes(frame: np.ndarray) -> np.ndarray:
    """The colour in the middle of each stripe, (8, 3)."""
    centres = (2 * np.arange(len(PATCHES)) + 1) * frame.shape[1] // (2 * len(PATCHES))
    return frame[frame.shape[0] // 2, centres].astype(int)


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", LUMA, ids=NAMES.get)
@pytest.mark.parametrize(
    "pix_fmt, depth, chroma",
    [("yuv420p", 8, 2), ("yuv444p", 8, 1), ("yuv420p10le", 10, 2), ("yuv444p10le", 10, 1), ("yuv444p12le", 12, 1)],
)
def test_matrix_range_and_depth(tmp_path, matrix, full, pix_fmt, depth, chroma):
    picture = planes(patches(128, 64), matrix, full, depth, chroma, pix_fmt)
    path = write_video(
        tmp_path / "a.mkv", [picture], codec="ffv1", pix_fmt=pix_fmt, size=(128, 64), colour=(matrix, 2 if full else 1)
    )
    found = stripes(read_frames(path, 1).frames[0])
    assert np.abs(found - PATCHES).max() <= (3 if pix_fmt == "yuv420p" else 2)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_matrix_of_compressed_streams(tmp_path, codec):
    for matrix in LUMA:
        picture = planes(patches(128, 64), matrix, False, 8, 2, "yuv420p")
        # Matroska: FFmpeg's mp4 writer now and then refuses a single picture of libx265's.
        path = write_video(tmp_path / f"{matrix}.mkv", [picture], codec=codec, size=(128, 64), colour=(matrix, 1))
        assert np.abs(stripes(read_frames(path, 1).frames[0]) - PATCHES).max() <= 4


@pytest.mark.parametrize("size, matrix", [((320, 240), 5), ((1280, 720), 1)], ids=["sd-is-bt601", "hd-is-bt709"])
def test_untagged_streams_follow_the_players(tmp_path, size, matrix):
    picture = planes(patches(*size), matrix, False, 8, 2, "yuv420p")
    picture.colorspace = 2
    path = write_video(tmp_path / "a.mkv", [picture], codec="ffv1", size=size)
    assert np.abs(stripes(read_frames(path, 1).frames[0]) - PATCHES).max() <= 3


@pytest.mark.parametrize(
    "codec, pix_fmt, options", [("libx264rgb", "bgr24", {"qp": "0"}), ("ffv1", "bgr0", {}), ("ffv1", "gray", {})]
)
def test_rgb_and_gray_streams(tmp_path, codec, pix_fmt, options):
    picture = patches(128, 64)
    path = write_video(
        tmp_path / "a.mkv", [picture], codec=codec, pix_fmt=pix_fmt, size=(128, 64), options=options, colour=None
    )
    found = stripes(read_frames(path, 1).frames[0])
    expected = PATCHES if pix_fmt != "gray" else np.repeat(PATCHES @ [[0.299], [0.587], [0.114]], 3, axis=1)
    assert np.abs(found - expected).max() <= 2


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True)], ids=["", "hflip", "vflip"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_upright(tmp_path, degrees, flips):
    picture = orientation()
    path = write_video(tmp_path / "a.mp4", [picture] * 3, options={"crf": "1"}, rotation=(degrees, *flips))
    expected = np.rot90(picture, degrees // 90)
    expected = expected[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]
    frame = read_frames(path, 1).frames[0]
    assert frame.shape == expected.shape
    corners = np.ix_([8, -8], [8, -8])
    assert np.abs(frame[corners].astype(int) - expected[corners]).max() < 24


def test_size_turns_with_the_picture(tmp_path):
    path = write_video(tmp_path / "a.mp4", [orientation()] * 3, rotation=(90, False, False))
    assert read_frames(path, 1, size=32).frames.shape == (1, 48, 32, 3)


# SMPTE ST 2084, the inverse curve, and ITU-R BT.2087's matrix from BT.709 to BT.2020 in linear light.
BT709_TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def pq(light: np.ndarray) -> np.ndarray:
    power = (light / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(light: np.ndarray) -> np.ndarray:
    """BT.2100's camera curve of what a screen of 1000 cd/m2 shows."""
    shown = np.maximum(light / 1000, 1e-9)
    scene = shown * (shown @ [0.2627, 0.6780, 0.0593])[..., None] ** (1 / 1.2 - 1)
    logarithm = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithm)


@pytest.mark.parametrize("transfer, curve", [(16, pq), (18, hlg)], ids=["pq", "hlg"])
def test_high_dynamic_range_looks_as_its_standard_range_original(tmp_path, transfer, curve):
    light = 203 * (patches(128, 64) / 255.0) ** 2.2 @ BT709_TO_BT2020.T  # white paper at 203 cd/m2 (BT.2408)
    picture = planes(255 * curve(light), 9, False, 10, 2, "yuv420p10le")
    path = write_video(
        tmp_path / "a.mkv",
        [picture],
        codec="ffv1",
        pix_fmt="yuv420p10le",
        size=(128, 64),
        colour=(9, 1),
        transfer=transfer,
    )
    found = stripes(read_frames(path, 1).frames[0])
    assert np.abs(found - PATCHES).max() <= 30
    assert np.abs(found - PATCHES).mean() <= 8
    small = stripes(read_frames(path, 1, size=32).frames[0])
    assert np.abs(small - found).max() <= 10


def test_highlights_are_compressed_not_cut(tmp_path):
    light = np.repeat([0.0, 5, 20, 80, 203, 400, 700, 1000], 16)[None, :, None] * np.ones((64, 1, 3))
    picture = planes(255 * pq(light), 9, False, 10, 2, "yuv420p10le")
    path = write_video(
        tmp_path / "a.mkv", [picture], codec="ffv1", pix_fmt="yuv420p10le", size=(128, 64), colour=(9, 1), transfer=16
    )
    levels = stripes(read_frames(path, 1).frames[0])[:, 1]
    assert levels[0] == 0 and 250 <= levels[-1] <= 255
    assert (np.diff(levels[:-1]) > 0).all()


@pytest.mark.parametrize(("transfer", "told"), [(2, True), (16, False)], ids=["no base layer", "PQ"])
def test_dolby_vision_that_others_cannot_show_is_told(tmp_path, transfer, told):
    """Such a track is named by Dolby's own name, and says nothing of its colours where they are of no standard."""
    path = write_video(tmp_path / "a.mp4", 8, codec="libx265", transfer=transfer)
    data = path.read_bytes()
    names = [name for name in (b"hvc1", b"hev1") if data.count(name)]
    path.write_bytes(data.replace(names[0], b"dvh1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = FrameStream(path, 8)
        list(stream)
        found = read_frames(path, 4)
    assert any("Dolby Vision" in line for line in found.warnings) == told
    assert any("Dolby Vision" in line for line in stream.warnings) == told

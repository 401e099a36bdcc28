"""Still pictures come as a viewer shows them, and bad ones are refused in one line."""

import io
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms
from video_files import orientation, write_video

from dmae.modeling import DmaeVideoProcessor, VideoDecodeError, picture_reading
from dmae.modeling.picture_reading import is_picture, read_picture

ORIENTATION = 274  # the EXIF tag
# What a camera that was held so writes: tag -> how its pixels lie in the file
HELD = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def read(source, **options) -> np.ndarray:
    found = read_picture(source, **options)
    assert found.frames.dtype == np.uint8 and found.frames.shape[0] == 1 and found.frames.shape[3] == 3
    return found.frames[0].astype(int)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("tag", HELD)
def test_upright_however_the_camera_was_held(tmp_path, tag, suffix):
    picture = orientation(96, 64)
    stored = Image.fromarray(picture)
    stored = stored if HELD[tag] is None else stored.transpose(HELD[tag])
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    stored.save(tmp_path / f"a.{suffix}", exif=exif, quality=98)
    found = read(tmp_path / f"a.{suffix}")
    assert found.shape == picture.shape
    corners = np.ix_([8, -8], [8, -8])
    assert np.abs(found[corners] - picture[corners]).max() < 24
    # The same from what somebody opened already, on its own and as a frame of a video.
    with Image.open(tmp_path / f"a.{suffix}") as opened:
        assert np.array_equal(read(opened), found)
        assert DmaeVideoProcessor()([[opened]], return_tensors="pt", do_center_crop=False)[
            "pixel_values_videos"
        ].shape[3:] == (224, 336)


GREYS = np.linspace(0, 1, 256).reshape(16, 16)


@pytest.mark.parametrize(
    "values",
    [
        (GREYS * 65535).astype(np.uint16),
        (GREYS * 65535).astype(np.int32),
        (GREYS * 255).astype(np.int32),
        (GREYS * 3e6).astype(np.int32),
        GREYS.astype(np.float32),
        (GREYS * 255).astype(np.float32),
    ],
    ids=[
        "16 bits",
        "32 bits of which 16 are used",
        "32 bits of which 8 are used",
        "32 bits",
        "floats",
        "floats to 255",
    ],
)
def test_deep_greys_keep_their_shades(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    found = read(tmp_path / "a.tif")
    assert np.abs(found - (GREYS * 255)[..., None]).max() <= 1
    if values.dtype == np.uint16:
        Image.fromarray(values).save(tmp_path / "a.png")
        assert np.array_equal(read(tmp_path / "a.png"), found)


def test_what_is_transparent_is_white(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)  # black where it cannot be seen
    pixels[2:6, 2:6] = (200, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).convert("P").save(tmp_path / "palette.png", transparency=0)
    found = read(tmp_path / "a.png")
    assert found[0, 0].tolist() == [255] * 3 and found[4, 4].tolist() == [200, 0, 0]
    assert read(tmp_path / "palette.png")[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.fromarray(orientation(16, 16)).convert(mode).save(tmp_path / f"a.{suffix}")
    assert read(tmp_path / f"a.{suffix}").shape == (16, 16, 3)


def test_colours_are_those_of_srgb(tmp_path):
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    picture = Image.new("RGB", (8, 8), (10, 200, 60))
    picture.save(tmp_path / "a.png", icc_profile=srgb.tobytes())
    assert read(tmp_path / "a.png")[0, 0].tolist() == [10, 200, 60]
    picture.save(tmp_path / "b.png", icc_profile=wide.tobytes())  # one that does not fit these pixels
    picture.save(tmp_path / "c.png", icc_profile=b"no profile")
    assert read(tmp_path / "b.png")[0, 0].tolist() == read(tmp_path / "c.png")[0, 0].tolist() == [10, 200, 60]


def test_sources_of_every_kind(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(orientation()).save(path)
    data = path.read_bytes()
    for source in (str(path), path, data, bytearray(data), io.BytesIO(data), {"path": None, "bytes": data}):
        assert is_picture(source)
        assert np.array_equal(read(source), orientation())
    assert read(path, fit=(48, 48)).shape == (32, 48, 3)


def test_pictures_are_known_by_their_bytes_and_else_by_their_name(tmp_path):
    for suffix in ("jpg", "png", "webp", "bmp", "tif", "avif"):
        Image.fromarray(orientation()).save(tmp_path / f"a.{suffix}")
        bare = (tmp_path / f"a.{suffix}").rename(tmp_path / f"{suffix}_without_suffix")
        assert is_picture(bare)
        assert read(bare).shape == (64, 96, 3)
    film = write_video(tmp_path / "a.mp4", 3)
    assert not is_picture(film) and not is_picture(film.read_bytes())
    assert not is_picture(tmp_path / "missing.mp4")
    assert is_picture(tmp_path / "missing.jfif")


def test_bad_pictures_say_why_in_one_line(tmp_path):
    Image.new("1", (14000, 14000)).save(tmp_path / "scan.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:400])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "words.png").write_text("these are words")
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    (tmp_path / "drawing.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    reasons = {
        "scan.png": "limit",
        "half.jpg": "cannot be read as an image",
        "empty.jpg": "empty",
        "words.png": "not a picture",
        "photo.heic": "cannot be read as an image",
        "drawing.jpg": "not a picture",
        "missing.jpg": "no such file",
    }
    for name, reason in reasons.items():
        with warnings.catch_warnings(), pytest.raises(VideoDecodeError, match=reason) as told:
            warnings.simplefilter("error")
            read_picture(tmp_path / name)
        assert str(tmp_path / name) in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(VideoDecodeError, match=r"64 by 64 pixels.*limit of 4,000"):
        read_picture(tmp_path / "whole.jpg", max_pixels=4000)


def test_heic_is_read_where_what_reads_it_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(orientation())).save(tmp_path / "photo.heic", quality=100, chroma=444)
    for source in (tmp_path / "photo.heic", (tmp_path / "photo.heic").read_bytes()):
        assert is_picture(source)
        assert np.abs(read(source) - orientation()).max() < 12


def test_heic_is_refused_with_the_remedy_where_it_is_not(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    picture_reading.knows_heif.cache_clear()
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    try:
        with pytest.raises(VideoDecodeError, match=r"photo\.heic: .*pip install 'dmae-video-search\[heic\]'") as told:
            read_picture(tmp_path / "photo.heic")
    finally:
        picture_reading.knows_heif.cache_clear()
    assert "\n" not in str(told.value)

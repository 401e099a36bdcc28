"""`read_picture`: a still picture of any kind as a viewer shows it: the video of one frame that a model takes."""

import io
import os
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from .errors import VideoDecodeError, one_line
from .media_files import IMAGE_SUFFIXES
from .video_reading import VideoFrames
from .video_source import source_name

# Formats that are pictures and nothing else; Pillow knows others, which run programs or describe drawings.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 128_000_000  # the largest phone's pictures have 108 million
HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*")
AVIF_BRANDS = frozenset((b"avif", b"avis"))
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
HEAD_BYTES = 16


def is_picture(source: Any) -> bool:
    """Whether a path, bytes, a binary file that can be sought or a `datasets` row is a still picture: its first bytes
    or, where they say nothing, its name tells."""
    name, head = _name_and_head(source)
    return _is_picture_head(head) or os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def read_picture(source: Any, *, max_pixels: int = MAX_PIXELS, fit: tuple[int, int] | None = None) -> VideoFrames:
    """A picture as `VideoFrames` of one frame, upright, uint8 RGB.

    The camera's orientation is followed, deep grey scales are brought to 8 bits, what is transparent is white, and
    colours are those of sRGB.

    Args:
        source: a path, the bytes of a file, a binary file, a `datasets` row, or a `PIL.Image`.
        max_pixels: what a file may ask for before it is refused.
        fit: (width, height) into which the picture is shrunk where it is larger.

    Raises:
        VideoDecodeError: it is missing, no picture, damaged or too large; one line that names it.
    """
    name = "<picture>" if isinstance(source, Image.Image) else source_name(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, lower limit, and oddities of metadata
            image = source if isinstance(source, Image.Image) else _open(source)
            if image.width * image.height > max_pixels:
                raise VideoDecodeError(
                    name,
                    f"the picture is {image.width} by {image.height} pixels, over the limit of "
                    f"{max_pixels:,}: make it smaller",
                )
            pixels = upright_rgb(image)
            if fit is not None:
                pixels.thumbnail(fit)
            frame = np.array(pixels)
    except VideoDecodeError:
        raise
    except FileNotFoundError:
        raise VideoDecodeError(name, "no such file") from None
    except Image.DecompressionBombError:
        raise VideoDecodeError(name, f"the picture is over the limit of {max_pixels:,} pixels") from None
    except Exception as error:  # of any kind: the file decides what a parser trips over
        raise VideoDecodeError(name, f"cannot be read as an image ({_reason(source, error)})") from error
    return VideoFrames(frames=frame[None], timestamps=np.zeros(1), duration=0.0, fps=0.0)


def upright_rgb(image: Image.Image) -> Image.Image:
    """The picture as a viewer shows it, in RGB."""
    profile = image.info.get("icc_profile")
    with suppress(Exception):  # metadata that cannot be read says nothing
        image = ImageOps.exif_transpose(image)
    image = _eight_bits(image)
    if image.mode == "P" and "transparency" not in image.info:
        image = image.convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return _standard_colours(image, profile)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey scales of 16 or 32 bits or of floats as 8 bits: by the range of their type, or of the values it is used for
    (Pillow itself would cut all that is above 255)."""
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    largest = values.max(initial=0.0)
    if image.mode.startswith("I;16"):
        top = 65535
    else:
        usual = (255, 65535) if image.mode == "I" else (1, 255, 65535)
        top = next((top for top in usual if largest <= top), largest)
    return Image.fromarray((values * (255 / top)).round().clip(0, 255).astype(np.uint8))


def _standard_colours(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile and image.mode in ("RGB", "CMYK", "L"):
        with suppress(Exception):  # a profile that cannot be used, or a Pillow without colour management
            from PIL import ImageCms

            theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if image.mode != "RGB" or "sRGB" not in ImageCms.getProfileDescription(theirs):
                ours = ImageCms.createProfile("sRGB")
                return ImageCms.profileToProfile(image, theirs, ours, outputMode="RGB") or image
    return image.convert("RGB")


def _open(source: Any) -> Image.Image:
    heif = ("HEIF",) if _is_heif_head(_name_and_head(source)[1]) and knows_heif() else ()
    return Image.open(_openable(source), formats=(*FORMATS, *heif))


@cache
def knows_heif() -> bool:
    """Whether iPhones' HEIC can be read here: from the first such picture on, where what reads it is installed."""
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _openable(source: Any) -> Any:
    if isinstance(source, dict):
        data = source.get("bytes")
        return _openable(data if data is not None else source.get("path"))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if hasattr(source, "read"):
        source.seek(0)
        return source
    return Path(source)


def _name_and_head(source: Any) -> tuple[str, bytes]:
    """How a source is called, and its first bytes as far as they can be had."""
    if isinstance(source, dict):
        data = source.get("bytes")
        name = str(source.get("path") or "")
        return name, _name_and_head(data if data is not None else name)[1]
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "", bytes(source[:HEAD_BYTES])
    if hasattr(source, "read"):
        seekable = getattr(source, "seekable", None)
        if seekable is None or not seekable():
            return "", b""
        source.seek(0)
        head = source.read(HEAD_BYTES)
        source.seek(0)
        return str(getattr(source, "name", "")), head if isinstance(head, bytes) else b""
    if not isinstance(source, (str, os.PathLike)):
        return "", b""
    try:
        with open(source, "rb") as file:
            return os.fsdecode(source), file.read(HEAD_BYTES)
    except (OSError, ValueError):
        return os.fsdecode(source), b""


def _is_picture_head(head: bytes) -> bool:
    if head.startswith(HEADS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    return _is_heif_head(head) or (head[4:8] == b"ftyp" and head[8:12] in AVIF_BRANDS)


def _is_heif_head(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def _reason(source: Any, error: Exception) -> str:
    """Why, in words that are about the file and not about Pillow's parsers."""
    head = b"" if isinstance(source, Image.Image) else _name_and_head(source)[1]
    if _is_heif_head(head) and not knows_heif():
        return "HEIC needs pillow-heif: pip install 'dmae-video-search[heic]', or convert the picture to JPEG"
    if isinstance(error, Image.UnidentifiedImageError):
        return "empty" if not head else "not a picture of a kind that is known"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error, 120)

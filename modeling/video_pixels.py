"""From a decoded picture to upright RGB, and from RGB to the size a model takes."""

from fractions import Fraction

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from .video_range import HIGH_RANGE, standard_range

# AVColorSpace codes (ITU-T H.273) of the matrices that libswscale knows.
KNOWN_MATRICES = frozenset({1, 4, 5, 6, 7, 9})
# 8-bit 4:2:0 takes libswscale's vector code, within 3/255 of exact arithmetic; everything else is within 2/255. With
# ACCURATE_RND it would be 1/255 and 25 times slower.
CONVERSION = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT


class FrameConverter:
    """Turns decoded pictures into upright RGB arrays of one size, uint8 (H, W, 3).

    Args:
        size: shortest edge of the result in pixels, or None to keep each picture's own size.
        pixel_aspect: width of the pictures' pixels over their height; the result's are square.
    """

    def __init__(self, size: int | None = None, pixel_aspect: Fraction | float = 1):
        self.size = size
        self.pixel_aspect = pixel_aspect
        self.reformatter = VideoReformatter()
        self.shape: tuple[int, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        high_range = frame.color_trc in HIGH_RANGE
        matrix = display_matrix(frame)
        pixels = upright(self._rgb(frame, "rgb48le" if high_range else "rgb24"), matrix)
        if self.shape is None:
            height, width = square_pixels(pixels.shape[0], pixels.shape[1], self.pixel_aspect, is_turned(matrix))
            self.shape = (height, width) if self.size is None else shortest_edge_size(height, width, self.size)
        if high_range:
            pixels = pixels.astype(np.float32) / 65535
        if pixels.shape[:2] != self.shape:  # asked for, pixels not square, or a stream that changes its size midway
            planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
            pixels = resize(planes[None], self.shape)[0].permute(1, 2, 0).numpy()
        if high_range:
            pixels = standard_range(torch.from_numpy(np.ascontiguousarray(pixels)), frame.color_trc).numpy()
        return np.ascontiguousarray(pixels)

    def _rgb(self, frame: av.VideoFrame, form: str) -> np.ndarray:
        matrix = None if frame.colorspace in KNOWN_MATRICES or frame.format.is_rgb else guessed_matrix(frame)
        converted = self.reformatter.reformat(
            frame,
            format=form,
            src_colorspace=matrix,
            dst_color_range=ColorRange.JPEG,
            interpolation=CONVERSION,
            threads=1,
        )
        return converted.to_ndarray()


def guessed_matrix(frame: av.VideoFrame) -> Colorspace:
    """The matrix players assume where the stream names none: BT.709 for high definition, else BT.601."""
    return Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """The 2 x 2 part of the frame's display matrix (ISO/IEC 14496-12, 6.2.2), or None where there is none."""
    data = frame.side_data.get("DISPLAYMATRIX") if frame.side_data else None
    if data is None:
        return None
    return np.frombuffer(bytes(data), dtype=np.int32)[[0, 1, 3, 4]].reshape(2, 2)


def upright(pixels: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """Turns and mirrors (H, W, 3) pixels by quarter turns, the closest ones to what a display matrix asks."""
    if matrix is None or not matrix.any():
        return pixels
    a, b, c, d = matrix.ravel().astype(float)
    if is_turned(matrix):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    if a < 0:
        pixels = pixels[:, ::-1]
    if d < 0:
        pixels = pixels[::-1]
    return pixels


def is_turned(matrix: np.ndarray | None) -> bool:
    """Whether a display matrix makes x and y change places."""
    if matrix is None:
        return False
    a, b, c, d = np.abs(matrix.ravel().astype(float))
    return bool(b + c > a + d)


def square_pixels(height: int, width: int, aspect: Fraction | float, turned: bool) -> tuple[int, int]:
    """(height, width) of an upright picture whose pixels were `aspect` times as wide as high before it was turned:
    the side that is too short grows, as in players. Less than a percent is left alone.
    """
    if abs(aspect - 1) < 0.01:
        return height, width
    if turned:
        aspect = 1 / aspect
    return (height, round(width * aspect)) if aspect > 1 else (round(height / aspect), width)


def shortest_edge_size(height: int, width: int, edge: int) -> tuple[int, int]:
    """(height, width) with the shorter side `edge` long and the longer one rounded down, as in CLIP's processor."""
    if height <= width:
        return edge, max(int(edge * width / height), 1)
    return max(int(edge * height / width), 1), edge


def resize(pixels: torch.Tensor, size: tuple[int, int], mode: str = "bicubic") -> torch.Tensor:
    """Resizes (F, C, H, W) pixels with antialiasing, to the values that Pillow gives.

    uint8 stays uint8 (rounded and clipped); any floating type stays itself.
    """
    if tuple(pixels.shape[-2:]) == tuple(size):
        return pixels
    native = pixels.is_floating_point() or (pixels.dtype == torch.uint8 and pixels.device.type == "cpu")
    source = pixels if native else pixels.float()
    resized = torch.nn.functional.interpolate(source, size=tuple(size), mode=mode, antialias=True, align_corners=False)
    return resized if native else resized.round().clamp(0, 255).to(pixels.dtype)

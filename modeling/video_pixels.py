"""From a decoded picture to upright RGB of standard range, and from RGB to the size a model takes."""

from fractions import Fraction

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

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


# High dynamic range (PQ and HLG) to the standard range that models and screens expect.
PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
HIGH_RANGE = frozenset({PQ, HLG})

WHITE = 203.0  # cd/m2 of white paper in high dynamic range (ITU-R BT.2408)
PEAK = 1000.0  # cd/m2 of the brightest highlights: what HLG means, and what most PQ is graded for
GAMMA = 2.2  # of the screen that the result is shown on
BT2020_TO_BT709 = torch.tensor(  # linear light, ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
BT2020_LUMINANCE = torch.tensor([0.2627, 0.6780, 0.0593])


def standard_range(signal: torch.Tensor, transfer: int) -> torch.Tensor:
    """uint8 (..., 3) BT.709 of a float (..., 3) PQ or HLG signal in BT.2020, from 0 to 1.

    White keeps its place and highlights are compressed as ITU-R BT.2390 (5.4.1) has it, by luminance, so that colours
    keep their hue.
    """
    signal = signal.clamp(0, 1)
    light = _pq_light(signal) if transfer == PQ else _hlg_light(signal)  # cd/m2
    luminance = (light @ BT2020_LUMINANCE).clamp(min=1e-4)
    light = light * (_compressed(luminance) / luminance)[..., None]
    shown = (light / WHITE) @ BT2020_TO_BT709.T
    return (shown.clamp(0, 1) ** (1 / GAMMA) * 255).round().to(torch.uint8)


def _compressed(luminance: torch.Tensor) -> torch.Tensor:
    """The luminance on a screen that is no brighter than `WHITE` (BT.2390's curve: straight, then a spline)."""
    top = _pq_signal(torch.tensor(PEAK))
    highest = _pq_signal(torch.tensor(WHITE)) / top
    knee = 1.5 * highest - 0.5
    level = (_pq_signal(luminance) / top).clamp(max=1)
    t = (level - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * highest
    return _pq_light(torch.where(level < knee, level, spline) * top)


# SMPTE ST 2084
_M1, _M2 = 2610 / 16384, 2523 / 32
_C1, _C2, _C3 = 3424 / 4096, 2413 / 128, 2392 / 128


def _pq_light(signal: torch.Tensor) -> torch.Tensor:
    power = signal ** (1 / _M2)
    return 10_000 * ((power - _C1).clamp(min=0) / (_C2 - _C3 * power)) ** (1 / _M1)


def _pq_signal(light: torch.Tensor) -> torch.Tensor:
    power = (light / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _hlg_light(signal: torch.Tensor) -> torch.Tensor:
    """ITU-R BT.2100: the scene's light by the inverse of the camera's curve, then a screen of 1000 cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = torch.where(signal <= 0.5, signal**2 / 3, (torch.exp((signal - c) / a) + b) / 12)
    luminance = (scene @ BT2020_LUMINANCE).clamp(min=1e-6)
    return PEAK * luminance[..., None] ** 0.2 * scene

"""High dynamic range (PQ and HLG) to the standard range that models and screens expect."""

import torch

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

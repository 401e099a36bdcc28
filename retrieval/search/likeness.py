"""When two videos, or two spans, show the same: nearly every frame of the one has its like in the other.

Needs numpy alone, so that what needs no model can use it.
"""

from typing import NamedTuple

import numpy as np

from ..errors import VideoIndexError

NEAR_IDENTICAL = 0.95  # the cosine of frames that people take for the same picture, encoded once more
SHARE = 0.9  # of the one's frames that must have their like in the other
STILL_SHARE = 0.25  # of the other's frames, where the one is a single picture, which any film may hold somewhere
ROUNDING = 1e-5
BLOCK = 1024  # frames compared at a time


class Frames(NamedTuple):
    """`(F, D)` float32 unit-norm frames and their `(F,)` shares of the whole, which add up to 1."""

    embeds: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, embeds: np.ndarray, weights: np.ndarray) -> "Frames":
        """From frames of any norm and their weights, all above 0."""
        norms = np.linalg.norm(embeds, axis=1, keepdims=True)
        return cls(embeds / np.maximum(norms, 1e-12), weights / weights.sum())


class Likeness(NamedTuple):
    """Which frames of each have their like in the other, `(F,)` bool, and the shares that these are."""

    first: np.ndarray
    second: np.ndarray
    shares: tuple[float, float]

    @property
    def covers(self) -> bool:
        """Whether nearly every frame of one of the two has its like in the other."""
        return max(self.shares) >= SHARE - ROUNDING


def check_cosine(name: str, value) -> float:
    """A cosine above which frames are near-identical.

    Raises:
        VideoIndexError: it is no number above 0 and at most 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value <= 1:
        raise VideoIndexError(f"{name} must be a cosine in (0, 1], such as {NEAR_IDENTICAL}, got {value!r}")
    return float(value)


def compare(first: Frames, second: Frames, above: float) -> Likeness:
    """Which frames of two videos are like one of the other's: a cosine of at least `above`."""
    in_first, in_second = np.zeros(len(first.embeds), bool), np.zeros(len(second.embeds), bool)
    for start in range(0, len(in_first), BLOCK):
        for other in range(0, len(in_second), BLOCK):
            rows, columns = slice(start, start + BLOCK), slice(other, other + BLOCK)
            alike = first.embeds[rows] @ second.embeds[columns].T >= above - ROUNDING
            in_first[rows] |= alike.any(axis=1)
            in_second[columns] |= alike.any(axis=0)
    shares = float(first.shares[in_first].sum()), float(second.shares[in_second].sum())
    return Likeness(in_first, in_second, shares)


def near_identical(first: Frames, second: Frames, above: float, likeness: Likeness | None = None) -> bool:
    """Whether the one shows what the other shows, or a part of it.

    A video that is one picture from beginning to end, such as black, is part of another only where it is a quarter of
    it: else it would be part of every film that fades.

    Args:
        above: the cosine from which two frames are alike. likeness: what `compare` says of the two, if known.
    """
    likeness = likeness or compare(first, second, above)
    if not likeness.covers:
        return False
    part = first if likeness.shares[0] >= likeness.shares[1] else second
    return min(likeness.shares) >= STILL_SHARE or not _is_still(part, above)


def _is_still(frames: Frames, above: float) -> bool:
    mean = frames.shares @ frames.embeds
    return bool((frames.embeds @ mean).min() >= (above - ROUNDING) * np.linalg.norm(mean))

"""Pairs of videos that may share nearly all frames, found without comparing every frame with every other.

As in an inverted file, each frame lies in the cell of its nearest pivot, one of about √F frames chosen by chance; and
as in the prefix filter of set-similarity joins (Chaudhuri et al., ICDE 2006; Bayardo et al., WWW 2007), a video is
looked for by a quarter of its frames, those that lie in the emptiest cells: two videos that share nine tenths of their
frames share some of these, and what every film has, such as black, is hardly ever among them.

Frames are compared by their shadows: their coordinates along the directions in which the index' frames differ most,
and the length of what is left. Their dot product is at least that of the frames, so that no pair is lost to them.
"""

import numpy as np

from ..search.likeness import SHARE

SHADOW = 64  # numbers per frame
SHADOW_ROUNDING = 2e-3  # of dot products of shadows in half precision
LOOKED_FOR = 0.25  # of each video's frames; more than 1 - SHARE
PROBED = 16  # cells that a frame is looked for in
EXACT = 8192  # frames up to which all lie in one cell
BLOCK = 8192  # frames that are given a cell at a time
PRODUCTS = 4_000_000  # compared at a time

assert LOOKED_FOR > 1 - SHARE


class Shadows:
    """Makes `(F, S)` float32 unit-norm shadows of `(F, D)` unit-norm frames.

    Args:
        sample: `(N, D)` frames from all over the index.
    """

    def __init__(self, sample: np.ndarray):
        self._basis = None
        if sample.shape[1] > SHADOW:
            _, vectors = np.linalg.eigh(sample.T @ sample)
            self._basis = np.ascontiguousarray(vectors[:, 1 - SHADOW :], np.float32)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        if self._basis is None:
            return frames
        along = frames @ self._basis
        rest = np.sqrt(np.maximum(1 - np.square(along).sum(axis=1, keepdims=True), 0))
        return np.concatenate([along, rest], axis=1)


def alike_pairs(shadows: np.ndarray, shares: np.ndarray, owners: np.ndarray, above: float) -> np.ndarray:
    """`(P, 2)` pairs of videos with a frame in common, the smaller number first, sorted.

    Args:
        shadows: `(F, S)`. shares: `(F,)` of its video that a frame is. owners: `(F,)` its video, from 0, ascending.
        above: cosine from which two frames are alike.
    """
    pivots = _pivots(shadows, np.random.default_rng(0))
    cells = np.concatenate([_nearest(part, pivots, 1)[:, 0] for part in _blocks(shadows)])
    wanted = _looked_for(np.bincount(cells, minlength=len(pivots))[cells], shares, owners)
    probed = np.concatenate([_nearest(part, pivots, PROBED) for part in _blocks(shadows[wanted])])
    members, looking = _by_cell(cells, len(pivots)), _by_cell(probed.ravel(), len(pivots))
    least = np.float32(above - SHADOW_ROUNDING)
    found = [np.empty(0, np.int64)]
    for cell in range(len(pivots)):
        held = members[cell]
        asked = wanted[looking[cell] // probed.shape[1]]
        frames = shadows[held].astype(np.float32)
        step = max(1, PRODUCTS // max(1, len(held)))
        for start in range(0, len(asked), step):
            part = asked[start : start + step]
            rows, columns = np.nonzero(shadows[part].astype(np.float32) @ frames.T >= least)
            one, other = owners[part[rows]], owners[held[columns]]
            low, high = np.minimum(one, other), np.maximum(one, other)
            found.append(np.unique(low[low < high].astype(np.int64) << 32 | high[low < high]))
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1)


def _pivots(shadows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    count = 1 if len(shadows) <= EXACT else round(len(shadows) ** 0.5)
    return shadows[np.sort(random.choice(len(shadows), count, replace=False))].astype(np.float32)


def _blocks(shadows: np.ndarray):
    return (shadows[start : start + BLOCK].astype(np.float32) for start in range(0, max(1, len(shadows)), BLOCK))


def _nearest(frames: np.ndarray, pivots: np.ndarray, count: int) -> np.ndarray:
    """`(N, count)` cells whose pivots are nearest, or all where they are fewer."""
    if count >= len(pivots):
        return np.tile(np.arange(len(pivots)), (len(frames), 1))
    nearness = frames @ pivots.T
    return nearness.argmax(axis=1)[:, None] if count == 1 else np.argpartition(-nearness, count, axis=1)[:, :count]


def _looked_for(crowd: np.ndarray, shares: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """The frames of each video that lie in the emptiest cells, just over `LOOKED_FOR` of it."""
    order = np.lexsort((crowd, owners))
    before = np.cumsum(shares[order].astype(np.float64)) - shares[order]
    firsts = np.flatnonzero(np.r_[True, np.diff(owners[order]) > 0])
    before -= np.repeat(before[firsts], np.diff(np.r_[firsts, len(order)]))
    return order[before <= LOOKED_FOR]


def _by_cell(cells: np.ndarray, count: int) -> list[np.ndarray]:
    """Positions of each cell."""
    order = np.argsort(cells, kind="stable")
    return np.split(order, np.searchsorted(cells[order], np.arange(1, count)))

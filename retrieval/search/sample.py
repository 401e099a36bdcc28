"""The sample of an index by which its scores are judged, the same wherever the index lies.

A segment's place in the sample follows from its video's id and its number alone: a hash of the two is its key, and the
segments of the lowest keys are the sample. So it does not depend on the order in which videos came, nor on what a
process has in memory; and of an index in parts, the lowest keys of all parts together are those of the whole (a
bottom-k sketch; Cohen and Kaplan, "Summarizing data using bottom-k sketches", PODC 2007).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from .scoring import CandidateFrames

SAMPLE = 256  # segments


class Sample(NamedTuple):
    """S segments by their keys, the lowest first.

    Attributes:
        keys: `(S,)` uint64. frames: of S videos.
    """

    keys: np.ndarray
    frames: CandidateFrames

    def first(self, count: int) -> "Sample":
        return Sample(self.keys[:count], CandidateFrames(*(part[:count] for part in self.frames)))


def sample_keys(videos: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """`(N,)` uint64 keys of segments, from the `(N,)` int64 hashes of their videos' ids and their numbers."""
    keys = videos.view(np.uint64) ^ (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64: each bit moves all
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(31))


def lowest(keys: np.ndarray) -> np.ndarray:
    """The positions of the sample among keys, the lowest first."""
    if len(keys) > SAMPLE:
        found = np.argpartition(keys, SAMPLE - 1)[:SAMPLE]
    else:
        found = np.arange(len(keys))
    return found[np.argsort(keys[found])]


def shares(keys: Mapping[str, np.ndarray]) -> dict[str, int]:
    """How many of each part's own sample, from its lowest key on, are in the sample of all parts together."""
    together = np.concatenate([*keys.values(), np.empty(0, np.uint64)])
    if not len(together):
        return dict.fromkeys(keys, 0)
    last = together[lowest(together)][-1]
    return {name: int((own <= last).sum()) for name, own in keys.items()}


def merged(parts: Sequence[Sample]) -> Sample:
    """One sample of several."""
    keys = np.concatenate([part.keys for part in parts])
    longest = max(part.frames.weights.shape[1] for part in parts)
    padded = [_padded(part.frames, longest) for part in parts]
    order = lowest(keys)
    frames = CandidateFrames(*(torch.cat(own)[torch.from_numpy(order)] for own in zip(*padded)))
    return Sample(keys[order], frames)


def _padded(frames: CandidateFrames, length: int) -> CandidateFrames:
    """The same with `length` frames of each video."""
    missing = length - frames.weights.shape[1]
    filled = (torch.cat([part, part[:, :1].expand(-1, missing, *part.shape[2:])], dim=1) for part in frames)
    embeds, weights, nearest, gains = filled
    return CandidateFrames(embeds, weights.index_fill(1, torch.arange(length - missing, length), 0), nearest, gains)

"""Cutting a long video: at every hard cut, never longer than asked, the same in whatever pieces the frames come."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmae.retrieval.indexing.segmentation import STRETCH, Segmenter, segment_lengths


def film(lengths, seed=0, dim=32, unrest=0.1):
    """Unit-norm frames of scenes of these lengths: each around a direction of its own."""
    rng = np.random.default_rng(seed)
    scenes = rng.normal(size=(len(lengths), dim))
    scenes /= np.linalg.norm(scenes, axis=1, keepdims=True)
    frames = np.repeat(scenes, lengths, axis=0)
    frames = frames + unrest * rng.normal(size=frames.shape) / dim**0.5
    return (frames / np.linalg.norm(frames, axis=1, keepdims=True)).astype(np.float32)


def ends(lengths):
    return set(np.cumsum(lengths).tolist())


@settings(max_examples=40, deadline=None)
@given(
    scenes=st.lists(st.integers(2, 40), min_size=2, max_size=25),
    longest=st.integers(1, 12),
    unrest=st.sampled_from([0.0, 0.05, 0.2]),
)
def test_segments_cover_the_video_are_short_enough_and_cross_no_hard_cut(scenes, longest, unrest):
    lengths = segment_lengths(film(scenes, unrest=unrest), longest)
    assert sum(lengths) == sum(scenes)
    assert max(lengths) <= longest and min(lengths) >= 1
    assert ends(scenes) <= ends(lengths)


def test_a_change_without_a_hard_cut_is_found():
    rng = np.random.default_rng(1)
    a, b = np.linalg.qr(rng.normal(size=(32, 2)))[0].T
    turn = np.concatenate([np.zeros(10), np.linspace(0, np.pi / 2, 5), np.full(9, np.pi / 2)])
    frames = np.cos(turn)[:, None] * a + np.sin(turn)[:, None] * b
    lengths = segment_lengths(frames.astype(np.float32), 12)
    assert len(lengths) <= 4
    assert any(9 <= end <= 14 for end in ends(lengths))


def test_a_still_film_takes_the_fewest_segments():
    still = np.tile(film([1], unrest=0.0), (100, 1))
    noisy = film([100], unrest=0.01)
    for frames in (still, noisy):
        assert len(segment_lengths(frames, 12)) == 9


@settings(max_examples=25, deadline=None)
@given(
    pieces=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    longest=st.sampled_from([1, 4, 12]),
    data=st.data(),
)
def test_pieces_do_not_matter(pieces, longest, data):
    total = sum(pieces)
    scenes = []
    while sum(scenes) < total:
        scenes.append(data.draw(st.integers(2, 60)))
    frames = film(scenes)[:total]
    segmenter, lengths, start = Segmenter(longest), [], 0
    for piece in pieces:
        lengths += segmenter.push(frames[start : start + piece])
        start += piece
    lengths += segmenter.finish()
    whole = Segmenter(longest)
    assert lengths == whole.push(frames) + whole.finish()
    assert sum(lengths) == total


def test_what_waits_is_bounded_and_a_sure_end_is_a_fresh_start():
    frames = film([7] * 400)
    segmenter, lengths, most = Segmenter(4), [], 0
    for start in range(0, len(frames), 50):
        lengths += segmenter.push(frames[start : start + 50])
        most = max(most, start + 50 - sum(lengths))
    assert most <= STRETCH * 4 + 100
    done = sum(lengths)
    again = Segmenter(4)
    assert segmenter.finish() == again.push(frames[done:]) + again.finish()


def test_no_segment_without_a_frame():
    assert Segmenter(3).finish() == []
    assert segment_lengths(film([1]), 3) == [1]
    with pytest.raises(ValueError, match="at least one frame"):
        Segmenter(0)

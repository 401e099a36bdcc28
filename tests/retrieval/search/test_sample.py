"""The sample of an index: the same in whatever order, process and number of tables its videos lie."""

import numpy as np
import torch
from embeddings import videos
from hypothesis import given, settings
from hypothesis import strategies as st

from dmae.retrieval import VideoIndex
from dmae.retrieval.search.limits import SearchLimits
from dmae.retrieval.search.sample import SAMPLE, Sample, lowest, merged, sample_keys, shares
from dmae.retrieval.search.scoring import CandidateFrames
from dmae.retrieval.storage.rows import make_rows
from dmae.retrieval.storage.schema import IndexSettings
from dmae.retrieval.storage.table import VideoTable

DIM = 8


def frames_for(keys: np.ndarray, length: int) -> CandidateFrames:
    """Frames that tell which key they belong to, one of them real."""
    embeds = torch.from_numpy((keys % np.uint64(1000)).astype(np.float32))[:, None, None].expand(-1, length, DIM)
    weights = torch.zeros(len(keys), length)
    weights[:, :1] = 1
    return CandidateFrames(embeds, weights, torch.zeros(len(keys), length, dtype=torch.int64), weights)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=5), st.integers(0, 2**32))
def test_the_samples_of_parts_make_that_of_the_whole(sizes, seed):
    rng = np.random.default_rng(seed)
    own = [sample_keys(rng.integers(-(2**63), 2**63, size), rng.integers(0, 9, size)) for size in sizes]
    samples = {str(n): keys[lowest(keys)] for n, keys in enumerate(own)}
    whole = np.sort(np.concatenate(own))[:SAMPLE]
    counts = shares(samples)
    assert sum(counts.values()) == len(whole)
    parts = [
        Sample(keys, frames_for(keys, n + 1)).first(counts[name])
        for n, (name, keys) in enumerate(samples.items())
        if counts[name]
    ]
    if parts:
        together = merged(parts)
        np.testing.assert_array_equal(together.keys, whole)
        embeds, weights = together.frames.embeds.numpy(), together.frames.weights.numpy()
        np.testing.assert_array_equal(embeds[:, 0, 0], (whole % np.uint64(1000)).astype(np.float32))
        assert (weights.sum(axis=1) == 1).all() and (embeds == embeds[:, :1, :1]).all()


def test_numbers_and_ids_that_follow_one_another_have_keys_of_no_order():
    keys = sample_keys(np.arange(-500, 500), np.zeros(1000, np.int64))
    of_a_film = sample_keys(np.zeros(1000, np.int64), np.arange(1000))
    for found in (keys, of_a_film):
        assert len(set(found.tolist())) == 1000
        assert abs(np.corrcoef(np.arange(1000), found.astype(float))[0, 1]) < 0.15
        assert 0.4 < (found < np.uint64(2**63)).mean() < 0.6


def index_of(place, ids, frames, **options) -> VideoIndex:
    index = VideoIndex.create(place, dim=DIM, **options)
    index.add_embeddings(ids, frames)
    return index


def sample_of(index: VideoIndex) -> Sample:
    return index._searcher.sample()[1]


def assert_same(one: Sample, other: Sample) -> None:
    np.testing.assert_array_equal(one.keys, other.keys)
    for mine, theirs in zip(one.frames, other.frames):
        torch.testing.assert_close(mine, theirs)


def test_it_is_the_same_in_any_order_and_in_any_process(tmp_path):
    frames, _ = videos(700, frames=2, dim=DIM)
    ids = [f"v{n}" for n in range(700)]
    index = index_of(tmp_path / "index", ids, frames)
    first = sample_of(index)
    assert len(first.keys) == SAMPLE and (np.diff(first.keys) > 0).all()
    backwards = index_of(tmp_path / "backwards", ids[::-1], frames.flip(0))
    assert_same(first, sample_of(backwards))
    index.prepare()
    index._searcher.source._sample = (None, None)
    assert_same(first, sample_of(index))  # of what is in memory
    beyond = VideoIndex.open(tmp_path / "index", limits=SearchLimits(exact_limit=10))
    beyond.table.build_vector_index()
    assert_same(first, sample_of(beyond))  # of what no memory holds
    assert beyond._searcher.source.resident is None
    index.delete(ids[:650])
    left = sample_of(index)
    assert_same(left, sample_of(index_of(tmp_path / "left", ids[650:], frames[650:])))
    index.delete(ids[650:])
    assert sample_of(index) is None


def test_an_index_of_format_1_has_the_sample_of_one_of_format_2(tmp_path):
    frames, mask = videos(300, frames=2, dim=DIM)
    ids = [f"v{n}" for n in range(300)]
    table = VideoTable.create(tmp_path / "old", IndexSettings(DIM, format=1))
    table.write(make_rows(table.settings, ids, frames, torch.ones_like(mask)))
    new = index_of(tmp_path / "new", ids, frames)
    for warm in (False, True):
        old = VideoIndex.open(tmp_path / "old")
        if warm:
            old.prepare()
        assert_same(sample_of(old), sample_of(new))

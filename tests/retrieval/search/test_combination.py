"""Queries of several parts: what each part does to the score, in both stages, and how it is explained."""

import numpy as np
import pytest
import torch
from embeddings import texts, videos
from training_parts import tiny_model

from dmae.modeling import dmae_similarity
from dmae.modeling.features import TextFeatures
from dmae.retrieval import SearchLimits, VideoIndex, VideoIndexError
from dmae.retrieval.search.combination import Combination, combine
from dmae.retrieval.search.query import EncodedQuery

COUNT, DIM = 900, 32


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Frames, their mask, four texts about the first four videos, and the index; videos 0 and 1 are alike."""
    frames, mask = videos(COUNT, dim=DIM)
    frames[1] = torch.nn.functional.normalize(frames[0] + 0.02 * torch.randn(frames[0].shape), dim=-1)
    frames[2, :] = torch.nn.functional.normalize(frames[0] + frames[3], dim=-1)  # shows both
    mask[:4] = 1
    features = TextFeatures(*texts(frames, 4))
    asked = [EncodedQuery(features[n : n + 1], f"text {n}") for n in range(4)]
    index = VideoIndex.create(tmp_path_factory.mktemp("index") / "i", dim=DIM, dtype="float32")
    index.add_embeddings([f"v{i}" for i in range(COUNT)], frames, mask)
    exact = dmae_similarity(*features, frames, mask)
    return frames, mask, asked, index, exact


def ids(hits):
    return [hit.id for hit in hits]


def best(scores, k=10):
    return [f"v{i}" for i in scores.topk(k).indices.tolist()]


@pytest.mark.parametrize("warm", [False, True])
def test_each_combination_is_exact_over_the_whole_index(corpus, warm):
    *_, asked, index, exact = corpus
    if warm:
        index.prepare()
    searcher = index._searcher
    expected = {
        "alternatives": exact[:2].amax(0),
        "also": exact[:2].mean(0),
    }
    for name, scores in expected.items():
        query = combine(
            asked[0], *((asked[1],) if part == name else () for part in ("alternatives", "also", "without"))
        )
        hits = searcher.search_combined(query, 10)
        assert ids(hits) == best(scores)
        np.testing.assert_allclose([hit.score for hit in hits], scores.topk(10).values, atol=1e-5)
    query = combine(asked[0], (), (), (asked[3],))
    hits = searcher.search_combined(query, 10)
    searcher.source.refresh(with_frames=warm)
    mean = Combination.of(query, searcher.options, searcher.source.sample().frames).means[1]
    scores = exact[0] - 2 * (exact[3] - mean).clamp(min=0)
    assert ids(hits) == best(scores)
    np.testing.assert_allclose([hit.score for hit in hits], scores.topk(10).values, atol=1e-5)


def test_without_pushes_down_what_matches_and_nothing_else(corpus):
    *_, asked, index, _ = corpus
    plain = ids(index._searcher.search(asked[0].features, 5)[0])
    assert set(plain[:3]) == {"v0", "v1", "v2"}
    pushed = ids(index._searcher.search_combined(combine(asked[0], (), (), (asked[3],)), 5))
    assert set(pushed[:2]) == {"v0", "v1"} and "v2" not in pushed


def test_an_example_beside_a_text_counts_on_the_scale_of_the_text(corpus):
    frames, _, asked, index, exact = corpus
    like = EncodedQuery(TextFeatures(frames[3:4].mean(1), frames[3:4], torch.ones(1, frames.shape[1])))
    hits = index._searcher.search_combined(combine(asked[0], (), (like,), ()), 10)
    assert hits[0].id == "v2"
    assert exact[0].min() < hits[0].score < exact.max()


def test_stage_one_narrows_by_the_combination(corpus, tmp_path):
    """What a single part would not bring among the candidates, the combination does."""
    frames, mask, asked, _, exact = corpus
    index = VideoIndex.create(tmp_path / "i", dim=DIM, dtype="float32", limits=SearchLimits(candidates=40))
    index.add_embeddings([f"v{i}" for i in range(COUNT)], frames, mask)
    hits = index._searcher.search_combined(combine(asked[0], (asked[3],), (), ()), 10)
    assert ids(hits) == best(exact[[0, 3]].amax(0))


def test_a_vector_index_narrows_combinations_too(corpus, tmp_path):
    frames, mask, asked, _, exact = corpus
    limits = SearchLimits(candidates=100, exact_limit=500)
    index = VideoIndex.create(tmp_path / "i", dim=DIM, dtype="float32", limits=limits)
    index.add_embeddings([f"v{i}" for i in range(COUNT)], frames, mask)
    index.optimize()
    assert index.stats()["stage_one"] == "Lance vector index"
    hits = index._searcher.search_combined(combine(asked[0], (asked[3],), (), ()), 5)
    assert ids(hits)[:4] == best(exact[[0, 3]].amax(0), 4)


def test_the_parts_are_explained_and_bad_ones_refused(tmp_path):
    model, processor = tiny_model()
    index = VideoIndex.create(tmp_path / "i", model, processor)
    frames, mask = videos(20, frames=3, dim=model.config.projection_dim)
    index.add_embeddings([f"v{i}" for i in range(20)], frames, mask)
    picture = np.zeros((32, 32, 3), np.uint8)
    parts = {"alternatives": "a cross", "also": ["a ring"], "like": picture, "without": "people"}
    query = index.encode("a red star", **parts)
    hit = index.search("a red star", k=1, **parts)[0]
    explained = index.explain(query, hit.id)
    assert explained.words == ["a", "red", "star", "or a cross", "and a ring", "like the example", "without people"]
    assert explained.similarity.shape == (7, len(hit.frame_scores)) and explained.score == pytest.approx(hit.score)
    assert index.rescore(query, [hit.id])[0].score == pytest.approx(hit.score, abs=1e-6)
    assert ids(index.search(query, k=1)) == [hit.id]
    with pytest.raises(VideoIndexError, match="without the same example leaves nothing"):
        index.search("a red star", like=picture, without=picture.copy())
    refused = {
        "leaves nothing": {"without": " A red  star"},
        "is empty": {"without": ""},
        "no file": {"like": tmp_path / "none.jpg"},
        "a query is": {"also": [3.5]},
        "is a folder: name one file": {"like": str(tmp_path)},
        "'a ring' is none": {"like": ["a ring"]},
        "'a cross' is none": {"like": index.encode("a cross")},
    }
    for message, bad in refused.items():
        with pytest.raises(VideoIndexError, match=message):
            index.search("a red star", **bad)

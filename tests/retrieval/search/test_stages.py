"""The two stages by themselves: dot products in every storage, and how far down the candidates stage two goes."""

import pytest
import torch
from embeddings import exhaustive, texts, videos
from torch.nn.functional import normalize

from dmae.modeling.features import TextFeatures
from dmae.retrieval import SearchLimits, VideoIndex
from dmae.retrieval.search import stages
from dmae.retrieval.search.combination import Combination, Queries
from dmae.retrieval.search.scoring import ScoreOptions
from dmae.retrieval.search.stages import least_promising
from dmae.retrieval.storage import principal
from dmae.retrieval.storage import vectors as storage
from dmae.retrieval.storage.principal import PrincipalVectors
from dmae.retrieval.storage.vectors import VectorArray


@pytest.mark.parametrize("fast_int8", [True, False])
@pytest.mark.parametrize("dtype, error", [("int8", 0.02), ("float16", 0.002), ("float32", 1e-6)])
@pytest.mark.parametrize("queries", [1, 3])
def test_dot_products_of_every_storage(dtype, error, fast_int8, queries, monkeypatch):
    if fast_int8 and not storage.int8_is_fast():
        pytest.skip("this processor has no int8 products")
    monkeypatch.setattr(storage, "int8_is_fast", lambda: fast_int8)
    generator = torch.Generator().manual_seed(0)
    rows = normalize(torch.randn(5000, 64, generator=generator), dim=1)
    vectors = 3 * torch.randn(queries, 64, generator=generator)
    stored, scales = storage.quantise(rows) if dtype == "int8" else (rows.to(getattr(torch, dtype)), None)
    array = VectorArray(64, stored.dtype)
    for start in (0, 2000):
        stop = start + 2000 if start == 0 else None
        array.append(stored[start:stop], None if scales is None else scales[start:stop])
    products = array.multiply(vectors)
    expected = vectors @ rows.t()
    assert products.shape == (queries, 5000) and products.dtype == torch.float32
    assert float((products - expected).abs().max()) < error * float(vectors.norm(dim=1).max())
    positions = torch.tensor([4999, 0, 2000])
    torch.testing.assert_close(array[positions], rows[positions], atol=error, rtol=0)


def test_the_best_of_blocks_are_the_best_of_all(monkeypatch):
    monkeypatch.setattr(stages, "BLOCK", 3 * 64)
    rows = torch.randn(1000, 16, generator=torch.Generator().manual_seed(0))
    allowed = torch.rand(1000, generator=torch.Generator().manual_seed(1)) < 0.2
    allowed[64:128] = False  # nothing of a whole block
    pooled = PrincipalVectors(16, torch.float32)
    pooled.append(rows)
    features = TextFeatures(rows[:3], rows[:6].view(3, 2, 16), torch.zeros(3, 2))
    queries = Queries([(features, ScoreOptions(textual_attention=False, visual_attention=False))])
    for count in (10, 100, 900):
        scores, positions = stages.best_by_pooled(queries, pooled, allowed, count)
        expected = (rows[:3] @ rows.t()).masked_fill(~allowed, -torch.inf).topk(min(count, int(allowed.sum())))
        torch.testing.assert_close(scores, expected.values)
        assert torch.equal(positions, expected.indices)


@pytest.mark.parametrize("spread", [0.02, 1.0], ids=["few dimensions tell", "all dimensions tell"])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.03])
def test_narrowing_by_the_leading_dimensions_finds_what_whole_products_do(spread, share, monkeypatch):
    monkeypatch.setattr(stages, "SHORTLIST", 60)
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.where(torch.arange(128) < 24, 1.0, spread)
    rows = normalize(torch.randn(2000, 128, generator=generator) * spectrum + 0.5, dim=1)
    allowed = torch.rand(2000, generator=generator) < share
    monkeypatch.setattr(principal, "LEAST_TOLD", 0.0)
    pooled = PrincipalVectors(128, torch.float32)
    pooled.append(rows)
    features = TextFeatures(rows[:3], rows[:6].view(3, 2, 128), torch.ones(3, 2))
    one = [(features[:1], ScoreOptions()), (features[1:2], ScoreOptions()), (features[2:], ScoreOptions())]
    combination = Combination(1, 0, 1, torch.zeros(3), torch.ones(3), torch.zeros(3, dtype=torch.bool))
    for queries in (Queries([(features, ScoreOptions())]), Queries(one, combination)):
        scores, positions = stages.best_by_pooled(queries, pooled, allowed, 10)
        whole = queries.combine(queries.vectors @ rows.t()).masked_fill(~allowed, -torch.inf).topk(10)
        torch.testing.assert_close(scores, whole.values)
        assert torch.equal(positions, whole.indices)


def test_few_whole_products_are_taken_where_the_leading_dimensions_tell(monkeypatch):
    monkeypatch.setattr(stages, "SHORTLIST", 60)
    taken = []
    multiply = PrincipalVectors.multiply
    monkeypatch.setattr(
        PrincipalVectors, "multiply", lambda self, vectors, at: taken.append(len(at)) or multiply(self, vectors, at)
    )
    spectrum = torch.where(torch.arange(128) < 24, 1.0, 0.02)
    rows = normalize(torch.randn(2000, 128, generator=torch.manual_seed(0)) * spectrum, dim=1)
    pooled = PrincipalVectors(128, torch.float32)
    pooled.append(rows)
    queries = Queries([(TextFeatures(rows[:1], rows[None, :2], torch.ones(1, 2)), ScoreOptions())])
    stages.best_by_pooled(queries, pooled, torch.ones(2000, dtype=torch.bool), 10)
    assert taken == [60]


def test_what_follows_the_line_closely_rules_the_rest_out():
    narrow = torch.linspace(1, 0.5, 100)[None]
    noise = 0.001 * torch.randn(1, 100, generator=torch.Generator().manual_seed(0))
    least = least_promising(narrow, 0.6 * narrow + 0.1 + noise, wanted=10)
    tenth = float(narrow[0, 9])
    assert tenth - 0.02 < float(least[0]) < tenth


def test_nothing_is_ruled_out_where_the_stages_disagree():
    narrow = torch.linspace(1, 0.5, 100)[None]
    gone = -narrow + 2
    gone[0, 3] = -torch.inf
    rising = narrow.clone()
    rising[0, 3] = -torch.inf
    for full in (-narrow, torch.zeros(1, 100), gone, rising):
        assert float(least_promising(narrow, full, wanted=10)) == -torch.inf
    assert float(least_promising(narrow[:, :10], narrow[:, :10], wanted=10)) == -torch.inf


def test_stage_two_goes_as_far_as_it_must(tmp_path, monkeypatch):
    """Texts about no video in particular: the first candidates hold only some of the best ten."""
    frame_embeds, mask = videos(3000, frames=4, dim=16, spread=1.5)
    generator = torch.Generator().manual_seed(5)
    sentences, words = (normalize(torch.randn(*s, 16, generator=generator), dim=-1) for s in ((12,), (12, 5)))
    queries = (sentences, words, torch.ones(12, 5))
    index = VideoIndex.create(tmp_path / "i", dim=16, limits=SearchLimits(candidates=1500))
    index.add_embeddings([f"v{i}" for i in range(3000)], frame_embeds, mask)
    index.prepare()
    monkeypatch.setattr(stages, "FIRST", 40)

    def overlap():
        hits = index.search_embeddings(*queries, k=10)
        found = [{h.id for h in row} & {f"v{p}" for p in best} for row, best in zip(hits, positions.tolist())]
        return sum(map(len, found)) / positions.numel()

    _, positions = exhaustive(queries, frame_embeds, mask)
    assert overlap() >= 0.99
    monkeypatch.setattr(stages, "DEVIATIONS", -100.0)
    assert overlap() < 0.9


def test_a_batch_of_queries_gets_the_hits_of_each_alone(tmp_path):
    frame_embeds, mask = videos(700)
    queries = texts(frame_embeds, 70)
    index = VideoIndex.create(tmp_path / "i", dim=32, limits=SearchLimits(candidates=300))
    times = torch.arange(frame_embeds.shape[1]).expand(mask.shape) + 0.5
    index.add_embeddings([f"v{i}" for i in range(700)], frame_embeds, mask, frame_times=times)
    alone = lambda: [index.search_embeddings(*(p[a : a + 1] for p in queries), k=5)[0] for a in range(70)]  # noqa: E731
    from_table = index.search_embeddings(*queries, k=5)
    for hits in (from_table, index.search_embeddings(*queries, k=5)):
        for one, same in zip(alone(), hits):
            assert [h.id for h in one] == [h.id for h in same]
            for a, b in zip(one, same):
                assert abs(a.score - b.score) < 1e-5
                assert (a.start, a.end, a.best_time) == (b.start, b.end, b.best_time)
                torch.testing.assert_close(torch.tensor(a.frame_scores), torch.tensor(b.frame_scores))


def test_queries_that_must_go_further_go_together_with_their_like(monkeypatch):
    monkeypatch.setattr(stages, "FIRST", 10)
    stops = [10, 40, 300, 12, 5, 290, 11, 38, 10, 13]
    groups = list(stages._unfinished(stops, 10))
    assert groups == [[2], [5], [1], [7], [9, 3, 6]]
    assert list(stages._unfinished([10, 3], 10)) == []


def test_candidates_deleted_meanwhile_are_left_out(tmp_path):
    frame_embeds, mask = videos(300)
    queries = TextFeatures(*(part for part in texts(frame_embeds, 4)))
    index = VideoIndex.create(tmp_path / "i", dim=32)
    index.add_embeddings([f"v{i}" for i in range(300)], frame_embeds, mask)
    searcher = index._searcher
    searcher.source.refresh(with_frames=False)
    (candidates,) = searcher.source(Queries([(queries, searcher.options)]), 50, None)
    before = stages.rank(candidates, 5)
    best = before[0][0][0]
    row_ids = index.table.scan(["id"])
    names = dict(zip(row_ids["_rowid"].to_pylist(), row_ids["id"].to_pylist()))
    index.delete(names[best])
    after = stages.rank(candidates, 5)
    assert [hit[0] for hit in after[0]][:4] == [hit[0] for hit in before[0]][1:]
    index.delete(list(set(names.values()) - {names[best]}))
    assert stages.rank(candidates, 5) == [[]] * 4

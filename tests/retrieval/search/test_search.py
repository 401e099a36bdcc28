"""Two-stage search returns what the exhaustive DMAE similarity ranks, with its scores."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from embeddings import exhaustive, texts, videos

from dmae.modeling import TextFeatures
from dmae.retrieval import SearchLimits, VideoIndex, VideoIndexError
from dmae.retrieval.search.scoring import CandidateFrames, ScoreOptions, score_each
from dmae.retrieval.storage.rows import merge_frames

COUNT = 1500
DIM = 32


def make_index(folder, frame_embeds, mask, *, limits=None, dtype="float32", model=None, **options):
    index = VideoIndex.create(folder, dim=frame_embeds.shape[2], dtype=dtype, limits=limits, **options)
    times = np.tile(np.arange(mask.shape[1], dtype=np.float32) * 2 + 1, (len(mask), 1))
    metadata = [{"duration": float(i), "kind": "chef's" if i % 3 == 0 else "other"} for i in range(len(mask))]
    index.add_embeddings([f"v{i}" for i in range(len(mask))], frame_embeds, mask, metadata, frame_times=times)
    return index


@pytest.fixture(scope="module")
def corpus():
    frame_embeds, mask = videos(COUNT, dim=DIM)
    return frame_embeds, mask, texts(frame_embeds, 6)


@pytest.fixture(scope="module")
def index(corpus, tmp_path_factory):
    limits = SearchLimits(candidates=200)
    return make_index(tmp_path_factory.mktemp("index") / "i", *corpus[:2], limits=limits)


def overlap(hits, positions):
    found = [{h.id for h in row} & {f"v{p}" for p in wanted.tolist()} for row, wanted in zip(hits, positions)]
    return sum(map(len, found)) / positions.numel()


def test_hits_are_the_exhaustive_top_with_its_scores(corpus, index):
    frame_embeds, mask, queries = corpus
    values, positions = exhaustive(queries, frame_embeds, mask)
    for _ in range(2):  # candidates read from the table first, from memory then
        hits = index.search_embeddings(*queries, k=10)
        assert [[h.id for h in row] for row in hits] == [[f"v{p}" for p in row] for row in positions.tolist()]
        np.testing.assert_allclose([[h.score for h in row] for row in hits], values, atol=1e-6)
    assert index.stats()["resident_bytes"] > frame_embeds.numel() * 4 * 0.9  # padding is not kept


def test_a_hit_tells_its_best_moment_and_only_real_frames(corpus, index):
    frame_embeds, mask, queries = corpus
    hit = index.search_embeddings(*(part[:1] for part in queries), k=1)[0][0]
    real = int(mask[0].sum())
    assert hit.id == "v0" and hit.frame_scores.shape == hit.frame_times.shape == (real,)
    sentence, words = queries[0][0], queries[1][0][queries[2][0] > 0]
    per_frame = (frame_embeds[0, :real] @ sentence + (frame_embeds[0, :real] @ words.T).amax(1)) / 2
    np.testing.assert_allclose(hit.frame_scores, per_frame, atol=1e-5)
    assert hit.best_time == 1 + 2 * int(per_frame.argmax())
    assert hit.metadata == {"duration": 0.0, "kind": "chef's"}


@pytest.mark.parametrize("options", [(True, True, 0.5), (False, True, 0.3), (True, False, 0.5), (False, False, 0.5)])
def test_scores_follow_the_models_options(corpus, options, tmp_path):
    frame_embeds, mask, queries = corpus
    config = SimpleNamespace(**ScoreOptions(*options)._asdict())
    index = make_index(tmp_path / "i", frame_embeds[:80], mask[:80])
    index._searcher.options = ScoreOptions.of(config)
    text_attention, visual_attention, weight = options
    values, _ = exhaustive(
        queries,
        frame_embeds[:80],
        mask[:80],
        text_attention=text_attention,
        visual_attention=visual_attention,
        neighbor_weight=weight,
    )
    hits = index.search_embeddings(*queries, k=10)
    np.testing.assert_allclose([[h.score for h in row] for row in hits], values, atol=1e-6)


def test_learned_frame_weights_are_kept_as_floats(tmp_path):
    frame_embeds, mask = videos(40, dim=DIM)
    weights = mask * torch.rand(mask.shape, generator=torch.Generator().manual_seed(3))
    queries = texts(frame_embeds, 3)
    index = make_index(tmp_path / "i", frame_embeds, weights)
    values, _ = exhaustive(queries, frame_embeds, weights, k=5)
    hits = index.search_embeddings(*queries, k=5)
    np.testing.assert_allclose([[h.score for h in row] for row in hits], values, atol=1e-6)


def test_unrelated_frames_are_searched_frame_by_frame(tmp_path):
    """Where the mean frame says nothing, stage one looks at all frames: the mean alone would miss half of them."""
    generator = torch.Generator().manual_seed(0)
    frame_embeds = torch.nn.functional.normalize(torch.randn(4000, 12, 64, generator=generator), dim=-1)
    mask = torch.ones(4000, 12)
    queries = texts(frame_embeds, 8)
    index = make_index(tmp_path / "i", frame_embeds, mask, limits=SearchLimits(candidates=200), dtype="float16")
    index.prepare()
    _, positions = exhaustive(queries, frame_embeds, mask)
    assert overlap(index.search_embeddings(*queries, k=10), positions) >= 0.97
    ragged = mask.clone()
    ragged[::2, 7:] = 0
    index = make_index(tmp_path / "r", frame_embeds, ragged, limits=SearchLimits(candidates=200), dtype="int8")
    index.prepare()
    _, positions = exhaustive(queries, frame_embeds, ragged)
    assert overlap(index.search_embeddings(*queries, k=10), positions) >= 0.95


def test_int8_halves_the_frames_and_keeps_the_ranking(corpus, tmp_path):
    frame_embeds, mask, queries = corpus
    half = make_index(tmp_path / "half", frame_embeds, mask, dtype="float16")
    small = make_index(tmp_path / "small", frame_embeds, mask, dtype="int8")
    _, positions = exhaustive(queries, frame_embeds, mask)
    assert overlap(small.search_embeddings(*queries, k=10), positions) >= 0.98
    for index in (half, small):
        index.prepare()
    sizes = [index._searcher.source.resident.frames._frames.rows.nbytes for index in (half, small)]
    assert sizes[1] * 2 == sizes[0]


def test_filters_narrow_before_ranking(corpus, index):
    frame_embeds, mask, queries = corpus
    _, positions = exhaustive(queries, frame_embeds[:60], mask[:60], k=5)
    hits = index.search_embeddings(*queries, k=5, where="duration < 60")
    assert [[h.id for h in row] for row in hits] == [[f"v{p}" for p in row] for row in positions.tolist()]
    chefs = index.search_embeddings(*queries, k=50, where={"kind": "chef's", "duration": [0.0, 3.0, 4.0]})
    assert {h.id for h in chefs[0]} == {"v0", "v3"}
    assert index.search_embeddings(*queries, where="duration < 0") == [[]] * 6


def test_filters_are_asked_of_the_table_once_until_it_changes(corpus, tmp_path, monkeypatch):
    frame_embeds, mask, queries = corpus
    index = make_index(tmp_path / "i", frame_embeds[:40], mask[:40])
    index.prepare()
    asked = []
    row_ids = index.table.row_ids
    monkeypatch.setattr(index.table, "row_ids", lambda where: asked.append(where) or row_ids(where))

    def found(where: str) -> set[str]:
        return {hit.id for hit in index.search_embeddings(*queries, k=50, where=where)[0]}

    assert found("duration < 3") == found("duration < 3") == {"v0", "v1", "v2"}
    assert found("duration >= 38") == {"v38", "v39"} and found("duration < 3") == {"v0", "v1", "v2"}
    assert asked == ["duration < 3", "duration >= 38"]
    index.delete(["v1"])
    assert found("duration < 3") == {"v0", "v2"}
    for n in range(40):  # more than are kept
        found(f"duration < {n}")
    assert found("duration < 3") == {"v0", "v2"} and len(index._searcher.source._passing) < 20


def test_an_index_that_is_removed_meanwhile_is_one_line(corpus, tmp_path):
    frame_embeds, mask, queries = corpus
    index = make_index(tmp_path / "i", frame_embeds[:40], mask[:40])
    index.prepare()
    shutil.rmtree(tmp_path / "i")
    for ask in (lambda: index.search_embeddings(*queries, k=5), index.stats):
        with pytest.raises(VideoIndexError, match="is not any more; open it again"):
            ask()


def test_pages_follow_each_other(corpus, index):
    queries = corpus[2]
    whole = [h.id for h in index.search_embeddings(*queries, k=30)[0]]
    pages = [h.id for offset in (0, 10, 20) for h in index.search_embeddings(*queries, k=10, offset=offset)[0]]
    assert pages == whole
    floor = index.search_embeddings(*queries, k=30)[0][7].score
    assert len(index.search_embeddings(*queries, k=30, min_score=floor)[0]) == 8


def test_fewer_videos_than_asked_for_come_back_all(corpus, tmp_path):
    frame_embeds, mask, queries = corpus
    index = make_index(tmp_path / "i", frame_embeds[:4], mask[:4])
    assert [len(row) for row in index.search_embeddings(*queries, k=10)] == [4] * 6
    empty = VideoIndex.create(tmp_path / "empty", dim=DIM)
    assert empty.search_embeddings(*queries) == [[]] * 6
    empty.add_embeddings([], torch.empty(0, 3, DIM), torch.empty(0, 3))
    assert len(empty) == 0


def test_searches_follow_every_change(corpus, tmp_path):
    frame_embeds, mask, queries = corpus
    writer = make_index(tmp_path / "i", frame_embeds[:50], mask[:50])
    reader = VideoIndex.open(tmp_path / "i")
    first = tuple(part[:1] for part in queries)
    for _ in range(3):
        assert reader.search_embeddings(*first, k=1)[0][0].id == "v0"
    writer.add_embeddings(["v0"], frame_embeds[70:71], mask[70:71])  # v0 is replaced by another video
    assert reader.search_embeddings(*first, k=1)[0][0].id != "v0"
    writer.add_embeddings(["new"], frame_embeds[:1], mask[:1])
    assert reader.search_embeddings(*first, k=1)[0][0].id == "new"
    writer.delete("new")
    assert reader.search_embeddings(*first, k=1)[0][0].id not in ("v0", "new")
    writer.optimize()
    hits = reader.search_embeddings(*first, k=50)[0]
    assert len({h.id for h in hits}) == len(hits) == len(writer) == 50


def test_a_vector_index_takes_over_beyond_the_limit(corpus, tmp_path):
    frame_embeds, mask, queries = corpus
    index = make_index(tmp_path / "i", frame_embeds, mask, limits=SearchLimits(candidates=200, exact_limit=1000))
    assert index.stats()["stage_one"].startswith("exact")  # none is built yet
    index.optimize()
    assert index.stats()["stage_one"] == "Lance vector index"
    _, positions = exhaustive(queries, frame_embeds, mask)
    assert overlap(index.search_embeddings(*queries, k=10), positions) >= 0.95
    index.add_embeddings(["late"], frame_embeds[:1], mask[:1])  # found before the vector index knows it
    assert "late" in {h.id for h in index.search_embeddings(*queries, k=2)[0]}
    assert {h.id for h in index.search_embeddings(*queries, k=9, where="duration < 3")[0]} <= {"v0", "v1", "v2"}


def test_merged_frames_keep_averages_and_shrink(corpus, tmp_path):
    frame_embeds, mask = videos(300, frames=6, dim=DIM, spread=0.0)
    frame_embeds[:, 3:] = frame_embeds[:, :1].roll(1, dims=0)  # two shots a video
    seconds = torch.arange(6.0).expand(300, 6)
    merged, weights, times, nearest, gains = merge_frames(frame_embeds, mask, seconds, above=0.95)
    assert merged.shape[1] == 2 and weights[1].tolist() == [3, 3] and times[1].tolist() == [1, 4]
    queries = texts(frame_embeds, 4)
    index = make_index(tmp_path / "i", frame_embeds, mask, merge_above=0.95)
    index.prepare()
    assert len(index._searcher.source.resident.frames._weights) <= 600
    assert nearest[1].tolist() == [0, 1] and gains[1].tolist() == pytest.approx([1, 1])  # a run stands for itself
    for visual in (True, False):
        _, positions = exhaustive(queries, frame_embeds, mask, visual_attention=visual)
        index._searcher.options = ScoreOptions(visual_attention=visual)
        assert overlap(index.search_embeddings(*queries, k=10), positions) == 1.0


def test_a_frame_outside_any_run_keeps_its_own_nearest(tmp_path):
    one, other = torch.eye(4)[0], torch.eye(4)[1]
    video = torch.stack([one, one, torch.nn.functional.normalize(one + other, dim=0), torch.zeros(4)])[None]
    mask = torch.tensor([[1.0, 1, 1, 0]])
    _, weights, times, nearest, gains = merge_frames(video, mask, None, above=0.9)
    assert times is None and weights.tolist() == [[2, 1]]
    assert nearest.tolist() == [[0, 0]] and gains[0].tolist() == pytest.approx([1, 0.5**0.5])


def test_a_text_without_words_scores_as_the_reference_does():
    frame_embeds, mask = videos(3, dim=8)
    sentence, words, weights = texts(frame_embeds, 1)
    features = (sentence, words, weights * 0)
    frames = CandidateFrames(frame_embeds, mask, torch.zeros(3, 6, dtype=torch.long), torch.zeros(3, 6))
    (scores,), _ = score_each(TextFeatures(*features), frames.as_batch(), ScoreOptions())
    values, _ = exhaustive(features, frame_embeds, mask, k=3, visual_attention=False)
    torch.testing.assert_close(scores.sort(descending=True).values, values[0])

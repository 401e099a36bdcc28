"""Hits without copies: paging, limits and filters go on meaning what they mean."""

import pytest
import torch
from embeddings import texts, videos
from torch.nn.functional import normalize

from dmae.retrieval import SearchLimits, VideoIndex, VideoIndexError

DIM, FRAMES, COUNT = 64, 6, 40


def noisy(frames, seed):
    change = torch.randn(frames.shape, generator=torch.Generator().manual_seed(seed))
    return normalize(frames + 0.1 * normalize(change, dim=-1), dim=-1)


@pytest.fixture(scope="module", params=["memory", "table", "outgrown"])
def index(request, tmp_path_factory):
    """Forty videos; of the first thirty copies, of the second five, of the third a trim."""
    limits = {"memory": {}, "table": {"memory_limit": 0}, "outgrown": {"exact_limit": 1}}[request.param]
    folder = tmp_path_factory.mktemp("distinct") / "index"
    index = VideoIndex.create(folder, dim=DIM, dtype="float32", limits=SearchLimits(candidates=8, **limits))
    frames, _ = videos(COUNT, FRAMES, DIM, spread=0.7)
    index.frames = frames
    index.add_embeddings([f"v{n}" for n in range(COUNT)], frames, None, [{"kind": "first"}] * COUNT)
    index.add_embeddings([f"v0 copy {n}" for n in range(30)], torch.stack([noisy(frames[0], n) for n in range(30)]))
    index.add_embeddings([f"v1 copy {n}" for n in range(5)], torch.stack([noisy(frames[1], n) for n in range(5)]))
    index.add_embeddings(["v2 trim"], frames[2:3, :4])
    if request.param == "outgrown":
        index.add_embeddings([f"filler-{n}" for n in range(300)], videos(300, FRAMES, DIM, seed=9, spread=0.7)[0])
        index.optimize(vector_index=True)
    index.prepare()
    return index


def ask(index, about=0, **options):
    features = texts(index.frames, about + 1)
    return index.search_embeddings(*(part[about : about + 1] for part in features), **options)[0]


def base(hit):
    return hit.id.split()[0]


@pytest.mark.parametrize("per_video", [True, False])
def test_of_ten_copies_the_best_is_left_and_others_take_their_places(index, per_video):
    assert {base(hit) for hit in ask(index)} == {"v0"}  # what this is against
    hits = ask(index, distinct=0.95, per_video=per_video)
    assert len(hits) == 10 and [hit.id for hit in ask(index, k=1)] == [hits[0].id]
    assert [base(hit) for hit in hits].count("v0") == 1
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_what_is_left_is_the_whole_ranking_without_the_copies(index):
    everything = ask(index, k=len(index))
    expected, seen = [], set()
    for hit in everything:
        if base(hit) not in seen:
            expected.append((hit.id, pytest.approx(hit.score, abs=1e-6)))
        seen.add(base(hit))
    found = ask(index, k=20, distinct=0.95)
    assert [(hit.id, hit.score) for hit in found] == expected[:20]


def test_paging_and_limits_count_what_is_left(index):
    whole = ask(index, k=12, distinct=0.95)
    pages = [ask(index, k=4, offset=offset, distinct=0.95) for offset in (0, 4, 8)]
    assert [hit.id for page in pages for hit in page] == [hit.id for hit in whole]
    least = whole[5].score
    assert [hit.id for hit in ask(index, k=12, distinct=0.95, min_score=least)] == [hit.id for hit in whole[:6]]
    assert all(base(hit) == hit.id for hit in ask(index, k=12, distinct=0.95, where={"kind": "first"}))


def test_a_trim_is_a_copy_and_a_higher_cosine_leaves_more(index):
    assert sorted(base(hit) for hit in ask(index, 2, k=2)) == ["v2", "v2"]
    assert [base(hit) for hit in ask(index, 2, k=3, distinct=0.95)].count("v2") == 1
    assert {base(hit) for hit in ask(index, distinct=0.9999)} == {"v0"}
    assert [base(hit) for hit in ask(index, 2, k=3, distinct=1.0)].count("v2") == 1  # the very same frames


def test_where_there_is_nothing_else_fewer_hits_come(index):
    copies = {"id": [f"v0 copy {n}" for n in range(30)] + ["v5"]}
    assert [base(hit) for hit in ask(index, where=copies, distinct=0.95)] == ["v0", "v5"]


@pytest.mark.parametrize("distinct", [0, -1, 1.01, True, "0.95"])
def test_what_is_no_cosine_is_told(index, distinct):
    with pytest.raises(VideoIndexError, match=r"distinct must be a cosine in \(0, 1\]"):
        ask(index, distinct=distinct)


def test_spans_of_long_films_are_compared_by_their_own_frames(tmp_path):
    index = VideoIndex.create(tmp_path / "index", dim=DIM)
    frames, _ = videos(7, 8, DIM, spread=0.2)
    shared, *others = frames  # an advertisement that two films have in the middle
    for name, parts in (("a", (others[0], shared, others[1])), ("b", (others[2], shared, others[3]))):
        film = torch.cat(parts).view(6, 4, DIM)
        spans = [(4.0 * n, 4.0 * n + 4) for n in range(6)]
        times = torch.arange(24.0).view(6, 4) + 0.5
        index.add_embeddings([name] * 6, film, frame_times=times, segments=spans)
    index.add_embeddings(["c", "d"], torch.stack(others[4:]))
    query = shared[:1]
    search = {"sentence_embeds": query, "word_embeds": query[:, None], "word_weights": torch.ones(1, 1)}
    for _ in range(2):  # read from the table first, from memory then
        plain, distinct = (index.search_embeddings(**search, k=3, distinct=above)[0] for above in (None, 0.95))
        assert {hit.id for hit in plain[:2]} == {"a", "b"} and (plain[0].start, plain[0].end) == (8.0, 16.0)
        assert len(distinct) == 3 and {hit.id for hit in distinct} >= {"c", "d"}

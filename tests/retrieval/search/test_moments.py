"""Moments: spans from the scores of frames, neighbours merged, one hit per video, as much as there is."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from dmae.retrieval import SearchLimits, VideoIndex
from dmae.retrieval.search.moments import ScoredSegment, spans_of
from dmae.retrieval.search.resident import Place

DIM, FRAMES = 32, 4


def directions(count, seed=0):
    return normalize(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)), dim=-1)


def add_film(index, name, topics, noise=0.15, seed=0):
    """A film of one frame per second whose frames show `topics`, in segments of at most four frames."""
    generator = torch.Generator().manual_seed(seed)
    frames = normalize(TOPICS[topics] + noise * torch.randn(len(topics), DIM, generator=generator) / DIM**0.5, dim=-1)
    count = -(-len(topics) // FRAMES)
    embeds, mask, times = torch.zeros(count, FRAMES, DIM), torch.zeros(count, FRAMES), torch.zeros(count, FRAMES)
    for n in range(count):
        own = frames[n * FRAMES : (n + 1) * FRAMES]
        embeds[n, : len(own)], mask[n, : len(own)] = own, 1
        times[n, : len(own)] = torch.arange(len(own)) + n * FRAMES + 0.5
    spans = [(float(n * FRAMES), float(min((n + 1) * FRAMES, len(topics)))) for n in range(count)]
    metadata = [{"duration": float(len(topics))}] * count
    index.add_embeddings([name] * count, embeds, mask, metadata, frame_times=times, segments=spans)


TOPICS = directions(12)


def ask(index, topic, **options):
    query = TOPICS[topic][None]
    return index.search_embeddings(query, query[:, None], torch.ones(1, 1), **options)[0]


@pytest.fixture(params=["memory", "table", "outgrown"])
def index(request, tmp_path):
    limits = {"memory": {}, "table": {"memory_limit": 0}, "outgrown": {"exact_limit": 1}}[request.param]
    index = VideoIndex.create(tmp_path / "index", dim=DIM, limits=SearchLimits(**limits))
    add_film(index, "film", [0] * 6 + [1] * 9 + [2] * 5 + [1] * 2 + [3] * 10, seed=1)
    add_film(index, "other", [4] * 6 + [1] * 3 + [5] * 7, seed=2)
    for number in range(6, 12):
        add_film(index, f"clip {number}", [number] * 3, seed=number)
    if request.param == "outgrown":
        for number in range(40):  # as many rows as a vector index wants
            add_film(index, f"filler {number}", [6 + number % 6] * 24, seed=number)
        index.optimize()
    index.prepare()
    return index


def test_neighbours_become_one_span_whose_ends_come_from_the_frames(index):
    hits = ask(index, 1, k=2)
    assert [hit.id for hit in hits] == ["film", "other"]
    film, other = hits
    assert (film.start, film.end) == (6.0, 15.0) and 6 <= film.best_time <= 15
    assert [(moment.start, moment.end) for moment in film.moments] == [(20.0, 22.0)]
    assert film.moments[0].score <= film.score
    assert (other.start, other.end, other.moments) == (6.0, 9.0, ())
    assert len(film.frame_scores) == len(film.frame_times) == 12  # of three segments
    assert film.frame_times[film.frame_scores.argmax()] == film.best_time


def test_a_short_video_is_one_span(index):
    hit = ask(index, 7, k=1)[0]
    assert (hit.start, hit.end, hit.moments) == (0.0, hit.duration, ())


def test_every_span_can_be_a_hit(index):
    hits = ask(index, 1, k=3, per_video=False)
    assert sorted((hit.id, hit.start, hit.end) for hit in hits) == [
        ("film", 6.0, 15.0),
        ("film", 20.0, 22.0),
        ("other", 6.0, 9.0),
    ]
    assert all(hit.moments == () for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("per_video", [True, False])
def test_paging_and_min_score_mean_what_they_say(index, per_video):
    def name(hit):
        return hit.id, hit.start

    whole = ask(index, 1, k=6, per_video=per_video)
    pages = [ask(index, 1, k=2, offset=offset, per_video=per_video) for offset in (0, 2, 4)]
    assert [name(hit) for page in pages for hit in page] == [name(hit) for hit in whole]
    least = whole[2].score
    strong = ask(index, 1, k=6, per_video=per_video, min_score=least)
    assert [name(hit) for hit in strong] == [name(hit) for hit in whole if hit.score >= least]
    assert all(moment.score >= least for hit in strong for moment in hit.moments)


def test_a_filter_keeps_to_its_segments(index):
    hit = ask(index, 1, k=1, where="id = 'film' AND segment_start >= 12")[0]
    assert (hit.id, hit.start) == ("film", 12.0)
    assert {hit.id for hit in ask(index, 1, k=9, where={"id": ["other", "clip 6"]})} == {"other", "clip 6"}


def test_one_long_film_does_not_hide_the_others(tmp_path):
    index = VideoIndex.create(tmp_path / "index", dim=DIM, limits=SearchLimits(candidates=8))
    add_film(index, "long", [1] * 1200)
    for number in range(5):
        add_film(index, f"clip {number}", [1, 2, 2], seed=number)
    for _ in range(2):
        hits = ask(index, 1, k=4)
        assert [hit.id for hit in hits][:1] == ["long"] and len({hit.id for hit in hits}) == 4
    assert len(ask(index, 1, k=100)) == 6


def test_a_film_that_is_replaced_is_found_as_it_is_now(tmp_path):
    index = VideoIndex.create(tmp_path / "index", dim=DIM)
    add_film(index, "film", [0] * 8 + [1] * 8)
    index.prepare()
    assert ask(index, 1)[0].start == 8.0
    add_film(index, "film", [1] * 4 + [0] * 12)
    assert (ask(index, 1)[0].start, ask(index, 1)[0].end) == (0.0, 4.0)
    index.delete("film")
    assert ask(index, 1) == []


def scored(number, frame_scores, times=True):
    moments = np.arange(len(frame_scores)) + 4 * number + 0.5 if times else np.empty(0)
    place = Place(number, 0, number, 4.0 * number, 4.0 * number + len(frame_scores), moments)
    return ScoredSegment(place, float(np.max(frame_scores)), np.array(frame_scores, dtype=float))


def test_a_frame_that_falls_short_is_bridged_and_a_gap_of_segments_is_not():
    row = [scored(0, [0, 0, 1, 1]), scored(1, [1, -1, 1, 1]), scored(3, [1, 1, 1, 1])]
    spans = [(span.moment.start, span.moment.end) for span in spans_of(row, 0.9)]
    assert spans == [(2.0, 8.0), (12.0, 16.0)]


def test_without_times_a_span_is_its_segments():
    span = next(spans_of([scored(2, [0, 1, 0, 0], times=False)], 0.9))
    assert (span.moment.start, span.moment.end, span.moment.best_time) == (8.0, 12.0, None)

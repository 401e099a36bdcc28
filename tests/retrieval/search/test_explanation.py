"""A score over the whole of a video."""

import numpy as np
import pytest
from embeddings import videos
from training_parts import tiny_model

from dmae.retrieval import VideoIndex, VideoIndexError

SEGMENTS, FRAMES = 5, 4


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    model, processor = tiny_model()
    index = VideoIndex.create(tmp_path_factory.mktemp("index") / "i", model, processor, dtype="float32")
    embeds, mask = videos(SEGMENTS + 2, frames=FRAMES, dim=model.config.projection_dim)
    mask[:] = 1
    mask[1, 2:] = 0
    times = np.arange(SEGMENTS * FRAMES).reshape(SEGMENTS, FRAMES) + 0.5
    spans = [(float(n * FRAMES), float((n + 1) * FRAMES)) for n in range(SEGMENTS)]
    film = {"frame_times": times, "segments": spans}
    index.add_embeddings(["film"] * SEGMENTS, embeds[:SEGMENTS], mask[:SEGMENTS], **film)
    index.add_embeddings(["untimed", "other"], embeds[SEGMENTS:], mask[SEGMENTS:])
    return index


def test_a_timeline_has_every_frame_of_every_segment_in_the_order_of_time(index):
    times, scores = index.timeline("a red star", "film")
    assert times.tolist() == [n + 0.5 for n in range(SEGMENTS * FRAMES) if n not in (6, 7)]
    assert scores.shape == times.shape
    hit = index.search("a red star", k=1, where={"id": "film"})[0]
    at = np.searchsorted(times, hit.frame_times)
    assert np.allclose(scores[at], hit.frame_scores, atol=1e-6)
    best = index.explain("a red star", "film").hit
    assert np.allclose(scores[np.isin(times, best.frame_times)], best.frame_scores, atol=1e-6)


def test_without_times_there_are_the_scores_and_without_a_video_an_error(index):
    times, scores = index.timeline("a red star", "untimed")
    assert not len(times) and len(scores) == FRAMES
    with pytest.raises(VideoIndexError, match="no video 'nope'"):
        index.timeline("a red star", "nope")

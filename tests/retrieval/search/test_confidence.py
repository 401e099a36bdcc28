"""Confidence: how far a score stands out from those of unrelated texts with the same video."""

import pytest
import torch
from embeddings import texts, videos
from hub_server import HubServer
from training_parts import tiny_model

from dmae import load_pretrained
from dmae.modeling.errors import ModelError
from dmae.modeling.features import TextFeatures
from dmae.modeling.similarity import nearest_frames
from dmae.modeling.text_bank import BANK_FILE, load_text_bank, save_text_bank
from dmae.retrieval import VideoIndex, VideoIndexError
from dmae.retrieval.search.combination import Queries
from dmae.retrieval.search.confidence import Judge, TextBank
from dmae.retrieval.search.scoring import CandidateFrames, ScoreOptions, score_each
from dmae.retrieval.storage.rows import pool_frames
from dmae.training.release.push import push_model

COUNT, DIM = 300, 32


def top(features: TextFeatures, frames: CandidateFrames) -> tuple[torch.Tensor, torch.Tensor]:
    """The best score of each text and its video's mean frame."""
    rows = (features[a : a + 1] for a in range(len(features.sentence_embeds)))
    scores = torch.cat([score_each(row, frames.as_batch(), ScoreOptions())[0] for row in rows])
    best = scores.max(dim=1)
    return best.values, pool_frames(frames.embeds, frames.weights)[best.indices]


def test_one_threshold_serves_indexes_whose_scores_differ():
    """Texts about videos that are there, and about others, in an index of alike videos and in one of unlike ones."""
    confidences, scores = {}, {}
    for name, common in {"unlike": 0.0, "alike": 1.5}.items():
        frames, mask = videos(2 * COUNT, dim=DIM)
        shared = torch.nn.functional.normalize(torch.ones(DIM), dim=0)
        frames = torch.nn.functional.normalize(frames + common * shared, dim=-1)
        bank, asked = (TextFeatures(*texts(part, COUNT)) for part in (frames.flip(0), frames))
        here = frames[:COUNT:2], mask[:COUNT:2]
        stored = CandidateFrames(*here, *nearest_frames(*here))
        judge = Judge(bank[:150], CandidateFrames(*(part[:64] for part in stored)), ScoreOptions())
        for there, rows in ((True, slice(0, COUNT, 2)), (False, slice(1, COUNT, 2))):
            best, pooled = top(asked[rows], stored)
            demands = judge.demands(Queries([(asked[rows], ScoreOptions())]))
            scores[name, there], confidences[name, there] = best, judge(best, pooled, demands)
    assert all(float(c.min()) >= 0 and float(c.max()) <= 1 for c in confidences.values())
    present = torch.cat([confidences[name, True] for name in ("unlike", "alike")])
    absent = torch.cat([confidences[name, False] for name in ("unlike", "alike")])
    threshold = present.quantile(0.05)
    answered = float((absent >= threshold).float().mean())
    raw = torch.cat([scores[name, True] for name in ("unlike", "alike")]).quantile(0.05)
    wrong = torch.cat([scores[name, False] for name in ("unlike", "alike")])
    assert answered < 0.2 and float((wrong >= raw).float().mean()) > 2 * answered  # as one raw threshold lets through


def test_what_all_videos_of_an_index_show_is_not_in_doubt():
    """An index of dogs alone: "a dog" fits all of them, other texts none."""
    frames, mask = videos(2 * COUNT, dim=DIM)
    theme = torch.nn.functional.normalize(torch.randn(DIM, generator=torch.Generator().manual_seed(3)), dim=0)
    dogs = torch.nn.functional.normalize(0.4 * frames[:COUNT] + theme, dim=-1)
    here = CandidateFrames(dogs, mask[:COUNT], *nearest_frames(dogs, mask[:COUNT]))
    others = TextFeatures(*texts(frames[COUNT:], COUNT))
    judge = Judge(others[:150], CandidateFrames(*(part[:64] for part in here)), ScoreOptions())
    about_dogs = TextFeatures(theme[None], theme[None, None], torch.ones(1, 1))
    demands = []
    for asked, least, most in ((about_dogs, 0.9, 1.0), (others[150:], 0.0, 0.75)):
        demands.append(judge.demands(Queries([(asked, ScoreOptions())])))
        sure = judge(*top(asked, here), demands[-1])
        assert least <= float(sure.mean()) <= most
    assert float(demands[0].min()) > float(demands[1].max())  # it fits many well, and more is asked of it


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model in a folder with a bank of texts of its own, and an index of 40 videos."""
    folder = tmp_path_factory.mktemp("trained")
    for part in tiny_model():
        part.save_pretrained(folder / "model")
    model, processor = load_pretrained(folder / "model")
    dim = model.config.projection_dim
    frames, mask = videos(40, frames=3, dim=dim)
    save_text_bank(folder / "model" / BANK_FILE, TextFeatures(*texts(frames, 30)), model)
    index = VideoIndex.create(folder / "index", model, processor)
    index.add_embeddings([f"v{i}" for i in range(40)], frames, mask)
    return folder, model, processor, TextFeatures(*texts(frames, 4))


def test_hits_carry_it_and_weak_ones_are_left_out(trained):
    folder, model, processor, asked = trained
    index = VideoIndex.open(folder / "index", model, processor)
    for _ in range(2):  # frames from the table first, from memory then
        hits = index.search_embeddings(*asked, k=10)
        assert all(0 <= hit.confidence <= 1 for own in hits for hit in own)
        assert all(own[0].confidence > own[-1].confidence for own in hits)
    assert hits[0][0].to_dict()["confidence"] == round(hits[0][0].confidence, 4)
    sure = index.search_embeddings(*asked, k=10, min_confidence=hits[0][2].confidence)[0]
    assert 0 < len(sure) < 10 and min(hit.confidence for hit in sure) >= hits[0][2].confidence
    assert index.search("a red star", min_confidence=1.0) == []
    example = index.search(torch.zeros(32, 32, 3, dtype=torch.uint8).numpy(), k=1)
    assert example[0].confidence is None


def test_where_it_cannot_be_told_one_line_says_so(trained, tmp_path):
    folder, model, processor, asked = trained
    bare = VideoIndex.open(folder / "index")
    assert bare.search_embeddings(*asked, k=1)[0][0].confidence is None
    with pytest.raises(VideoIndexError, match="without a model"):
        bare.search_embeddings(*asked, k=1, min_confidence=0.5)
    index = VideoIndex.open(folder / "index", model, processor)
    with pytest.raises(VideoIndexError, match="no text"):
        index.search(torch.zeros(32, 32, 3, dtype=torch.uint8).numpy(), min_confidence=0.5)
    with pytest.raises(VideoIndexError, match="must be a number"):
        index.search("x", min_confidence="high")
    for value in (2, -0.1):
        with pytest.raises(VideoIndexError, match=f"min_confidence must be from 0 to 1, got {value}"):
            index.search("x", min_confidence=value)
    for limit in ({"min_confidence": float("nan")}, {"min_score": float("nan")}):
        with pytest.raises(VideoIndexError, match="must be a number, got nan"):
            index.search("x", **limit)
    with torch.no_grad():
        for parameter in model.text_model.parameters():
            parameter += 1
    try:
        with pytest.raises(ModelError, match="other weights"):
            VideoIndex(bare.table, model, processor).search_embeddings(*asked)
    finally:
        with torch.no_grad():
            for parameter in model.text_model.parameters():
                parameter -= 1


def test_a_model_from_the_hub_brings_its_bank(trained, tmp_path, monkeypatch):
    folder = trained[0]
    with HubServer() as hub:
        hub.add_token("hf_owner", "owner")
        hub.redirect(monkeypatch, tmp_path, token="hf_owner")
        push_model(folder / "model", "owner/model")
        model, processor = load_pretrained("owner/model")
        bank = TextBank(model, processor).features()
    assert len(bank.sentence_embeds) == 30
    torch.testing.assert_close(bank, load_text_bank(folder / "model" / BANK_FILE, model))


def test_everyday_phrases_stand_in_and_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, processor = tiny_model()
    first = TextBank(model, processor).features()
    assert len(first.sentence_embeds) > 250
    monkeypatch.setattr("dmae.retrieval.search.confidence.encode_texts", None)  # from the disk from now on
    again = TextBank(model, processor).features()
    torch.testing.assert_close(first.sentence_embeds, again.sentence_embeds, atol=1e-3, rtol=0)

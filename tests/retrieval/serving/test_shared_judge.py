"""Confidences of hits of many shards: those that one index over everything tells."""

import asyncio
import os
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from embeddings import texts, videos
from training_parts import tiny_model

if not os.environ.get("CI"):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")

from dmae import load_pretrained
from dmae.modeling.features import TextFeatures
from dmae.modeling.text_bank import BANK_FILE, save_text_bank
from dmae.retrieval import VideoIndex
from dmae.retrieval.search.combination import Queries
from dmae.retrieval.search.confidence import Judge
from dmae.retrieval.search.query import EncodedQuery
from dmae.retrieval.search.scoring import ScoreOptions
from dmae.retrieval.serving.fan_out import FanOut, SilentError, merge_hits
from dmae.retrieval.serving.options import ServingOptions
from dmae.retrieval.serving.shard import Shard
from dmae.retrieval.serving.shared_judge import SharedJudge, sure_hits
from dmae.retrieval.storage.sharding import split

COUNT, QUERIES, K = 700, 5, 20
ROUNDING = 5.1e-5  # of four digits


class Shards:
    """An index and its shards, which a judge asks; `silent` ones do not answer."""

    def __init__(self, folder):
        for part in tiny_model():
            part.save_pretrained(folder / "model")
        self.model, self.processor = load_pretrained(folder / "model")
        dim = self.model.config.projection_dim
        self.frames, self.mask = videos(COUNT + 100, frames=3, dim=dim)
        self.bank = TextFeatures(*texts(self.frames[COUNT // 2 :], 60))
        save_text_bank(folder / "model" / BANK_FILE, self.bank, self.model)
        self.folder = folder
        self.index = VideoIndex.create(folder / "index", self.model, self.processor)
        self.add(0, COUNT)
        self.bank = self.index._searcher._bank.features()  # as it is kept
        options = ServingOptions("any", tuple(table.uri for table in self.split()))
        self.shards = {uri: Shard.func_or_class(uri, options) for uri in options.shards}
        self.silent: set[str] = set()
        self.asked: list[str] = []
        self.scoring = ScoreOptions.of(self.model.config)
        self.queries = [
            EncodedQuery(TextFeatures(*(part[n : n + 1] for part in texts(self.frames, QUERIES))), "a text")
            for n in range(QUERIES)
        ]

    def add(self, start: int, stop: int) -> None:
        ids = [f"v{n}" for n in range(start, stop)]
        self.index.add_embeddings(ids, self.frames[start:stop], self.mask[start:stop])

    def split(self):
        return split(self.index.table, str(self.folder / "shards"), 3)

    def judge(self) -> SharedJudge:
        async def ask(name: str, method: str, *given):
            self.asked.append(method)
            if name in self.silent:
                await asyncio.sleep(60)
            return getattr(self.shards[name], method)(*given)

        async def make(sample):
            return Judge(self.bank, sample, self.scoring)

        return SharedJudge(FanOut(0.2, 0), ask, list(self.shards), make)

    def search(self, query: EncodedQuery, shards=None) -> tuple[list[dict], dict[str, int]]:
        """The hits of the shards, and the versions that they are of."""
        told = {uri: self.shards[uri].search(query, self.scoring, K, None, None) for uri in shards or self.shards}
        return merge_hits({uri: own["hits"] for uri, own in told.items()}, K), {
            uri: own["version"] for uri, own in told.items()
        }

    def told_by(self, judge: SharedJudge, query: EncodedQuery, shards=None) -> dict[str, float]:
        hits, versions = self.search(query, shards)
        asyncio.run(judge.tell(hits, Queries([(query.features, self.scoring)]), versions))
        return {hit["id"]: hit["confidence"] for hit in hits}

    def told_by_the_index(self, query: EncodedQuery) -> dict[str, float]:
        return {hit.id: hit.confidence for hit in self.index.search(query, K)}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return Shards(tmp_path_factory.mktemp("shards"))


def test_shards_tell_the_confidences_of_one_index_before_and_after_it_grows(shards, monkeypatch):
    monkeypatch.setattr("dmae.retrieval.serving.shared_judge.PAUSE", 1e9)
    judge = shards.judge()
    for _ in range(2):  # frames from the index's table first, from memory then
        for query in shards.queries:
            told, alone = shards.told_by(judge, query), shards.told_by_the_index(query)
            assert told == pytest.approx(alone, abs=ROUNDING, rel=0) and len(alone) == K
    assert np.ptp(list(alone.values())) > 0.1
    assert (shards.asked.count("sample_keys"), shards.asked.count("sample")) == (3, 3)  # once for all of them
    shards.add(COUNT, COUNT + 100)
    shards.split()
    stale, now = (tell(shards.queries[0]) for tell in (partial(shards.told_by, judge), shards.told_by_the_index))
    assert shards.asked.count("sample_keys") == 3 and stale == pytest.approx(now, abs=0.05, rel=0)
    monkeypatch.setattr("dmae.retrieval.serving.shared_judge.PAUSE", 0)
    for query in shards.queries:
        assert shards.told_by(judge, query) == pytest.approx(shards.told_by_the_index(query), abs=ROUNDING, rel=0)
    assert shards.asked.count("sample_keys") == 6


def test_what_a_silent_shard_holds_is_judged_by_when_it_is_back(shards, monkeypatch):
    monkeypatch.setattr("dmae.retrieval.serving.shared_judge.PAUSE", 0)
    judge, query = shards.judge(), shards.queries[1]
    silent, *awake = shards.shards
    shards.silent.add(silent)
    without_it, alone = shards.told_by(judge, query, awake), shards.told_by_the_index(query)
    shared = without_it.keys() & alone.keys()
    assert shared and all(abs(without_it[video] - alone[video]) < 0.1 for video in shared)
    shards.silent.clear()
    assert shards.told_by(judge, query) == pytest.approx(alone, abs=ROUNDING, rel=0)


def test_a_search_that_asks_for_sure_hits_is_not_told_that_there_are_none_where_nobody_knows(shards):
    judge, query = shards.judge(), shards.queries[2]
    shards.silent.update(shards.shards)
    try:
        hits, versions = shards.search(query)
        asyncio.run(judge.tell(hits, Queries([(query.features, shards.scoring)]), versions))
    finally:
        shards.silent.clear()
    assert len(hits) == K and all(hit["confidence"] is None and "judged_by" not in hit for hit in hits)
    assert sure_hits(hits, None) == sure_hits(hits, 0.0) == hits and sure_hits([], 0.5) == []
    with pytest.raises(SilentError, match="ask again, or without min_confidence"):
        sure_hits(hits, 0.5)
    hits[0]["confidence"], hits[1]["confidence"] = 0.7, 0.4
    assert sure_hits(hits, 0.5) == hits[:1]


def test_an_empty_index_is_judged_by_nothing(shards, tmp_path):
    table = VideoIndex.create(tmp_path / "empty", shards.model, shards.processor).table
    shard = Shard.func_or_class(table.uri, ServingOptions("any", (table.uri,)))
    assert shard.search(shards.queries[0], shards.scoring, 3, None, None)["hits"] == []
    assert len(shard.sample_keys()[1]) == 0 and shard.sample(3) is None


def test_a_judge_travels_to_another_process(shards):
    sample = shards.index._searcher.sample()[1]
    judge = Judge(shards.bank, sample.frames, shards.scoring)
    copy = pickle.loads(pickle.dumps(judge))
    queries = Queries([(shards.queries[0].features, shards.scoring)])
    torch.testing.assert_close(copy.demands(queries), judge.demands(queries))

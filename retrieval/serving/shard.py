"""One table of the index, searched in processes of their own.

A process that dies is missed until another has started: what this module imports is paid for in seconds, so that it
is what a search needs and no model.
"""

from collections.abc import Sequence

import numpy as np
import torch
from ray import serve

from ..search.explanation import explain, rescore, timeline
from ..search.limits import SearchLimits
from ..search.query import EncodedQuery
from ..search.sample import Sample
from ..search.scoring import ScoreOptions
from ..search.searcher import Searcher, SearchHit
from ..storage.table import VideoTable
from .options import QUICK_CHECKS, ServingOptions


def open_shard(uri: str, options: ServingOptions) -> VideoTable:
    return VideoTable.open(uri, read_only=True, storage_options=options.storage_options)


@serve.deployment(max_ongoing_requests=32, **QUICK_CHECKS)
class Shard:
    """One table, ready to be searched; it follows what is added to it.

    Its methods answer with JSON values, but for what `SharedJudge` asks and what a hit is judged by. Those that are
    about one video answer None where it is another shard's.
    """

    def __init__(self, uri: str, options: ServingOptions):
        torch.set_num_threads(max(1, int(options.shard_cpus)))
        limits = SearchLimits() if options.candidates is None else SearchLimits(candidates=options.candidates)
        self.table = open_shard(uri, options)
        self.searcher = Searcher(self.table, ScoreOptions(), limits)
        self.searcher.prepare()

    def search(self, query: EncodedQuery, scoring: ScoreOptions, k: int, where, min_score) -> dict:
        """The `hits`, with what `SharedJudge` judges them by, and the `version` of the table."""
        options = {"options": query.options or scoring, "where": where, "min_score": min_score}
        found = self.searcher.search(query.features, k, with_pooled=True, **options)
        return {"version": self.searcher.source.version, "hits": [_to_judge(hit) for hit in found[0]]}

    def sample_keys(self) -> tuple[int | None, np.ndarray]:
        """The version of the table, and the keys of its sample."""
        version, sample = self.searcher.sample()
        return version, np.empty(0, np.uint64) if sample is None else sample.keys

    def sample(self, count: int) -> Sample | None:
        """So much of its sample; None where the table has become empty."""
        _, sample = self.searcher.sample()
        return None if sample is None else sample.first(count)

    def rescore(self, query: EncodedQuery, scoring: ScoreOptions, ids: Sequence[str]) -> list[dict]:
        """Those of the videos that are here."""
        found = rescore(self.table, self.searcher.queries_of(query, scoring), ids)
        return [hit.to_dict() for hit in found]

    def explain(self, query: EncodedQuery, words: list, video_id: str, scoring: ScoreOptions) -> dict | None:
        if not self._holds(video_id):
            return None
        queries = self.searcher.queries_of(query, query.options or scoring)
        return explain(self.table, words, query, video_id, queries).to_dict()

    def watch(self, query: EncodedQuery, words: list, video_id: str, scoring: ScoreOptions) -> dict | None:
        if not self._holds(video_id):
            return None
        options = query.options or scoring
        queries = self.searcher.queries_of(query, options)
        explanation = explain(self.table, words, query, video_id, queries)
        hits = self.searcher.search(query.features, 1, options=options, where={"id": video_id}, with_pooled=True)[0]
        times, scores = timeline(self.table, queries, video_id)
        return {
            "hit": _to_judge(hits[0] if hits else explanation.hit),
            "segment": explanation.hit.to_dict(),
            "explanation": explanation.to_dict(),
            "times": [round(float(time), 3) for time in times],
            "scores": [round(float(score), 6) for score in scores],
        }

    def video(self, video_id: str, columns: Sequence[str], at: float | None) -> dict | None:
        """Columns of its row, or of that of the segment at a moment (s)."""
        row = self.table.row(video_id, columns, at=at)
        return None if row is None else {name: row[name] for name in columns}

    def describe(self) -> dict:
        return {"videos": self.table.count(), "version": self.table.version, **self.searcher.stats()}

    def _holds(self, video_id: str) -> bool:
        return self.table.row(video_id, ["id"]) is not None


def _to_judge(hit: SearchHit) -> dict:
    """A hit as JSON values and, to tell its confidence by, its exact score and its mean frame."""
    return hit.to_dict() | {"judged_by": (hit.score, hit.pooled)}

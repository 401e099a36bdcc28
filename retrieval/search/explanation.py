"""Why a video was found, and what other options would make of the same videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from ..errors import VideoIndexError
from ..inputs import check_ids
from ..storage.filters import make_where
from ..storage.table import VideoTable
from .combination import CombinedQuery, Queries
from .query import EncodedQuery
from .resident import FRAME_COLUMNS, frames_of
from .scoring import CandidateFrames, score_each
from .searcher import SearchHit, hit_columns, hit_of


@dataclass(frozen=True, eq=False)
class Explanation:
    """The parts of one score.

    Attributes:
        hit: the video's segment that fits best with its score, whether or not a search would list it.
        words: the query's T words as they were written (or the frames of an example), and then each further part of a
            combined query as one row, such as "without people".
        word_weights: `(T,)` how much each counts; 2 for a content word, 1 for a further part.
        similarity: `(T, F)` cosine of each word and each frame; a word of several tokens has their mean. Of a further
            part its score of each frame.
        sentence_similarity: `(F,)` cosine of the whole query and each frame.
    """

    hit: SearchHit
    words: list[str]
    word_weights: np.ndarray
    similarity: np.ndarray
    sentence_similarity: np.ndarray

    @property
    def score(self) -> float:
        return self.hit.score

    @property
    def frame_times(self) -> np.ndarray:
        """`(F,)` seconds, empty where unknown."""
        return self.hit.frame_times

    def to_dict(self) -> dict:
        """The explanation as JSON values."""
        return {
            "score": round(self.score, 6),
            "words": self.words,
            "weights": [round(float(w), 4) for w in self.word_weights],
            "frame_times": [round(float(t), 3) for t in self.frame_times],
            "similarity": [[round(float(s), 5) for s in row] for row in self.similarity],
            "sentence": [round(float(s), 5) for s in self.sentence_similarity],
        }

    @classmethod
    def from_dict(cls, values: Mapping, hit: SearchHit) -> "Explanation":
        """An explanation of what `to_dict` made of it, and its hit.

        Raises:
            ValueError, KeyError, TypeError: the values are no explanation of this hit.
        """
        words, frames = [str(word) for word in values["words"]], len(hit.frame_scores)
        weights, sentence = (np.array(values[name], dtype=np.float64) for name in ("weights", "sentence"))
        similarity = np.array(values["similarity"], dtype=np.float64).reshape(len(words), frames)
        if weights.shape != (len(words),) or sentence.shape != (frames,):
            raise ValueError("the parts of an explanation do not fit together")
        return cls(hit, words, weights, similarity, sentence)


def explain(
    table: VideoTable,
    words: list[tuple[str, list[int]]],
    query: EncodedQuery,
    video_id: str,
    queries: Queries,
) -> Explanation:
    """See `VideoIndex.explain`; `words` are the query's, as `words_of` finds them, `queries` what scores by it."""
    rows, frames = _segments_of(table, video_id)
    scores, per_frame = (scored[0] for scored in queries.score(frames.as_batch()))
    best = int(scores.argmax())
    real = frames.weights[best] > 0
    embeds = frames.embeds[best, real]
    tokens = (query.features.word_embeds[0] @ embeds.t()).numpy()
    weights = query.features.word_weights[0].numpy()
    similarity = [tokens[at].mean(axis=0) for _, at in words]
    labels = query.labels() if isinstance(query, CombinedQuery) else []
    for features, options in queries.parts[1:]:
        similarity.append(score_each(features, frames.as_batch(), options)[1][0, best, real].numpy())
    return Explanation(
        hit=hit_of(rows.slice(best, 1).to_pylist()[0], float(scores[best]), per_frame[best, real].numpy()),
        words=[word for word, _ in words] + labels,
        word_weights=np.array([weights[at].max() for _, at in words] + [1.0] * len(labels)),
        similarity=np.stack(similarity) if similarity else np.zeros((0, len(embeds))),
        sentence_similarity=torch.mv(embeds, query.features.sentence_embeds[0]).numpy(),
    )


def timeline(table: VideoTable, queries: Queries, video_id: str) -> tuple[np.ndarray, np.ndarray]:
    """See `VideoIndex.timeline`."""
    rows, frames = _segments_of(table, video_id)
    _, per_frame = queries.score(frames.as_batch())
    scores = per_frame[0][frames.weights > 0].numpy()
    times = rows["frame_times"].combine_chunks().flatten().to_numpy().astype(np.float64)
    return times if len(times) == len(scores) else np.empty(0), scores


def rescore(table: VideoTable, queries: Queries, ids: Sequence[str]) -> list[SearchHit]:
    """See `VideoIndex.rescore`."""
    ids = check_ids(ids, distinct=False)
    columns = hit_columns(table.settings)
    both = list(dict.fromkeys([*columns, *FRAME_COLUMNS]))
    rows = table.scan(both, make_where({"id": ids})) if ids else None
    if rows is None or not rows.num_rows:
        return []
    frames = frames_of(rows, table.settings.dim, table.settings.dtype)
    scores, per_frame = (scored[0] for scored in queries.score(frames.as_batch()))
    fields, real = rows.select(columns).to_pylist(), frames.weights > 0
    hits = [hit_of(row, float(scores[n]), per_frame[n, real[n]].numpy()) for n, row in enumerate(fields)]
    best = {hit.id: hit for hit in sorted(hits, key=lambda hit: hit.score)}  # the best segment of each video
    return sorted(best.values(), key=lambda hit: -hit.score)


def _segments_of(table: VideoTable, video_id: str) -> tuple[pa.Table, CandidateFrames]:
    """The rows of a video's segments, in the order of time, with their frames."""
    columns = list(dict.fromkeys([*hit_columns(table.settings), *FRAME_COLUMNS]))
    rows = table.scan(columns, make_where({"id": check_ids([video_id])}))
    if not rows.num_rows:
        raise VideoIndexError(f"no video {video_id!r} in the index at {table.uri}")
    if table.settings.format > 1:
        rows = rows.sort_by("segment_number")
    return rows, frames_of(rows, table.settings.dim, table.settings.dtype)

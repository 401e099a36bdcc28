"""What a visitor searches: the open index and, beside it, the videos of their own."""

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath

import numpy as np
import torch

from dmae.modeling.features import TextFeatures, VideoFeatures
from dmae.modeling.video_reading import VideoFrames
from dmae.retrieval import SearchHit, VideoIndex
from dmae.retrieval.search.query import encode_examples, encode_texts
from dmae.retrieval.search.resident import FRAME_COLUMNS, frames_of
from dmae.retrieval.search.scoring import EXAMPLE_OPTIONS, ScoreOptions, score_candidates
from dmae.retrieval.search.searcher import hit_of
from dmae.retrieval.storage.filters import quote

from .addresses import INDEX, frame_url, video_url
from .explanation import Explanation, explain, words_of

MAX_QUERY = 1000  # characters
MAX_RESULTS = 100
REMEMBERED_QUERIES = 256


class UserError(ValueError):
    """Something the visitor can put right, said in one plain sentence."""


@dataclass(frozen=True, eq=False)
class Query:
    """A query of any kind: a text, or the frames of an image or a video to find more like it.

    Attributes:
        label: how to name it. features: of a batch of one. words: each with the positions of its tokens.
        example: the frames, None for a text.
    """

    label: str
    features: TextFeatures
    words: list[tuple[str, list[int]]]
    example: VideoFrames | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """A hit and the scope it came from: the index, or a visitor's secret."""

    hit: SearchHit
    scope: str = INDEX

    @property
    def title(self) -> str:
        given = self.hit.metadata.get("title")
        if isinstance(given, str) and given.strip():
            return given
        return PurePath(self.hit.path or self.hit.id).stem.replace("_", " ")

    @property
    def best_frame(self) -> int:
        return int(np.argmax(self.hit.frame_scores))

    @property
    def video(self) -> str:
        return video_url(self.scope, self.hit.id)

    def frame(self, number: int) -> str:
        return frame_url(self.scope, self.hit.id, number)

    def to_dict(self) -> dict:
        """JSON values; addresses in place of this machine's paths."""
        values = self.hit.to_dict()
        del values["path"]
        # Plain values only: Gradio takes a nested one that looks like a file for a file of this machine to be sent.
        values["metadata"] = {
            key: value
            for key, value in self.hit.metadata.items()
            if key != "path" and isinstance(value, str | int | float | bool)
        }
        return values | {"title": self.title, "video": self.video, "thumbnail": self.frame(self.best_frame)}


class Library:
    """A model and an index, searched by many visitors at a time.

    Args:
        shelf (in the methods): a visitor's own `VideoIndex` and secret, or None.
    """

    def __init__(self, model, processor, index: VideoIndex):
        self.model = model
        self.processor = processor
        self.index = index
        self._ask = lru_cache(REMEMBERED_QUERIES)(self._encode)
        self._lock = threading.Lock()  # an index follows its table on search: one thread at a time

    def ask(self, text: str) -> Query:
        """A text as a query.

        Raises:
            UserError: it is empty or too long.
        """
        text = " ".join(str(text or "").split())
        if not text:
            raise UserError("Write what the video should show.")
        if len(text) > MAX_QUERY:
            raise UserError(f"The query has {len(text)} characters; at most {MAX_QUERY} are read.")
        return self._ask(text)

    def ask_example(self, frames, label: str) -> Query:
        """Frames of an image or a video as a query."""
        features = encode_examples(self.model, self.processor, [frames])
        count = int((features.word_weights[0] > 0).sum())
        return Query(label, features, [(f"frame {n + 1}", [n]) for n in range(count)], frames)

    def search(self, query: Query, k: int, *, shelf=None, seconds=(None, None)) -> list[Result]:
        """The k best videos of the index and the shelf together, best first.

        Args:
            seconds: shortest and longest duration wanted; None where it does not matter.
        """
        k, where = _check_count(k), duration_filter(*seconds)
        results = [Result(hit) for hit in self._search(self.index, query, k, where)]
        if shelf is not None:
            results += [Result(hit, shelf.secret) for hit in self._search(shelf.index, query, k, where)]
        return sorted(results, key=lambda result: -result.hit.score)[:k]

    def explain(self, query: Query, scope: str, video_id: str, shelf=None) -> tuple[Result, Explanation]:
        """One video against the query, whether or not it was among the hits.

        Raises:
            UserError: there is no such video (for this visitor).
        """
        index = self._index_of(scope, shelf)
        columns = ["id", "path", "duration", "frame_times", "metadata", *FRAME_COLUMNS]
        rows = index.table.scan(columns, f"id = {quote(str(video_id))}")
        if not rows.num_rows:
            raise UserError("That video is no longer here. Search again.")
        frames = frames_of(rows, index.table.settings.dim, index.table.settings.dtype)
        options = ScoreOptions.of(self.model.config) if query.example is None else EXAMPLE_OPTIONS
        scores, per_frame = score_candidates(query.features, frames, options)
        hit = hit_of(rows.to_pylist()[0], float(scores[0]), per_frame[0, frames.weights[0] > 0].numpy())
        return Result(hit, scope), explain(query.words, query.features, frames, hit.frame_times)

    @torch.inference_mode()
    def embed(self, frames: VideoFrames) -> VideoFeatures:
        """Features of one video, on the CPU in float32."""
        inputs = self.processor(videos=[frames], return_tensors="pt").to(self.model.device)
        features = self.model.get_video_features(inputs["pixel_values_videos"], inputs.get("frame_mask"))
        return VideoFeatures(*(part.cpu().float() for part in features))

    def row(self, scope: str, video_id: str, columns: list[str], shelf=None) -> dict | None:
        """Columns of one video's row, or None where there is none."""
        rows = self._index_of(scope, shelf).table.scan(columns, f"id = {quote(video_id)}").to_pylist()
        return rows[0] if rows else None

    def _search(self, index: VideoIndex, query: Query, k: int, where: str | None) -> list[SearchHit]:
        with self._lock:
            if query.example is not None:
                return index.search(query.example, k=k, where=where)
            return index.search_embeddings(*query.features, k=k, where=where)[0]

    def _index_of(self, scope: str, shelf) -> VideoIndex:
        if scope == INDEX:
            return self.index
        if shelf is None or shelf.secret != scope:
            raise UserError("That video is no longer here. Search again.")
        return shelf.index

    def _encode(self, text: str) -> Query:
        # Not index.encode_query, which takes a text that names a file of this machine for the file.
        return Query(text, encode_texts(self.model, self.processor, [text]), words_of(self.processor, text))


def duration_filter(shortest: float | None, longest: float | None) -> str | None:
    """A `where` for videos of these durations (s)."""
    bounds = []
    for value, comparison in ((shortest, ">="), (longest, "<=")):
        if value:
            if not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise UserError(f"A length is a number of seconds, not {value!r}.")
            bounds.append(f"duration {comparison} {float(value)}")
    return " AND ".join(bounds) or None


def _check_count(k) -> int:
    if isinstance(k, bool) or not isinstance(k, int | float) or not 1 <= k <= MAX_RESULTS:
        raise UserError(f"Ask for 1 to {MAX_RESULTS} results, not {k!r}.")
    return int(k)

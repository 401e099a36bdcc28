"""`VideoIndex`: the one object a user of the search holds."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dmae.modeling.features import TextFeatures
from dmae.modeling.precision import difference_note, precision_of

from .duplicates.finding import Copy, find_duplicates
from .errors import VideoIndexError
from .indexing import encoding
from .indexing.fingerprint import model_encoder, preprocessing_encoder
from .indexing.report import AddReport
from .inputs import check_ids
from .search import explanation
from .search import query as query_module
from .search.combination import CombinedQuery, as_examples, as_parts, combine
from .search.confidence import TextBank
from .search.likeness import NEAR_IDENTICAL
from .search.limits import SearchLimits, statistics
from .search.query import EncodedQuery
from .search.scoring import ScoreOptions
from .search.searcher import Searcher, SearchHit
from .sharing import hub as sharing
from .storage.filters import make_where
from .storage.rows import VideoFile, make_rows
from .storage.schema import Encoder, IndexSettings, segment_keys
from .storage.table import VideoTable

if TYPE_CHECKING:
    from dmae.modeling import DmaeModel, DmaeProcessor

    from .indexing.film_frames import FilmChunk

DEFAULT_SEGMENT_FRAMES = 12


class VideoIndex:
    """A transactional index of videos, searched with the exact DMAE score.

    Get one from `VideoIndex.create`, `VideoIndex.open` or `VideoIndex.from_hub`. A location is a folder or an object
    store's URI (`s3://bucket/index`, with its credentials in `storage_options`). Several processes may add and search
    at once.

    Example:
        >>> index = VideoIndex.create("holiday.index", model, processor)  # doctest: +SKIP
        >>> index.add("~/clips")  # doctest: +SKIP
        >>> index.search("a dog on a skateboard", k=5)[0].path  # doctest: +SKIP
    """

    def __init__(self, table: VideoTable, model=None, processor=None, limits: SearchLimits | None = None):
        self.table = table
        self.model = model
        self.processor = processor
        options = ScoreOptions() if model is None else ScoreOptions.of(model.config)
        bank = None if model is None or processor is None else TextBank(model, processor)
        self._searcher = Searcher(table, options, limits or SearchLimits(), bank)

    @staticmethod
    def exists(uri, *, storage_options: dict | None = None) -> bool:
        """Whether there is an index at a location; makes nothing."""
        return VideoTable.exists(uri, storage_options)

    @classmethod
    def create(
        cls,
        uri,
        model=None,
        processor=None,
        *,
        dim: int | None = None,
        dtype: str = "float16",
        merge_above: float | None = None,
        frames_per_second: float | str | None = 1.0,
        overwrite: bool = False,
        storage_options: dict | None = None,
        limits: SearchLimits | None = None,
    ) -> "VideoIndex":
        """A new, empty index.

        Args:
            uri: folder or object store URI.
            model, processor: a `DmaeModel` and its `DmaeProcessor`. Without them the index takes and answers
                embeddings only.
            dim: embedding dimension where there is no model.
            dtype: how frame embeddings are stored: "float16", "int8" (half the size) or "float32".
            merge_above: merge neighbouring frames whose cosine is above this; None keeps every frame.
            frames_per_second: at which `add` reads a video that is longer than its model's frames last at that rate:
                such a video is cut into segments where its content changes. Or `"keyframes"`: the frames that the
                file can show without decoding others. None: every video is one segment, however long.
            overwrite: replace an index that is there.
            limits: how this process searches.

        Raises:
            VideoIndexError: an index is there already, or the location cannot be written.
        """
        if model is not None:
            check_dimension(dim or model.config.projection_dim, model)
            dim = model.config.projection_dim
        if not dim:
            raise VideoIndexError("an index without a model needs dim, the dimension of its embeddings")
        settings = IndexSettings(
            dim=dim,
            dtype=dtype,
            merge_above=merge_above,
            model=_encoder(model),
            preprocessing=_encoder(processor),
            frames_per_second=frames_per_second,
            segment_frames=processor.video_processor.num_frames if processor is not None else DEFAULT_SEGMENT_FRAMES,
            precision=precision_of(model) if model is not None else None,
        )
        table = VideoTable.create(uri, settings, overwrite=overwrite, storage_options=storage_options)
        return cls(table, model, processor, limits)

    @classmethod
    def open(
        cls, uri, model=None, processor=None, *, read_only: bool = False, storage_options=None, limits=None
    ) -> "VideoIndex":
        """An existing index, made with this model and this preprocessing.

        Warns where the model computes in another precision than the one that embedded the videos.

        Raises:
            VideoIndexError: no index there, one of a newer version, or one made with another model or preprocessing.
        """
        table = VideoTable.open(uri, storage_options=storage_options, read_only=read_only)
        if model is not None:
            check_dimension(table.settings.dim, model)
        for what, mine in (("model", _encoder(model)), ("preprocessing", _encoder(processor))):
            stored: Encoder = getattr(table.settings, what)
            if mine.fingerprint and stored.fingerprint and mine.fingerprint != stored.fingerprint:
                raise VideoIndexError(
                    f"the index at {uri} was made with the {what} {stored}, not {mine}: "
                    f"open it with the former, or index the videos again"
                )
        note = difference_note(table.settings.precision, precision_of(model)) if model is not None else None
        if note is not None:
            warnings.warn(f"the index at {uri}: {note}", stacklevel=2)
        return cls(table, model, processor, limits)

    @classmethod
    def from_hub(
        cls, repo_id: str, model=None, processor=None, *, revision=None, limits=None, videos: bool = False
    ) -> "VideoIndex":
        """Downloads an index that `push_to_hub` shared and opens it read-only.

        Its paths are relative to the folder above the index, where the videos are too if asked for and shared.
        """
        folder = sharing.download(repo_id, revision, videos=videos)
        return cls.open(folder, model, processor, read_only=True, limits=limits)

    @property
    def uri(self) -> str:
        return self.table.uri

    def __len__(self) -> int:
        return self.table.count()

    def __repr__(self) -> str:
        return f"VideoIndex({self.uri!r}, {len(self)} videos)"

    def add(self, videos, *, ray: bool | str = False, encoders: int | None = None, **options) -> AddReport:
        """Encodes and adds videos.

        Idempotent by content: unchanged files are skipped, also those that moved or were touched (one that has another
        name in its folder gets another id); changed ones are encoded again, vanished ones reported (removed with
        `prune=True`). A file that cannot be read is reported and never stops the others.

        Args:
            videos: a folder (searched for video files), a file, a URL of either (`s3://`, `gs://`, `hf://`,
                `https://`), a text file that lists such, a `datasets.Dataset` or the name of one on the Hub, whose
                column `video` holds them; or a list of these.
            ray: encode on a Ray cluster: the address of its head (`"10.0.0.1:6379"`), or True for the one that this
                machine belongs to (a cluster of this machine alone where it belongs to none).
            encoders: how many encode at once on the cluster; as many as fit by default.
            options: those of `AddOptions`.
        """
        arguments = self.table, *self._encoders(), videos
        options["vector_index_above"] = self._searcher.limits.exact_limit
        if ray is False:
            return encoding.add_videos(*arguments, **options)
        from .indexing.cluster import add_on_ray

        return add_on_ray(*arguments, address=None if ray is True else ray, encoders=encoders, **options)

    def add_embeddings(
        self,
        ids: Sequence[str],
        frame_embeds,
        frame_mask=None,
        metadata: Sequence[dict | None] | None = None,
        *,
        frame_times=None,
        files: Sequence[VideoFile] | None = None,
        segments: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        """Adds videos whose embeddings are at hand, in one commit; an id that is there already is replaced.

        Args:
            ids: B strings, distinct where there are no `segments`.
            frame_embeds: `(B, F, D)` unit-norm frame embeddings, numpy or torch. F may differ between calls.
            frame_mask: `(B, F)` 1 for frames (or their weight in the average), 0 for padding; None: all are frames.
            metadata: B dictionaries. Plain values can be named in filters; `path` and `duration` fill the hits'
                fields.
            frame_times: `(B, F)` seconds.
            files: B `VideoFile`s, what `add` knows of the files.
            segments: B pairs of seconds, where in its video each row starts and ends, in the order of time; a video's
                rows must all be in the same call. None: every row is a whole video.

        Raises:
            VideoIndexError: wrong shapes, NaN, duplicate ids. Nothing is added then.
        """
        rows = make_rows(
            self.table.settings,
            ids,
            frame_embeds,
            frame_mask,
            frame_times=frame_times,
            files=files,
            metadata=metadata,
            segments=segments,
        )
        if rows.num_rows:
            self.table.write(rows)

    def add_film(self, video_id: str, chunks: Iterable["FilmChunk"], **options) -> list[str]:
        """Adds a video whose frames come a few at a time, cut into segments where its content changes, in one commit.

        For videos that must be read elsewhere than in this process and its own; `add` is for all others.

        Args:
            video_id: a string; a video that has it already is replaced.
            chunks: the whole of it as `film_frames` reads it, at the index's own `frames_per_second`.
            options: `path` and `metadata` of the video, as for `add_embeddings`; `tell`, called now and then with the
                share (0 to 1) that is encoded.

        Returns:
            what was not as it should be with it, in plain lines.

        Raises:
            VideoDecodeError: it cannot be read further. Nothing of it is kept then.
        """
        check_ids([video_id])
        if self.table.settings.frames_per_second is None:
            raise VideoIndexError("this index holds a video as one segment (frames_per_second is None): use add")
        from .indexing.long_videos import encode_film

        return encode_film(self.table, *self._encoders(), video_id, chunks, **options)

    def delete(self, ids: str | Sequence[str]) -> int:
        """Deletes videos by id and returns how many were there."""
        return self.table.delete(check_ids([ids] if isinstance(ids, str) else ids, distinct=False))

    def search(
        self,
        query,
        k: int = 10,
        *,
        offset: int = 0,
        where: str | Mapping | None = None,
        min_score: float | None = None,
        min_confidence: float | None = None,
        per_video: bool = True,
        distinct: float | None = None,
        alternatives=None,
        also=None,
        like=None,
        without=None,
    ) -> list[SearchHit]:
        """The k best videos for a query, each with the span that matches best, best first.

        Args:
            query: a text; an image (PIL, path) or a video (path, bytes, `VideoFrames`) to find more like it; or what
                `encode` made of one. (A list of queries is answered as by `search_many`.)
            k: hits wanted; fewer come back where the index holds fewer. offset: hits to skip, for paging. Both count
                also those that `min_score` and `min_confidence` leave out.
            where: a filter such as `"duration < 60 AND category = 'food'"`, or a dictionary such as `{"category":
                "food"}`.
            min_score: leave out hits, and their further moments, below. min_confidence: leave out hits whose
                `confidence` is below; it means as much for any text.
            per_video: one hit per video, its other matching spans in `hit.moments`; False: every span is a hit.
            distinct: leave out hits whose frames are near-identical to a better one's (a re-encode, a trim): 0.95 is a
                cosine that suits most models. As many other hits come in their place, where there are.
            alternatives: texts or examples of which any does in place of the query.
            also: what must match too. like: the same, an image or a video. Each counts as much as the query.
            without: what pushes a video down that matches it. Each of the four may be one or a list; what they do to
                the score is in `search.combination`.
        """
        options = {"offset": offset, "where": where, "min_score": min_score, "per_video": per_video}
        options |= {"min_confidence": min_confidence, "distinct": distinct}
        parts = {"alternatives": alternatives, "also": also, "like": like, "without": without}
        if any(part is not None for part in parts.values()):
            several = isinstance(query, (list, tuple))
            query = [self.encode(one, **parts) for one in query] if several else self.encode(query, **parts)
        if isinstance(query, (list, tuple)):
            return self.search_many(query, k, **options)  # type: ignore[return-value]
        return self.search_many([query], k, **options)[0]

    def search_many(self, queries: Sequence, k: int = 10, **options) -> list[list[SearchHit]]:
        """As `search` for several queries, which are encoded and compared together: one list of hits per query."""
        if not len(queries):
            raise VideoIndexError("no query: give a text, an image or a video")
        encoded = query_module.encode_queries(*self._encoders(), queries)
        combined = {n: query for n, query in enumerate(encoded) if isinstance(query, CombinedQuery)}
        found = {n: self._searcher.search_combined(query, k, **options) for n, query in combined.items()}
        plain = {n: query for n, query in enumerate(encoded) if not isinstance(query, CombinedQuery)}
        for scoring in dict.fromkeys(query.options for query in plain.values()):
            chosen = [n for n, query in plain.items() if query.options == scoring]
            features = TextFeatures.cat([encoded[n].features for n in chosen])
            found |= zip(chosen, self._searcher.search(features, k, options=scoring, **options))
        return [found[n] for n in range(len(encoded))]

    def encode(self, query, *, alternatives=None, also=None, like=None, without=None) -> EncodedQuery:
        """A query of any kind after the model, to `search`, `explain` and `rescore` with without encoding it again.

        The further parts are those of `search`.

        Raises:
            VideoIndexError: a part that is empty, cannot be read, or is left out again by `without`.
        """
        parts = [as_parts(part, name) for name, part in (("alternatives", alternatives), ("also", also))]
        parts += [as_examples(like), as_parts(without, "without")]
        flat = [query, *(part for group in parts for part in group)]
        encoded = iter(query_module.encode_queries(*self._encoders(), flat))
        first = next(encoded)
        groups = [tuple(next(encoded) for _ in group) for group in parts]
        return combine(first, groups[0], groups[1] + groups[2], groups[3]) if any(groups) else first

    def encode_text(self, text: str) -> EncodedQuery:
        """As `encode`, for what is a text even where it looks like the path of a file: what a stranger typed."""
        return query_module.encode_text_queries(*self._encoders(), [text])[0]

    def search_embeddings(
        self,
        sentence_embeds,
        word_embeds,
        word_weights,
        k: int = 10,
        *,
        offset=0,
        where=None,
        min_score=None,
        min_confidence: float | None = None,
        per_video: bool = True,
        distinct: float | None = None,
    ) -> list[list[SearchHit]]:
        """As `search`, for A queries given as features: `(A, D)`, `(A, T, D)`, `(A, T)`, numpy or torch."""
        features = query_module.check_features(sentence_embeds, word_embeds, word_weights, self.table.settings.dim)
        options = {"offset": offset, "where": where, "min_score": min_score, "per_video": per_video}
        return self._searcher.search(features, k, min_confidence=min_confidence, distinct=distinct, **options)

    def duplicates(self, above: float = NEAR_IDENTICAL) -> list[list[Copy]]:
        """Groups of videos that show the same, in whole or in part: re-encodes and trims, found by their frames.

        Each group begins with its longest video, of which all others in it are copies, so that the first alone may be
        kept; a copy's `start` and `end` tell which part of the first it shows. Needs no model. What it costs, and what
        it may miss in a large index, is in `duplicates.finding`.

        Args:
            above: cosine from which two frames are alike.
        """
        return find_duplicates(self.table, above)

    def explain(self, query, video_id: str) -> explanation.Explanation:
        """How each word of a query (as for `search`) matches each frame of an indexed video.

        Raises:
            VideoIndexError: an empty query, or an id that is not in the index.
        """
        _, processor = self._encoders()
        encoded = self.encode(query)
        words = query_module.words_of(processor, encoded)
        return explanation.explain(self.table, words, encoded, video_id, self._searcher.queries_of(encoded))

    def timeline(self, query, video_id: str) -> tuple[np.ndarray, np.ndarray]:
        """The score of a query (as for `search`) over the whole of an indexed video.

        Returns:
            times `(F,)` in seconds, empty where unknown, and the scores `(F,)` of all of its frames, as those of
            `SearchHit.frame_scores`, in the order of time. A still stretch may have only one frame.

        Raises:
            VideoIndexError: an empty query, or an id that is not in the index.
        """
        encoded = self.encode(query)
        return explanation.timeline(self.table, self._searcher.queries_of(encoded), video_id)

    def rescore(self, query, ids: Sequence[str], options: ScoreOptions | None = None) -> list[SearchHit]:
        """Some of the indexed videos scored by a query (as for `search`), best first.

        Args:
            ids: of the videos; those that are not there are left out.
            options: how to score, in place of the model's own options.
        """
        encoded = self.encode(query)
        return explanation.rescore(self.table, self._searcher.queries_of(encoded, options), ids)

    def get(self, video_id: str, columns: Sequence[str], *, at: float | None = None) -> dict | None:
        """Columns of one video's first row (`stats()["columns"]` lists them), or None where there is no such video.

        Args:
            at: seconds: the row of the segment that holds this moment, in place of the first.
        """
        return self.table.row(check_ids([video_id])[0], columns, at=at)

    def thumbnails(self, ids: Sequence[str]) -> dict[str, bytes]:
        """JPEG thumbnails of the videos that have one, by id; of a long video one from its beginning."""
        rows = self.table.videos(["id", "thumbnail"], check_ids(ids, distinct=False)).to_pylist()
        return {row["id"]: row["thumbnail"] for row in rows if row["thumbnail"]}

    def thumbnails_of(self, hits: Sequence[SearchHit]) -> dict[str, bytes]:
        """JPEG thumbnails of the segments that fit best, by the id of the video; of its best hit."""
        best: dict[str, SearchHit] = {}
        for hit in hits:
            best.setdefault(hit.id, hit)
        if self.table.settings.format == 1 or not best:
            return self.thumbnails(list(best))
        keys = segment_keys(list(best), [hit.segment for hit in best.values()])
        rows = self.table.scan(["id", "thumbnail"], make_where({"segment_key": keys})).to_pylist()
        return {row["id"]: row["thumbnail"] for row in rows if row["thumbnail"]}

    def prepare(self, tell: Callable[[int, int], None] | None = None) -> None:
        """Loads into memory what searches need; otherwise the first two searches do.

        Args:
            tell: called now and then with how many segments are loaded, and of how many.
        """
        self._searcher.prepare(tell)

    def optimize(self, *, vector_index: bool | None = None) -> None:
        """Merges small data files; builds the vector index (by default where the index has outgrown exact search)."""
        self.table.compact(force=True)
        if vector_index or (vector_index is None and self._searcher.limits.outgrown_by(len(self))):
            self.table.build_vector_index()

    def maintain(self) -> None:
        """What `add` does at its end: as `optimize`, as far as it pays."""
        self.table.maintain(self._searcher.limits.exact_limit)

    def stats(self) -> dict:
        """Sizes, provenance and how searches are answered, as plain values."""
        return statistics(self.table, self._searcher.limits) | self._searcher.stats()

    def push_to_hub(self, repo_id: str, **options) -> str:
        """Shares the index as a dataset repository; see `sharing.push` for options."""
        return sharing.push(self.table, repo_id, **options)

    def _encoders(self) -> "tuple[DmaeModel, DmaeProcessor]":
        """The model and the processor."""
        if self.model is None or self.processor is None:
            raise VideoIndexError(f"the index at {self.uri} was opened without a model: open it with one")
        return self.model, self.processor


def check_dimension(dim: int, model) -> None:
    if dim != model.config.projection_dim:
        raise VideoIndexError(
            f"the index has dimension {dim}, the model {model.config.projection_dim}: use the model it was made with"
        )


def _encoder(part) -> Encoder:
    if part is None:
        return Encoder()
    return preprocessing_encoder(part) if hasattr(part, "video_processor") else model_encoder(part)

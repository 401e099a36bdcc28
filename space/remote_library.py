"""A library whose model and index are behind a search service, which is asked over HTTP."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from dmae.retrieval import Explanation, SearchClient, SearchHit, ServerError, ServerRefusal

from .library import EVERYWHERE, INDEX, Found, Library, Query, Result, Watched, Where, check_count
from .texts import UserError

SECONDS = 20  # to wait for an answer; the service itself answers without a shard sooner

logger = logging.getLogger(__name__)


class RemoteLibrary(Library):
    """What the search service at an address serves (`dmae.retrieval.serving`).

    Raises:
        InputError: it is no address. ServerError: nothing answers there, or no search service.
    """

    def __init__(self, address: str):
        self._service = SearchClient(address, option="--backend", seconds=SECONDS)
        stats = self._service.ask("stats")
        with self._service.errors():
            self._videos, self._model_name = int(stats["videos"]), stats.get("model")

    @property
    def model_name(self) -> str | None:
        return self._model_name

    def __len__(self) -> int:
        """As of now; while a part of the index does not answer, as it was."""
        try:
            stats = self._service.ask("stats")
            with self._service.errors():
                self._videos = self._videos if stats["partial"] else int(stats["videos"])
        except ServerError as error:
            logger.warning("%s", error)
        return self._videos

    def search(self, query: Query, k: int, *, shelf=None, where: Where = EVERYWHERE) -> Found:
        k, options = check_count(k), where.options()
        if options["distinct"] is not None:
            raise UserError("keeps_copies")
        asked = {name: options[name] for name in ("where", "min_confidence")}
        return self._found(self._service.search, query=query.label, k=k, **asked)

    def rescore(self, query: Query, ids: list[str], textual: bool, visual: bool) -> Found:
        if not ids:
            return Found([])
        options = {"textual_attention": textual, "visual_attention": visual}
        return self._found(self._service.rescore, query=query.label, video_id=ids, **options)

    def explain(self, query: Query, scope: str, video_id: str, shelf=None) -> tuple[Result, Explanation]:
        explanation = self.watch(query, scope, video_id, shelf).explanation
        return Result(explanation.hit), explanation

    def watch(self, query: Query, scope: str, video_id: str, shelf=None) -> Watched:
        if scope != INDEX:
            raise UserError("video_gone")
        with self._told("video_gone"):
            told = self._service.ask("watch", query=query.label, video_id=str(video_id))
            with self._service.errors():
                explanation = Explanation.from_dict(told["explanation"], SearchHit.from_dict(told["segment"]))
                times, scores = (np.array(told[name], dtype=np.float64) for name in ("times", "scores"))
                if len(times) not in (0, len(scores)):
                    raise ValueError("times and scores do not fit together")
                return Watched(Result(SearchHit.from_dict(told["hit"])), explanation, times, scores)

    def row(
        self, scope: str, video_id: str, columns: list[str], shelf=None, *, at: float | None = None
    ) -> dict | None:
        if scope != INDEX:
            raise UserError("video_gone")
        try:
            if columns == ["thumbnail"]:
                return {"thumbnail": self._service.thumbnail(video_id=video_id, at=at)}
            told = self._service.ask("video", video_id=video_id, at=at)
            with self._service.errors():
                return {name: told[name] for name in columns}
        except ServerRefusal:
            return None
        except ServerError as error:
            logger.warning("%s", error)
            return None

    def _query(self, text: str) -> Query:
        return Query(text, None)

    def _found(self, ask: Callable, **asked) -> Found:
        with self._told():
            answer = ask(**asked)
            with self._service.errors():
                results = [Result(SearchHit.from_dict(hit)) for hit in answer.hits]
        return Found(results, len(answer.partial), answer.parts)

    @contextmanager
    def _told(self, refusal: str = "backend_silent") -> Iterator[None]:
        """What goes wrong, in words for the visitor; `refusal` is the text for what the service does not take."""
        try:
            yield
        except ServerRefusal as error:
            logger.warning("%s", error)
            raise UserError(refusal) from None
        except ServerError as error:
            logger.warning("%s", error)
            raise UserError("backend_silent") from None

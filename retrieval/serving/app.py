"""The Serve application: encoders, a deployment for each shard, and the ingress that asks them all."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import torch
from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from dmae.modeling.loading import load_pretrained
from dmae.modeling.precision import place

from ..errors import VideoIndexError
from ..indexing.fingerprint import model_encoder, preprocessing_encoder
from ..search.candidates import SearchLimits
from ..search.explanation import explain
from ..search.query import EncodedQuery, encode_text_queries, words_of
from ..search.scoring import ScoreOptions
from ..search.searcher import Searcher
from ..storage.filters import all_of
from ..storage.schema import IndexSettings
from ..storage.sharding import check_same_model
from ..storage.table import VideoTable
from .fan_out import FanOut, merge_hits
from .options import ServingOptions

MAX_QUERY = 1000  # characters
MAX_HITS = 1000
QUICK_CHECKS: dict[str, Any] = {
    "health_check_period_s": 2.0,
    "health_check_timeout_s": 6.0,
}  # a dead replica is replaced in seconds

api = FastAPI(title="Text-video search", docs_url="/docs")


def build_app(options: ServingOptions) -> serve.Application:
    """The application.

    Raises:
        VideoIndexError: a shard that is not there, or shards of different models.
    """
    tables = [_open(uri, options) for uri in options.shards]
    check_same_model([table.settings for table in tables], list(options.shards))
    encoder = QueryEncoder.options(
        num_replicas=options.encoders,
        ray_actor_options={"num_cpus": options.encoder_cpus, "num_gpus": options.encoder_gpus},
    ).bind(options.model, tables[0].settings, options.encoder_cpus)
    resources = {"num_cpus": options.shard_cpus, "memory": options.shard_memory or None}
    shards = {
        uri: Shard.options(name=f"shard-{number}", num_replicas=options.replicas, ray_actor_options=resources).bind(
            uri, options
        )
        for number, uri in enumerate(options.shards)
    }
    service = SearchService.options(ray_actor_options={"num_cpus": options.ingress_cpus})
    return service.bind(encoder, shards, options.timeout, options.retries)


@serve.deployment(max_ongoing_requests=64, **QUICK_CHECKS)
class QueryEncoder:
    """Texts to features, many visitors' in one batch."""

    def __init__(self, name: str, settings: IndexSettings, cpus: float):
        torch.set_num_threads(max(1, int(cpus)))
        model, self.processor = load_pretrained(name)
        mine = replace(settings, model=model_encoder(model), preprocessing=preprocessing_encoder(self.processor))
        check_same_model([settings, mine], ["the index", name])
        self.model = place(model, "cuda" if torch.cuda.is_available() else "cpu").eval()
        self.scoring = ScoreOptions.of(model.config)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)
    async def encode(self, texts: list[str]) -> list[tuple[EncodedQuery, ScoreOptions]]:
        return [(query, self.scoring) for query in encode_text_queries(self.model, self.processor, texts)]

    async def words(self, query: EncodedQuery) -> list[tuple[str, list[int]]]:
        return words_of(self.processor, query)


@serve.deployment(max_ongoing_requests=32, **QUICK_CHECKS)
class Shard:
    """One table, ready to be searched; it follows what is added to it."""

    def __init__(self, uri: str, options: ServingOptions):
        torch.set_num_threads(max(1, int(options.shard_cpus)))
        limits = SearchLimits() if options.candidates is None else SearchLimits(candidates=options.candidates)
        self.table = _open(uri, options)
        self.searcher = Searcher(self.table, ScoreOptions(), limits)
        self.searcher.prepare()

    def search(self, query: EncodedQuery, scoring: ScoreOptions, k: int, where, min_score) -> list[dict]:
        found = self.searcher.search(
            query.features, k, options=query.options or scoring, where=where, min_score=min_score
        )
        return [hit.to_dict() for hit in found[0]]

    def explain(self, query: EncodedQuery, words: list, video_id: str, scoring: ScoreOptions) -> dict | None:
        """None where the video is another shard's."""
        if not self.table.videos(["id"], [video_id]).num_rows:
            return None
        scores = self.searcher.queries_of(query, query.options or scoring)
        return explain(self.table, words, query, video_id, scores).to_dict()

    def describe(self) -> dict:
        return {"videos": self.table.count(), "version": self.table.version, **self.searcher.stats()}


# The decorator below takes `api` and whatever its methods use as they are by then: both of these come first.


@api.exception_handler(VideoIndexError)
async def refuse(request, error: VideoIndexError) -> JSONResponse:
    cause = getattr(error, "cause", error)  # from another process it comes with that process's stack in its text
    return JSONResponse({"error": " ".join(str(cause).split())}, status_code=400)


async def _awaited(response):
    return await response


@serve.deployment(max_ongoing_requests=256)
@serve.ingress(api)
class SearchService:
    """The HTTP endpoints."""

    def __init__(self, encoder: DeploymentHandle, shards: dict[str, DeploymentHandle], timeout: float, retries: int):
        self.encoder = encoder
        self.shards = shards
        self.fan_out = FanOut(timeout, retries, lost=(RayActorError,), refused=(VideoIndexError,))
        self.timeout = timeout

    @api.get("/search")
    async def search(
        self,
        query: str,
        k: int = Query(10, ge=1, le=MAX_HITS),
        offset: int = Query(0, ge=0, le=MAX_HITS),
        where: str | None = None,
        min_score: float | None = None,
        shortest: float | None = Query(None, ge=0),
        longest: float | None = Query(None, ge=0),
    ):
        """The k best videos of all shards for a text, best first; `partial` names the shards that did not answer."""
        started = time.perf_counter()
        encoded, scoring = await self._encode(query)
        bounds = [f"duration >= {shortest}" if shortest else None, f"duration <= {longest}" if longest else None]
        chosen = all_of(where, *bounds)
        answers = await self.fan_out.ask(
            {
                name: lambda shard=shard: shard.search.remote(encoded, scoring, k + offset, chosen, min_score)
                for name, shard in self.shards.items()
            }
        )
        found = {
            "hits": merge_hits(answers.values, k, offset),
            "shards": len(self.shards),
            "partial": list(answers.failed),
            "reasons": answers.failed,
            "seconds": round(time.perf_counter() - started, 4),
        }
        return JSONResponse(found, status_code=200 if answers.values else 503)

    @api.get("/explain")
    async def explain(self, query: str, video_id: str):
        """How each word of a text matches each frame of a video."""
        encoded, scoring = await self._encode(query)
        words = await self.encoder.words.remote(encoded)
        asked = {
            name: lambda shard=shard: shard.explain.remote(encoded, words, video_id, scoring)
            for name, shard in self.shards.items()
        }
        answers = await self.fan_out.ask(asked)
        found = next((explanation for explanation in answers.values.values() if explanation is not None), None)
        if found is None and answers.failed:
            return JSONResponse({"error": f"{video_id!r} may be in a shard that did not answer"}, status_code=503)
        if found is None:
            raise VideoIndexError(f"no video {video_id!r} in the index")
        return found

    @api.get("/stats")
    async def stats(self):
        """What each shard holds."""
        asked = {name: shard.describe.remote for name, shard in self.shards.items()}
        answers = await self.fan_out.ask(asked)
        videos = sum(shard["videos"] for shard in answers.values.values())
        return {"videos": videos, "shards": answers.values, "partial": list(answers.failed), "reasons": answers.failed}

    async def _encode(self, text: str) -> tuple[EncodedQuery, ScoreOptions]:
        # Before it enters a batch: there it would fail its neighbours too.
        if not text.strip():
            raise VideoIndexError("the query is empty: write what the video should show")
        if len(text) > MAX_QUERY:
            raise VideoIndexError(f"the query has {len(text)} characters; at most {MAX_QUERY} are read")
        for _ in range(2):
            try:
                return await asyncio.wait_for(_awaited(self.encoder.encode.remote(text)), self.timeout)
            except RayActorError:
                continue
        return await self.encoder.encode.remote(text)


def _open(uri: str, options: ServingOptions) -> VideoTable:
    return VideoTable.open(uri, read_only=True, storage_options=options.storage_options)

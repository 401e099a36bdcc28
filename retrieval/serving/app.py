"""The Serve application: encoders, a deployment for each shard, and the ingress that asks them all."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse, Response
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from ..errors import VideoIndexError
from ..search.combination import Queries
from ..search.query import EncodedQuery
from ..search.scoring import ScoreOptions
from ..storage.filters import all_of
from ..storage.sharding import check_same_model
from .encoder import QueryEncoder
from .fan_out import Answers, FanOut, SilentError, merge_hits
from .options import ServingOptions
from .shard import Shard, open_shard
from .shared_judge import SharedJudge, sure_hits

MAX_QUERY = 1000  # characters
MAX_HITS = 1000
ENCODERS_TRIED = 3
VIDEO_COLUMNS = ("path", "duration", "frame_times", "revision")

api = FastAPI(title="Text-video search", docs_url="/docs")


def build_app(options: ServingOptions) -> serve.Application:
    """The application.

    Raises:
        VideoIndexError: a shard that is not there, or shards of different models.
    """
    tables = [open_shard(uri, options) for uri in options.shards]
    settings = tables[0].settings
    check_same_model([table.settings for table in tables], list(options.shards))
    encoder = QueryEncoder.options(
        num_replicas=options.encoders,
        ray_actor_options={"num_cpus": options.encoder_cpus, "num_gpus": options.encoder_gpus},
    ).bind(options.model, settings, options.encoder_cpus)
    resources = {"num_cpus": options.shard_cpus, "memory": options.shard_memory or None}
    shards = {
        uri: Shard.options(name=f"shard-{number}", num_replicas=options.replicas, ray_actor_options=resources).bind(
            uri, options
        )
        for number, uri in enumerate(options.shards)
    }
    service = SearchService.options(ray_actor_options={"num_cpus": options.ingress_cpus})
    return service.bind(encoder, shards, options.timeout, options.retries, settings.model.name)


# The decorator below takes `api` and whatever its methods use as they are by then: all of this comes first.


@api.exception_handler(VideoIndexError)
async def refuse(request, error: VideoIndexError) -> JSONResponse:
    cause = getattr(error, "cause", error)  # from another process it comes with that process's stack in its text
    return JSONResponse({"error": " ".join(str(cause).split())}, status_code=400)


@api.exception_handler(SilentError)
async def apologise(request, error: SilentError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=503)


async def _awaited(response):
    return await response


@serve.deployment(max_ongoing_requests=256)
@serve.ingress(api)
class SearchService:
    """The HTTP endpoints."""

    def __init__(
        self,
        encoder: DeploymentHandle,
        shards: dict[str, DeploymentHandle],
        timeout: float,
        retries: int,
        model_name: str | None,
    ):
        self.encoder = encoder
        self.shards = shards
        self.fan_out = FanOut(timeout, retries, lost=(RayActorError,), refused=(VideoIndexError,))
        self.judge = SharedJudge(
            self.fan_out,
            lambda name, method, *given: getattr(shards[name], method).remote(*given),
            list(shards),
            lambda sample: self._ask_encoder(lambda: encoder.judge.remote(sample)),
        )
        self.timeout = timeout
        self.model_name = model_name

    @api.get("/search")
    async def search(
        self,
        query: str,
        k: int = Query(10, ge=1, le=MAX_HITS),
        offset: int = Query(0, ge=0, le=MAX_HITS),
        where: str | None = None,
        min_score: float | None = None,
        min_confidence: float | None = Query(None, ge=0, le=1),
        shortest: float | None = Query(None, ge=0),
        longest: float | None = Query(None, ge=0),
    ):
        """The k best videos of all shards for a text, best first; `partial` names the shards that did not answer."""
        started = time.perf_counter()
        encoded, scoring = await self._encode(query)
        bounds = [f"duration >= {shortest}" if shortest else None, f"duration <= {longest}" if longest else None]
        chosen = all_of(where, *bounds)
        answers = await self._ask(lambda shard: shard.search.remote(encoded, scoring, k + offset, chosen, min_score))
        hits = merge_hits({name: told["hits"] for name, told in answers.values.items()}, k, offset)
        versions = {name: told["version"] for name, told in answers.values.items()}
        await self.judge.tell(hits, Queries([(encoded.features, scoring)]), versions)
        return self._hits(answers, sure_hits(hits, min_confidence), started)

    @api.get("/rescore")
    async def rescore(
        self,
        query: str,
        video_id: Annotated[list[str], Query(max_length=MAX_HITS)],
        textual_attention: bool = True,
        visual_attention: bool = True,
    ):
        """Some of the videos against a text, best first, by a score with each of its attentions on or off."""
        started = time.perf_counter()
        encoded, scoring = await self._encode(query)
        scoring = scoring._replace(textual_attention=textual_attention, visual_attention=visual_attention)
        answers = await self._ask(lambda shard: shard.rescore.remote(encoded, scoring, video_id))
        return self._hits(answers, merge_hits(answers.values, len(video_id)), started)

    @api.get("/explain")
    async def explain(self, query: str, video_id: str):
        """How each word of a text matches each frame of a video."""
        encoded, scoring = await self._encode(query)
        words = await self._ask_encoder(lambda: self.encoder.words.remote(encoded))
        return await self._of_one(video_id, lambda shard: shard.explain.remote(encoded, words, video_id, scoring))

    @api.get("/watch")
    async def watch(self, query: str, video_id: str):
        """A video against a text from its beginning to its end: the `hit` with every moment that matches, the
        `segment` that fits best as a hit of its own, the `explanation` of that, and the `times` and `scores` of all
        frames."""
        encoded, scoring = await self._encode(query)
        words = await self._ask_encoder(lambda: self.encoder.words.remote(encoded))
        found = await self._of_one(video_id, lambda shard: shard.watch.remote(encoded, words, video_id, scoring))
        await self.judge.tell([found["hit"]], Queries([(encoded.features, scoring)]), {})
        return found

    @api.get("/video")
    async def video(self, video_id: str, at: float | None = None):
        """What the index knows of a video, or of the segment at a moment (s)."""
        return await self._of_one(video_id, lambda shard: shard.video.remote(video_id, VIDEO_COLUMNS, at))

    @api.get("/thumbnail")
    async def thumbnail(self, video_id: str, at: float | None = None):
        """A picture of a video, or of the segment at a moment (s): a JPEG; empty where the index has none."""
        row = await self._of_one(video_id, lambda shard: shard.video.remote(video_id, ("thumbnail",), at))
        return Response(row["thumbnail"] or b"", media_type="image/jpeg")

    @api.get("/stats")
    async def stats(self):
        """What each shard holds."""
        answers = await self._ask(lambda shard: shard.describe.remote())
        videos = sum(shard["videos"] for shard in answers.values.values())
        told = {"videos": videos, "model": self.model_name, "shards": answers.values}
        return told | {"partial": list(answers.failed), "reasons": answers.failed}

    async def _ask(self, call: Callable[[DeploymentHandle], Any]) -> Answers:
        return await self.fan_out.ask({name: partial(call, shard) for name, shard in self.shards.items()})

    async def _of_one(self, video_id: str, call: Callable[[DeploymentHandle], Any]) -> dict:
        """The answer of the shard that holds a video."""
        answers = await self._ask(call)
        found = next((answer for answer in answers.values.values() if answer is not None), None)
        if found is None and answers.failed:
            raise SilentError(f"{video_id!r} may be in a shard that did not answer")
        if found is None:
            raise VideoIndexError(f"no video {video_id!r} in the index")
        return found

    def _hits(self, answers: Answers, hits: list[dict], started: float) -> JSONResponse:
        found = {
            "hits": hits,
            "shards": len(self.shards),
            "partial": list(answers.failed),
            "reasons": answers.failed,
            "seconds": round(time.perf_counter() - started, 4),
        }
        return JSONResponse(found, status_code=200 if answers.values else 503)

    async def _encode(self, text: str) -> tuple[EncodedQuery, ScoreOptions]:
        # Before it enters a batch: there it would fail its neighbours too.
        if not text.strip():
            raise VideoIndexError("the query is empty: write what the video should show")
        if len(text) > MAX_QUERY:
            raise VideoIndexError(f"the query has {len(text)} characters; at most {MAX_QUERY} are read")
        return await self._ask_encoder(lambda: self.encoder.encode.remote(text))

    async def _ask_encoder(self, call: Callable[[], Any]) -> Any:
        for _ in range(ENCODERS_TRIED):
            with suppress(RayActorError):  # it died: another one is asked
                try:
                    return await asyncio.wait_for(_awaited(call()), self.timeout)
                except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
                    break
        raise SilentError("no encoder answered in time: ask again")

"""A search service without a cluster: the endpoints of `dmae.retrieval.serving.app` in a thread, over the same shards.

with search_service(index, folder) as service:     # an index split in two
    service.url                                    # to ask
    service.silent.add(service.parts[0])           # from now on this part does not answer
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from dmae.retrieval import ScoreOptions, VideoIndex, VideoIndexError
from dmae.retrieval.search.combination import Queries
from dmae.retrieval.search.confidence import Judge
from dmae.retrieval.search.query import words_of
from dmae.retrieval.serving.fan_out import FanOut, merge_hits
from dmae.retrieval.serving.options import ServingOptions
from dmae.retrieval.serving.shared_judge import SharedJudge, sure_hits
from dmae.retrieval.storage.sharding import split
from dmae.space.library import OpenLibrary, Where
from dmae.space.method_tab import compare
from dmae.space.remote_library import RemoteLibrary

COLUMNS = ("path", "duration", "frame_times", "revision")
CONFIDENCE_BOUND = 1e-4  # by which a confidence told over HTTP, in four digits, may differ from that of one index


def ids(found) -> list[str]:
    """Of what a library found."""
    return [result.hit.id for result in found.results]


def assert_alike(remote: RemoteLibrary, own: OpenLibrary, text: str) -> None:
    """A library behind a service of two parts answers a page as one over the same index in this process does."""
    assert (len(remote), remote.model_name) == (len(own), own.model_name)
    query, here = remote.ask(text), own.ask(text)
    middle = float(np.median([result.hit.confidence for result in own.search(here, 9).results])) + 1e-3
    for where in (Where(), Where((3, None)), Where((None, 3)), Where(min_confidence=middle)):
        found, expected = remote.search(query, 9, where=where), own.search(here, 9, where=where)
        assert ids(found) == ids(expected) and (found.silent, found.parts) == (0, 2)
        for name, tolerance in (("score", 2e-6), ("confidence", CONFIDENCE_BOUND)):
            values = [[getattr(result.hit, name) for result in both.results] for both in (found, expected)]
            np.testing.assert_allclose(*np.array(values, float), rtol=0, atol=tolerance)
    video = ids(own.search(here, 1))[0]
    watched, alone = remote.watch(query, "index", video), own.watch(here, "index", video)
    # What is unrelated to the query is judged by each part's own videos: where spans end may differ.
    told, expected = watched.result.hit, alone.result.hit
    assert (told.id, told.path, told.duration) == (expected.id, expected.path, expected.duration)
    assert told.score == pytest.approx(expected.score, abs=2e-6)
    assert told.confidence == pytest.approx(expected.confidence, abs=CONFIDENCE_BOUND)
    assert watched.explanation.to_dict() == alone.explanation.to_dict()
    np.testing.assert_allclose(watched.scores, alone.scores, atol=1e-6)
    np.testing.assert_allclose(watched.times, alone.times, atol=1e-3)
    columns = ["path", "frame_times"]
    assert remote.row("index", video, columns) == {name: own.index.get(video, columns)[name] for name in columns}
    assert remote.row("index", video, ["thumbnail"], at=1.0) == {"thumbnail": own.index.thumbnails([video])[video]}
    compared, expected = compare(remote, query), compare(own, here)
    assert {name: ids(found) for name, found in compared.items()} == {
        name: ids(found) for name, found in expected.items()
    }


@dataclass
class Service:
    """What answers. `silent`: the parts that do not."""

    index: VideoIndex
    shards: dict[str, Any]
    url: str = ""
    silent: set[str] = field(default_factory=set)

    @property
    def parts(self) -> list[str]:
        return list(self.shards)

    def answer(self, path: str, asked: dict[str, list[str]]) -> tuple[int, Any]:
        """Status and body: JSON values, or bytes."""
        one = {name: values[0] for name, values in asked.items()}
        awake = {name: shard for name, shard in self.shards.items() if name not in self.silent}
        scoring = ScoreOptions.of(self.index.model.config)
        query = self.index.encode_text(one["query"]) if "query" in one else None
        words = words_of(self.index.processor, query) if query else []
        if path == "stats":
            videos = sum(shard.describe()["videos"] for shard in awake.values())
            model = self.index.table.settings.model.name
            return 200, {"videos": videos, "model": model, "partial": sorted(self.silent)}
        if path in ("search", "rescore"):
            k = int(one.get("k", 100))
            if path == "search":
                found = {
                    name: shard.search(query, scoring, k, one.get("where"), None) for name, shard in awake.items()
                }
                hits = merge_hits({name: told["hits"] for name, told in found.items()}, k)
                hits = self._judged(hits, query, scoring, float(one.get("min_confidence", 0)))
            else:
                on = {key: one[key] == "True" for key in ("textual_attention", "visual_attention")}
                scoring = scoring._replace(**on)
                hits = merge_hits(
                    {name: shard.rescore(query, scoring, asked["video_id"]) for name, shard in awake.items()}, k
                )
            return 200 if awake else 503, {"hits": hits, "partial": sorted(self.silent), "shards": len(self.shards)}
        return self._of_one(path, one, awake, query, words, scoring)

    def _judged(self, hits: list[dict], query, scoring, least: float) -> list[dict]:
        async def ask(name: str, method: str, *given):
            assert name not in self.silent
            return getattr(self.shards[name], method)(*given)

        async def make(sample):
            return Judge(self.index._searcher._bank.features(), sample, scoring)

        judge = SharedJudge(FanOut(5.0, 0), ask, self.parts, make)
        asyncio.run(judge.tell(hits, Queries([(query.features, scoring)]), {}))
        return sure_hits(hits, least)

    def _of_one(self, path: str, one: dict, awake: dict, query, words, scoring) -> tuple[int, Any]:
        video_id, at = one["video_id"], float(one["at"]) if "at" in one else None
        calls = {
            "watch": lambda shard: shard.watch(query, words, video_id, scoring),
            "video": lambda shard: shard.video(video_id, COLUMNS, at),
            "thumbnail": lambda shard: shard.video(video_id, ("thumbnail",), at),
        }
        found = next(filter(None, map(calls[path], awake.values())), None)
        if found is None and self.silent:
            return 503, {"error": f"{video_id!r} may be in a shard that did not answer"}
        if found is None:
            return 400, {"error": f"no video {video_id!r} in the index"}
        if path == "watch":
            self._judged([found["hit"]], query, scoring, 0.0)
        return 200, found["thumbnail"] or b"" if path == "thumbnail" else found


@contextmanager
def search_service(index: VideoIndex, folder: Path) -> Iterator[Service]:
    from dmae.retrieval.serving.shard import Shard  # which needs Ray

    tables = split(index.table, str(folder), 2)
    options = ServingOptions("any", tuple(table.uri for table in tables))
    plain: Any = Shard.func_or_class
    service = Service(index, {uri: plain(uri, options) for uri in options.shards})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            try:
                status, said = service.answer(parts.path.strip("/"), parse_qs(parts.query))
            except VideoIndexError as error:
                status, said = 400, {"error": str(error)}
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()

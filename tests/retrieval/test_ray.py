"""Indexing and search on a real Ray cluster of this machine: the same rows, and nothing lost where something dies."""

import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import requests
from ray_nodes import processes_of, ray_cluster
from search_service import CONFIDENCE_BOUND, assert_alike
from training_parts import tiny_model
from video_files import write_video

from dmae.modeling.loading import load_pretrained
from dmae.retrieval import VideoIndex, VideoIndexError
from dmae.retrieval.indexing import encoding
from dmae.retrieval.storage.sharding import split
from dmae.space.library import OpenLibrary
from dmae.space.remote_library import RemoteLibrary

pytestmark = pytest.mark.distributed
COUNT = 24


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster(nodes=2) as running:
        yield running


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(COUNT):
        colours = np.random.default_rng(number).integers(0, 255, (10, 1, 1, 3), dtype=np.uint8)
        write_video(folder / f"{number:02d}.mp4", list(colours.repeat(48, 1).repeat(64, 2)), size=(64, 48), rate=5)
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42 this is no video" * 50)
    return folder


@pytest.fixture
def index(model, tmp_path):
    return VideoIndex.create(tmp_path / "index", *model)


class Deadly:
    """A video that ends the process that opens it."""

    def __init__(self, name: str):
        self.name = name

    def open(self):
        os.kill(os.getpid(), signal.SIGKILL)


def all_columns(index) -> dict[str, dict]:
    """Rows by id, without what differs from write to write."""
    columns = [name for name in index.table.columns if name != "revision"]
    rows = index.table.scan(columns).to_pylist()
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: {name: row[name] for name in columns} for row in rows}


def test_a_cluster_adds_the_rows_that_one_machine_adds(cluster, index, corpus, model, tmp_path):
    plain = VideoIndex.create(tmp_path / "plain", *model)
    expected = plain.add(corpus, workers=0)
    report = index.add(corpus, ray=cluster.address, workers=0)
    assert (report.added, report.failed) == (COUNT, expected.failed)
    assert all_columns(index) == all_columns(plain)
    again = index.add(corpus, ray=cluster.address, workers=0)
    assert (again.added, again.updated, again.unchanged, again.failed) == (0, 0, COUNT, expected.failed)


def test_what_the_cluster_cannot_do_is_refused_at_once(cluster, index, corpus):
    for options, message in (
        ({"workers": 3}, r"an encoder needs 4 CPUs .* on one node, the largest node has 1: lower workers"),
        ({"encoders": 3, "workers": 0}, "encoders must be from 1 to 2"),
    ):
        started = time.monotonic()
        with pytest.raises(VideoIndexError, match=message):
            index.add(corpus, ray=cluster.address, **options)
        assert time.monotonic() - started < 5 and len(index) == 0


def test_a_node_that_vanishes_and_a_deadly_file_cost_no_other_row(cluster, index, corpus, monkeypatch):
    import ray

    make_plan = encoding.make_plan

    def with_a_deadly_file(*arguments, **options):
        plan = make_plan(*arguments, **options)
        plan.new = [replace(f, video=Deadly(f.path)) if f.id == "07.mp4" else f for f in plan.new]
        return plan

    def take_a_node_away():
        while not len(index):
            time.sleep(0.05)
        cluster.remove(cluster.nodes[0])

    monkeypatch.setattr(encoding, "make_plan", with_a_deadly_file)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    thread = threading.Thread(target=take_a_node_away, daemon=True)
    thread.start()
    report = index.add(corpus, ray=cluster.address, workers=0, commit_every=2)
    thread.join()
    failed = {os.path.basename(path): reason for path, reason in report.failed}
    assert sorted(failed) == ["07.mp4", "broken.mp4"] and "was killed, twice" in failed["07.mp4"]
    assert report.added == COUNT - 1
    assert sorted(all_columns(index)) == sorted(f"{n:02d}.mp4" for n in range(COUNT) if n != 7)


@dataclass
class Service:
    """A running search service over two shards of an index, and the index whole."""

    url: str
    shards: list[str]
    index: VideoIndex

    def get(self, path: str, **parameters) -> tuple[int, dict]:
        answer = requests.get(f"{self.url}/{path}", params=parameters, timeout=60)
        return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def service(cluster, corpus, model, tmp_path_factory):
    from ray import serve

    from dmae.retrieval.serving import build

    folder = tmp_path_factory.mktemp("served")
    for part in model:
        part.save_pretrained(folder / "model")
    index = VideoIndex.create(folder / "index", *load_pretrained(folder / "model"))
    index.add(corpus, workers=0)
    shards = [shard.uri for shard in split(index.table, folder / "shards", 2)]
    small = {"shard_cpus": "0.1", "encoder_cpus": "0.1", "ingress_cpus": "0.1"}
    cluster.add()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    app = build({"model": str(folder / "model"), "shards": f"{folder}/shards/*-of-2", "timeout": "2", **small})
    serve.run(app, name="search")
    yield Service(f"http://127.0.0.1:{port}", shards, index)
    serve.shutdown()


def test_the_service_answers_as_one_index_over_everything(service):
    expected = [hit.to_dict() for hit in service.index.search("a red square", k=8)]
    status, answer = service.get("search", query="a red square", k=6, offset=2)
    assert status == 200 and answer["partial"] == [] and answer["shards"] == 2
    assert [hit["id"] for hit in answer["hits"]] == [hit["id"] for hit in expected[2:]]
    for hit, alone in zip(answer["hits"], expected[2:]):
        assert hit["score"] == pytest.approx(alone["score"], abs=1e-6)
        assert hit["confidence"] == pytest.approx(alone["confidence"], abs=CONFIDENCE_BOUND)
        assert {name: hit[name] for name in ("path", "best_time")} == {
            name: alone[name] for name in ("path", "best_time")
        }
    least = sorted(hit["confidence"] for hit in answer["hits"])[3]
    sure = service.get("search", query="a red square", k=6, offset=2, min_confidence=least)[1]["hits"]
    assert sure == [hit for hit in answer["hits"] if hit["confidence"] >= least] and 3 <= len(sure) < 6
    assert service.get("search", query="a red square", min_confidence=1)[1]["hits"] == []
    status, explanation = service.get("explain", query="a red square", video_id="05.mp4")
    assert status == 200 and explanation == service.index.explain("a red square", "05.mp4").to_dict()
    assert service.get("stats")[1]["videos"] == COUNT


def test_the_service_refuses_in_one_line(service):
    for path, parameters, status, message in (
        ("search", {"query": " "}, 400, "the query is empty"),
        ("search", {"query": "x" * 2000}, 400, "at most 1000 are read"),
        ("search", {"query": "red", "where": "duration <"}, 400, "the filter"),
        ("search", {"query": "red", "k": 0}, 422, None),
        ("search", {"query": "red", "min_confidence": 1.5}, 422, None),
        ("explain", {"query": "red", "video_id": "nope"}, 400, "no video 'nope'"),
    ):
        code, answer = service.get(path, **parameters)
        assert code == status and (message is None or message in answer["error"]), answer
        assert message is None or "\n" not in answer["error"]


def test_a_page_answers_through_the_service_as_with_an_index_of_its_own(service):
    assert_alike(
        RemoteLibrary(service.url), OpenLibrary(service.index.model, service.index.processor, service.index), "red"
    )


def test_a_killed_shard_is_named_until_it_is_back(service):
    whole = service.get("search", query="a green circle", k=COUNT)[1]["hits"]
    held = {row["id"] for row in VideoIndex.open(service.shards[0]).table.scan(["id"]).to_pylist()}
    for process in processes_of("shard-0"):
        process.kill()
    partial, deadline = 0, time.monotonic() + 120
    while time.monotonic() < deadline:
        status, answer = service.get("search", query="a green circle", k=COUNT)
        assert status == 200
        if not answer["partial"]:
            break
        assert answer["partial"] == [service.shards[0]] and answer["reasons"][service.shards[0]]
        assert answer["hits"] == [hit for hit in whole if hit["id"] not in held]
        partial += 1
    assert answer["hits"] == whole and partial > 0


def test_shards_of_different_models_are_not_served(service, tmp_path):
    from dmae.retrieval.serving import build

    VideoIndex.create(tmp_path / "other", *tiny_model(seed=1))
    with pytest.raises(VideoIndexError, match="was made with the model"):
        build({"model": "any", "shards": [*service.shards, str(tmp_path / "other")]})

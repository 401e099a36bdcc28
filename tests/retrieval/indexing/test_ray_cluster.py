"""Clusters that cannot be joined are refused at once; what joins one is in tests/retrieval/test_ray.py."""

import os
import socket
import time

import pytest

from dmae.retrieval import VideoIndexError
from dmae.retrieval.indexing import ray_cluster

if not os.environ.get("CI"):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture
def silent(monkeypatch):
    """The address of something that takes connections and never says a word."""
    monkeypatch.setattr(ray_cluster, "REACH_SECONDS", 0.5)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.create_server(("", 0)) as server:  # on each of its addresses
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refusal(address: str | None) -> str:
    started = time.monotonic()
    with pytest.raises(VideoIndexError) as refused:
        ray_cluster.check_cluster(address, None)
    assert time.monotonic() - started < 10 and "\n" not in str(refused.value)
    return str(refused.value)


def test_an_address_that_never_answers_is_refused(silent):
    assert f"no Ray cluster at {silent} (what takes connections there has not answered within 0.5 s)" in refusal(
        silent
    )


def test_the_cluster_of_this_machine_that_never_answers_is_refused(silent, monkeypatch):
    from ray._private import services

    monkeypatch.setattr(services, "find_bootstrap_address", lambda temp_dir: silent)
    assert "has not answered within 0.5 s): run `ray stop` to forget it, or give" in refusal(None)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda temp_dir: "127.0.0.1:1")
    assert "refused): run `ray stop` to forget it" in refusal(None)
    monkeypatch.setenv("RAY_ADDRESS", silent)
    assert f"no Ray cluster at {silent} (what takes connections" in refusal(None)


def test_without_a_cluster_there_is_nothing_to_refuse(monkeypatch):
    from ray._private import services

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda temp_dir: None)
    ray_cluster.check_cluster(None, None)
    ray_cluster.check_cluster("local", 1)


@pytest.mark.parametrize(
    ("address", "told"),
    [("ray://10.0.0.1:10001", "address of Ray Client"), ("10.0.0.1", "HOST:PORT"), ("127.0.0.1:1", "refused")],
)
def test_what_is_no_address_of_a_cluster_is_refused(address, told):
    assert told in refusal(address)

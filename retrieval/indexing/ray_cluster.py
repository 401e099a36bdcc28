"""Joining a Ray cluster, and finding out before any work whether it can do it."""

import os
import secrets
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dmae import __version__
from dmae.modeling.errors import one_line
from dmae.modeling.remote_videos import is_url

from ..errors import VideoIndexError

REACH_SECONDS = 5
PROBE_SECONDS = 120


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Within, this process is a driver of the cluster; where it was one before, it stays one.

    Raises:
        VideoIndexError: Ray is not installed, or there is no such cluster.
    """
    ray = _ray()
    # Ray forks, and the forked processes never touch a table that this one has open.
    warnings.filterwarnings("ignore", message="lancedb fork support")
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=None if address else False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise VideoIndexError(f"no Ray cluster at {address}: {' '.join(str(error).split())[:300]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def check_cluster(address: str | None, encoders: int | None) -> None:
    """Refuses at once what Ray would try for a long time.

    Raises:
        VideoIndexError: no number of encoders, Ray is not installed, or nothing that answers at the address, or at
            that of the cluster which this machine belongs to.
    """
    if encoders is not None and encoders < 1:
        raise VideoIndexError(f"encoders must be at least 1, got {encoders}")
    named = address or os.environ.get("RAY_ADDRESS") or "auto"
    if named in ("auto", "local"):
        if not _ray().is_initialized() and (own := _own_cluster(address)) is not None:
            _check_answers(own, "run `ray stop` to forget it, or give the address of another")
        return
    if is_url(named):
        raise VideoIndexError(f"{named} is an address of Ray Client: give the head's own, such as 10.0.0.1:6379")
    host, _, port = named.rpartition(":")
    if not host or not port.isdigit():
        raise VideoIndexError(f"a cluster's address is HOST:PORT, such as 10.0.0.1:6379, not {named!r}")
    _check_answers(named, "start one with `ray start --head`, or look at the address")


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise VideoIndexError("a cluster needs Ray: pip install 'dmae-video-search[ray]'") from None
    return ray


def _own_cluster(address: str | None) -> str | None:
    """The address of the cluster that this machine belongs to; None where one of its own is to be started."""
    from ray._private import services

    find: Any = services.canonicalize_bootstrap_address  # which says that it takes no None, and does
    try:
        return find(address)
    except ConnectionError as error:
        raise VideoIndexError(one_line(error)) from None


def _check_answers(address: str, remedy: str) -> None:
    """Raises where nothing takes connections, or what takes them never speaks the protocol of a head."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except OSError as error:
        raise VideoIndexError(f"no Ray cluster at {address} ({error}): {remedy}") from None
    _ray()
    import grpc
    from ray._private.gcs_utils import create_gcs_channel

    channel: Any = create_gcs_channel(address)
    try:
        grpc.channel_ready_future(channel).result(REACH_SECONDS)
    except grpc.FutureTimeoutError:
        said = f"what takes connections there has not answered within {REACH_SECONDS} s"
        raise VideoIndexError(f"no Ray cluster at {address} ({said}): {remedy}") from None
    finally:
        channel.close()


def encoders_that_fit(cpus: int) -> int:
    """How many encoders of so many CPUs (and a GPU each, where there are any) the cluster has room for.

    Raises:
        VideoIndexError: for none.
    """
    gpus = _gpus()
    room = sum(_room(node, cpus, gpus) for node in _nodes())
    if room < 1:
        largest = max((node["Resources"].get("CPU", 0) for node in _nodes()), default=0)
        raise VideoIndexError(
            f"an encoder needs {cpus} CPUs (one and its workers that decode)"
            + (" and a GPU" if gpus else "")
            + f" on one node, the largest node has {largest:g}: lower workers, or add nodes"
        )
    return room


def check_nodes(cpus: int, index_uri: str, videos: Sequence[Any]) -> None:
    """Asks every node that may encode whether it has this package, and sees the index and the videos.

    Raises:
        VideoIndexError: naming the first that does not, and the remedy.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

    nodes = [node for node in _nodes() if _room(node, cpus, _gpus())]
    local = next((video for video in videos if isinstance(video, str)), None)
    with _mark(index_uri) as mark:

        def look() -> tuple[str | None, list[bool]]:  # inside a function, it travels to nodes without the package
            import os

            try:
                from dmae import __version__ as version
            except ImportError:
                version = None
            return version, [path is None or os.path.exists(path) for path in (mark, local)]

        probe = ray.remote(look)
        asked = [
            probe.options(num_cpus=0, scheduling_strategy=OnNode(node["NodeID"], soft=True)).remote() for node in nodes
        ]
        try:
            seen = ray.get(asked, timeout=PROBE_SECONDS)
        except GetTimeoutError:
            raise VideoIndexError(f"a node of the cluster has not answered within {PROBE_SECONDS} s") from None
        except RayError as error:
            raise VideoIndexError(f"a node of the cluster failed: {' '.join(str(error).split())[-300:]}") from error
    for node, (version, (sees_index, sees_videos)) in zip(nodes, seen):
        name = node["NodeManagerAddress"]
        if version is None:
            raise VideoIndexError(f"node {name} has no package dmae: install dmae-video-search=={__version__} there")
        if version != __version__:
            raise VideoIndexError(f"node {name} has dmae {version}, this is {__version__}: install one version")
        if not sees_index:
            raise VideoIndexError(
                f"node {name} cannot see the index at {index_uri}: put it on s3:// or gs://, or in a folder that all "
                "nodes share"
            )
        if not sees_videos:
            raise VideoIndexError(
                f"node {name} cannot see {local}: give the videos as s3://, gs:// or hf:// URLs, or in a folder that "
                "all nodes share"
            )


@contextmanager
def _mark(index_uri: str) -> Iterator[str | None]:
    """A file in a local index that only those can see who share the folder, and not a folder of the same name."""
    if is_url(index_uri):
        yield None
        return
    path = os.path.join(os.path.abspath(index_uri), f".seen-{secrets.token_hex(8)}")
    with open(path, "x"):
        pass
    try:
        yield path
    finally:
        os.unlink(path)


def _nodes() -> list[dict]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _gpus() -> int:
    return int(any(node["Resources"].get("GPU") for node in _nodes()))


def _room(node: dict, cpus: int, gpus: int) -> int:
    resources = node["Resources"]
    return int(min(resources.get("CPU", 0) // cpus, resources.get("GPU", 0) // gpus if gpus else 10**6))

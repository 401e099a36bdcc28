"""A Ray cluster of this machine: several nodes of one CPU, each a process that can be taken away.

with ray_cluster(nodes=2) as cluster:      # this process is its driver
    cluster.nodes[0]                       # to `cluster.remove(node)`
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import pytest

# Only this machine reaches it, and nothing is reported.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}


@dataclass
class RayNodes:
    """A running cluster: its address and its nodes beside the head, which has no CPU to encode with."""

    address: str
    cluster: object
    nodes: list = field(default_factory=list)

    def add(self, cpus: int = 1) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=cpus, include_dashboard=False))

    def remove(self, node) -> None:
        """As a machine that loses its power: nobody is told."""
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)


@contextmanager
def ray_cluster(nodes: int = 2, head_cpus: int = 0, **init) -> Iterator[RayNodes]:
    """Skips where Ray is not installed; in CI it is."""
    if not os.environ.get("CI"):
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    os.environ.update(LOOPBACK)
    warnings.filterwarnings("ignore", message="lancedb fork support")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head_cpus, "include_dashboard": False})
    try:
        running = RayNodes(cluster.address, cluster)
        for _ in range(nodes):
            running.add()
        ray.init(address=cluster.address, log_to_driver=False, **init)
        yield running
    finally:
        ray.shutdown()
        cluster.shutdown()


def processes_of(name: str) -> list[psutil.Process]:
    """The processes that run actors of a class; Ray gives them its name."""
    found = []
    for process in psutil.process_iter():
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if title.startswith("ray::") and name in title:
            found.append(process)
    return found

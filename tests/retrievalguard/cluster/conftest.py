"""A real cluster on this machine: 2 API replicas and 2 samplers over the demo gallery."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.replicas import RayCluster, ray_cluster
from tests.service.processes import copy_gallery, environment


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path) -> Iterator[RayCluster]:
    """Ready, on a port of its own; it takes half a minute, and nobody finds it too busy."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("cluster"))
    settings = environment(data, MAX_BACKLOG_SECONDS=600)
    with ray_cluster(settings, data / "cluster.log", "--api", "2", "--samplers", "2") as running:
        yield running

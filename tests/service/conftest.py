"""Servers that several files of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.processes import PATIENCE_MS, RedisServer, Server, copy_gallery, serving


@pytest.fixture(scope="session")
def rough_server(tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path) -> Iterator[Server]:
    """The demo gallery, without a label weight, behind a server that is impatient: for rough clients."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("rough"))
    with serving(data, BODY_TIMEOUT_SECONDS=5, IDLE_TIMEOUT_SECONDS=5, LABEL_WEIGHT=0) as server:
        yield server


@pytest.fixture(scope="session")
def redis_backed_server(
    tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path, redis_server: RedisServer
) -> Iterator[Server]:
    """The demo gallery behind a server with a Redis cache, which it asks for every answer."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("redis-backed"))
    with serving(
        data, REDIS_URL=redis_server.url, REDIS_TIMEOUT_MS=PATIENCE_MS, KNOWN_ANSWERS_BYTES=0
    ) as server:
        yield server

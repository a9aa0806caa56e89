"""Servers that several files of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from index import GalleryStore
from tests.service.processes import PATIENCE_MS, RedisServer, Server, copy_gallery, serving


@pytest.fixture(scope="session")
def _own_gallery_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture
def empty_server(_own_gallery_server: Server) -> Server:
    """A server whose gallery is empty, for a test that fills it from outside."""
    store = GalleryStore(_own_gallery_server.data / "gallery.sqlite3")
    store.delete(store.without_vector("a model that embedded nothing"))
    store.close()
    return _own_gallery_server


@pytest.fixture(scope="session")
def redis_backed_server(
    tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path, redis_server: RedisServer
) -> Iterator[Server]:
    """The demo gallery behind a server with a Redis cache."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("redis-backed"))
    with serving(data, REDIS_URL=redis_server.url, REDIS_TIMEOUT_MS=PATIENCE_MS) as server:
        yield server

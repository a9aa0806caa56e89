"""What the folders share: a demo server, the demo gallery in-process, and a real Redis. Each starts once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.retriever import Retriever
from service.settings import Settings
from tests.postgres import PostgresServer
from tests.service.processes import SAMPLES, SECRET, RedisServer, Server, copy_gallery, emptied, serving


def pytest_configure() -> None:
    """The settings of whoever runs the tests are not those that they test."""
    for name in [
        name
        for name in os.environ
        if name.startswith("RETRIEVALGUARD_") or name in ("REDIS_URL", "DATABASE_URL")
    ]:
        del os.environ[name]


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`retrievalguard serve --demo`, ready, with the embedded cache; no test finds it too busy."""
    with serving(tmp_path_factory.mktemp("demo"), "--demo", MAX_BACKLOG_SECONDS=600) as server:
        yield server
        assert server.terminate() == 0


@pytest.fixture(scope="session")
def demo_gallery(tmp_path_factory: pytest.TempPathFactory, demo_server: Server) -> Path:
    """A data folder with the demo gallery, for copies (`copy_gallery`): nobody writes to this one."""
    return copy_gallery(demo_server.data, tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="session")
def demo_settings(tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path) -> Settings:
    """Those of the demo server, on a folder of its own."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("retriever"))
    return Settings(
        data_dir=data, gallery_samples=256, samples=SAMPLES, secret=SecretStr(SECRET), redis_url=None
    )


@pytest.fixture(scope="session")
def demo_retriever(demo_settings: Settings) -> Iterator[Retriever]:
    """The demo gallery and model without HTTP; it answers what `demo_server` answers."""
    retriever = Retriever.open(demo_settings)
    yield retriever
    retriever.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis; a test that kills it starts it again."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL, or else tests are skipped; a test that kills it starts it again."""
    server = PostgresServer()
    yield server
    server.end()


@pytest.fixture(scope="session")
def own_gallery_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose gallery may be changed: of those who use it one after another, each empties it first."""
    hosts = "localhost,127.0.0.1,evil.example"
    with serving(tmp_path_factory.mktemp("own"), GALLERY_WRITES="loopback", ALLOWED_HOSTS=hosts) as server:
        yield server


@pytest.fixture
def empty_server(own_gallery_server: Server) -> Server:
    """A server whose gallery is empty, for a test that fills it from outside."""
    return emptied(own_gallery_server)

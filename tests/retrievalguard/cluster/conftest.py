"""A real cluster on this machine: 2 API replicas and 2 samplers over a few items of the demo gallery."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from bench.replicas import ray_cluster
from index import GalleryStore
from service.retriever import Retriever
from service.settings import Settings
from tests.retrievalguard.cluster.both import Both
from tests.service.processes import SAMPLES, SECRET, copy_gallery, environment

# An update to another way to run the network embeds all of them again.
ITEMS = 120


@pytest.fixture(scope="session")
def few_items(tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path) -> Path:
    """A data folder with some of the demo gallery, for copies."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("few"))
    store = GalleryStore(data / "gallery.sqlite3")
    store.delete(store.ids()[ITEMS:])
    store.close()
    return data


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, few_items: Path) -> Iterator[Both]:
    """Ready, on a port of its own; it takes half a minute, and nobody finds it too busy."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    data = copy_gallery(few_items, tmp_path_factory.mktemp("cluster"))
    alone = copy_gallery(few_items, tmp_path_factory.mktemp("alone"))
    settings = Settings(
        data_dir=alone, gallery_samples=256, samples=SAMPLES, secret=SecretStr(SECRET), redis_url=None
    )
    given = environment(data, MAX_BACKLOG_SECONDS=600, GALLERY_WRITES="on")
    retriever = Retriever.open(settings)
    try:
        with (
            ray_cluster(given, data / "cluster.log", "--api", "2", "--samplers", "2") as running,
            httpx.Client(base_url=running.url, timeout=120) as client,
        ):
            yield Both(running, client, retriever)
    finally:
        retriever.close()

"""The two places where a gallery can be: what holds in one holds in the other."""

from pathlib import Path

import pytest

from index import Place, SharedGallery
from tests.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a new gallery is to be."""
    path = tmp_path / "gallery.sqlite3"
    if request.param == "sqlite":
        return path
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return SharedGallery(server.emptied(), path)

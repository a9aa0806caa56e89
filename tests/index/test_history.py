"""What a gallery grew into by a random history is what a fresh load makes of it, wherever it is kept."""

from pathlib import Path

from index import SharedGallery
from tests.index import histories
from tests.index.histories import Histories
from tests.postgres import PostgresServer


def test_in_a_file() -> None:
    histories.run(Histories, examples=12)


def test_in_a_server(postgres_server: PostgresServer, tmp_path: Path) -> None:
    class InServer(Histories):
        def place(self) -> SharedGallery:
            return SharedGallery(postgres_server.emptied(), tmp_path / "gallery.sqlite3")

    histories.run(InServer, examples=2)

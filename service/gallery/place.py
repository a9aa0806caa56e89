"""Where the gallery of an installation is."""

from index import Place, SharedGallery
from service.settings import Settings


def gallery_place(settings: Settings) -> Place:
    """In the data folder, or in the PostgreSQL that the settings name."""
    path = settings.data_dir / "gallery.sqlite3"
    url = settings.database_url
    return path if url is None else SharedGallery(url.get_secret_value(), path)

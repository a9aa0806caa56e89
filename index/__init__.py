"""The gallery: a durable store of images and vectors, and exact search over it.

Belongs here: items, vectors, nearest items and distance bounds. Does not: networks, certificates, HTTP.
"""

import faiss

from index.archive import ArchiveDamaged, Exported, export_gallery, import_gallery
from index.checksums import image_checksum
from index.clusters import Clusters
from index.failures import GalleryError, ItemDamaged, ItemGone, ItemMissing, StoreFailure
from index.files import private_database
from index.gallery import Gallery
from index.items import Item, NewItem
from index.segment import Segment
from index.snapshot import Neighbors, Snapshot
from index.store import GalleryStore

FAISS_VERSION: str = faiss.__version__

__all__ = [
    "FAISS_VERSION",
    "ArchiveDamaged",
    "Clusters",
    "Exported",
    "Gallery",
    "GalleryError",
    "GalleryStore",
    "Item",
    "ItemDamaged",
    "ItemGone",
    "ItemMissing",
    "Neighbors",
    "NewItem",
    "Segment",
    "Snapshot",
    "StoreFailure",
    "export_gallery",
    "image_checksum",
    "import_gallery",
    "private_database",
]

"""The gallery: a durable store of images and vectors, and exact search over it.

Belongs here: items, vectors, nearest items and distance bounds. Does not: networks, certificates, HTTP.
"""

import faiss

from index.archive import ArchiveDamaged, export_gallery, import_gallery
from index.failures import GalleryError, ItemDamaged, ItemMissing, StoreFailure
from index.gallery import Gallery
from index.snapshot import Neighbors, Snapshot
from index.store import GalleryStore, Item, NewItem

FAISS_VERSION: str = faiss.__version__

__all__ = [
    "FAISS_VERSION",
    "ArchiveDamaged",
    "Gallery",
    "GalleryError",
    "GalleryStore",
    "Item",
    "ItemDamaged",
    "ItemMissing",
    "Neighbors",
    "NewItem",
    "Snapshot",
    "StoreFailure",
    "export_gallery",
    "import_gallery",
]

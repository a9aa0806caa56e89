"""The gallery: a durable store of images and vectors, and exact search over it.

Belongs here: items, vectors, nearest items and distance bounds. Does not: networks, certificates, HTTP.
"""

import faiss

from index.gallery import Gallery
from index.snapshot import Neighbors, Snapshot
from index.store import GalleryError, GalleryStore, Item, NewItem

FAISS_VERSION: str = faiss.__version__

__all__ = [
    "FAISS_VERSION",
    "Gallery",
    "GalleryError",
    "GalleryStore",
    "Item",
    "Neighbors",
    "NewItem",
    "Snapshot",
]

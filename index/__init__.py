"""The gallery: a durable store of images and vectors, and exact search over it.

Knows neither networks nor certificates: vectors come in, nearest items and distance bounds go out.
"""

from index.gallery import Gallery
from index.snapshot import Neighbors, Snapshot
from index.store import GalleryError, GalleryStore, Item, NewItem

__all__ = ["Gallery", "GalleryError", "GalleryStore", "Item", "Neighbors", "NewItem", "Snapshot"]

"""The gallery: a durable store of images and vectors, and exact search over it.

Belongs here: items, vectors, nearest items and distance bounds. Does not: networks, certificates, HTTP.
"""

import faiss

from index.archive import ArchiveDamaged, Exported, export_gallery, import_gallery
from index.changes import (
    Condition,
    Outcome,
    StoredItem,
    always,
    current_tag,
    delete_item,
    delete_where,
    first_with_image,
    if_new,
    list_items,
    put_items,
    revise,
    stored_item,
    tag_of,
)
from index.checksums import image_checksum
from index.clusters import Clusters
from index.database import Place, SharedGallery
from index.device import Device, gpu
from index.failures import (
    FilterTooLarge,
    GalleryError,
    ItemChanged,
    ItemDamaged,
    ItemGone,
    ItemMissing,
    NotReadYet,
    OutcomeUnknown,
    ShardMissing,
    StoreBusy,
    StoreFailure,
    StoreUnreachable,
)
from index.files import private_database, private_folder
from index.filters import Filter, FilterError, both, read_filter
from index.gallery import Gallery
from index.items import Item, NewItem
from index.names import DEFAULT_GALLERY, delete_name, is_name, named, names, put_name
from index.parts import image_of, item_of, page_of
from index.restoring import prepared, replace_all
from index.search import Neighbors
from index.segment import Segment
from index.shards.coordinator import Shards
from index.shards.elsewhere import elsewhere, gathered, multiplied
from index.shards.messages import Copy, Lacking
from index.shards.shard import Shard
from index.snapshot import Snapshot
from index.store import GalleryStore
from index.views import Recent

FAISS_VERSION: str = faiss.__version__

__all__ = [
    "DEFAULT_GALLERY",
    "FAISS_VERSION",
    "ArchiveDamaged",
    "Clusters",
    "Condition",
    "Copy",
    "Device",
    "Exported",
    "Filter",
    "FilterError",
    "FilterTooLarge",
    "Gallery",
    "GalleryError",
    "GalleryStore",
    "Item",
    "ItemChanged",
    "ItemDamaged",
    "ItemGone",
    "ItemMissing",
    "Lacking",
    "Neighbors",
    "NewItem",
    "NotReadYet",
    "Outcome",
    "OutcomeUnknown",
    "Place",
    "Recent",
    "Segment",
    "Shard",
    "ShardMissing",
    "Shards",
    "SharedGallery",
    "Snapshot",
    "StoreBusy",
    "StoreFailure",
    "StoreUnreachable",
    "StoredItem",
    "always",
    "both",
    "current_tag",
    "delete_item",
    "delete_name",
    "delete_where",
    "elsewhere",
    "export_gallery",
    "first_with_image",
    "gathered",
    "gpu",
    "if_new",
    "image_checksum",
    "image_of",
    "import_gallery",
    "is_name",
    "item_of",
    "list_items",
    "multiplied",
    "named",
    "names",
    "page_of",
    "prepared",
    "private_database",
    "private_folder",
    "put_items",
    "put_name",
    "read_filter",
    "replace_all",
    "revise",
    "stored_item",
    "tag_of",
]

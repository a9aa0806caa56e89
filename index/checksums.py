"""Checksums over what a gallery file holds: bytes that changed are noticed before they are searched.

They are no protection from whoever may write the file: they are not keyed. What has a right checksum was
checked when it was stored (`index.items.write`), so reading need not check it again.
"""

import hashlib
import json
import struct
from typing import Any

from index.items import Texts

# How many fields there may be, and what packs their lengths.
_LENGTHS = {count: struct.Struct(f">{count}Q").pack for count in range(2, 5)}
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def image_checksum(media_type: bytes, image: bytes) -> bytes:
    """Of an image file and its media type; (32,) bytes, like all here."""
    return _checksum(b"image 1", media_type, image)


def item_checksum(texts: Texts, image: bytes) -> bytes:
    """Of an item; `image` is the checksum of its image, so that reading items need not read images."""
    return _checksum(b"item 1", texts.id, texts.label, texts.metadata, image)


def vector_checksum(id_: bytes, image: bytes, model: bytes, vector: bytes) -> bytes:
    """Of a vector by `model` of the image whose checksum is `image`: no other item's will do."""
    return _checksum(b"vector 1", id_, image, model, vector)


def content_digest(id_: bytes, label: bytes, metadata: dict[str, Any], vector: bytes) -> bytes:
    """Of all that an answer may depend on, or tell, of an item: `vector` is float32, before blending."""
    return _checksum(b"content 1", id_, label, _canonical(metadata).encode() if metadata else b"{}", vector)


def _checksum(kind: bytes, *fields: bytes) -> bytes:
    lengths = _LENGTHS[len(fields)](*map(len, fields))
    return hashlib.sha256(b"".join((kind, lengths, *fields))).digest()

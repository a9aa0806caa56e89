"""Gallery items, and what can be stored of one: only what can be read back, and sent to a client."""

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.failures import GalleryError

# Bytes of an id, a label, or the JSON of metadata.
TEXT_BYTES = 16 * 2**20
# How deep lists and objects of metadata may be nested: what reads answers stops at 200.
DEPTH = 100
# What may be stored, and sent to a browser: others can hold scripts.
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")


@dataclass(frozen=True)
class Item:
    """One gallery item without its image. `label` is what the label guarantee is about."""

    id: str
    label: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NewItem:
    """An item to store: the image file as it came, and its embedding (d,) by the model of the gallery."""

    item: Item
    image: bytes
    media_type: str
    vector: NDArray[np.float32]


class Texts(NamedTuple):
    """An item as UTF-8: id, label, and metadata as JSON."""

    id: bytes
    label: bytes
    metadata: bytes


def write(item: Item) -> Texts:
    """`item` as UTF-8. Raises `GalleryError` if it could not be sent back to a client.

    That is text that is no Unicode (a lone surrogate), and metadata that is no object, holds what JSON does
    not, or is nested too deep.
    """
    try:
        metadata = json.dumps(item.metadata, ensure_ascii=False, allow_nan=False)
        texts = Texts(item.id.encode(), item.label.encode(), metadata.encode())
        if not isinstance(item.metadata, dict) or _depth(item.metadata) > DEPTH:
            raise ValueError(f"metadata must be an object, nested {DEPTH} deep at most")
        if max(map(len, texts)) > TEXT_BYTES:
            raise ValueError(f"more than {TEXT_BYTES} bytes of text")
    except (TypeError, ValueError, RecursionError) as error:
        raise GalleryError(
            f"item {item.id[:80]!r} cannot be sent back as JSON ({error}): it was not stored"
        ) from error
    return texts


def read(texts: Texts) -> Item:
    """The item behind `texts` that `write` returned."""
    return Item(texts.id.decode(), texts.label.decode(), json.loads(texts.metadata))


def read_strictly(texts: Texts) -> Item | None:
    """The item behind `texts` from anywhere; None if `write` would not have returned them, or the like."""
    if max(map(len, texts)) > TEXT_BYTES:
        return None
    try:
        item = read(texts)
        write(item)
    except (GalleryError, ValueError, RecursionError):
        return None
    return item


def _depth(value: Any) -> int:
    """How deep `value`, of JSON, is nested: 1 for {} and 0 for a number."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list | tuple)]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth

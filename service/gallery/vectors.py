"""Where the vector of a gallery item comes from: it ships with the model, or is embedded here."""

import logging
import threading
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from index import Gallery, GalleryError
from models import CHUNK, ShippedVectors, SmoothedModel, input_digest

log = logging.getLogger("retrievalguard")

# Samples behind a gallery vector, unless the settings say: of small images, and of larger ones, where a
# sample takes a millisecond or more and so many have a mean that is near enough. Whole chunks are drawn.
GALLERY_SAMPLES, FEW_GALLERY_SAMPLES = 1_024, 32


class GalleryVectors:
    """The vectors of pictures by one smoothed model; counts which way they came. Safe to share.

    `samples`: those that somebody asked for behind every vector. Then, and if what was `shipped` is of
    another model or σ, all are embedded here. None: as many as the size of the input suggests.
    """

    def __init__(
        self, smoothed: SmoothedModel, samples: int | None, shipped: ShippedVectors | None = None
    ) -> None:
        self._smoothed = smoothed
        self.samples = samples or (GALLERY_SAMPLES if smoothed.chunk == CHUNK else FEW_GALLERY_SAMPLES)
        fault = shipped and shipped.fault(smoothed.model.manifest, smoothed.sigma)
        if samples is not None:
            fault = "RETRIEVALGUARD_GALLERY_SAMPLES asks for vectors of its own"
        if shipped and fault:
            log.info("vectors that ship with the model are not used: %s", fault)
        self.shipped = None if fault else shipped
        self._lock = threading.Lock()
        self._taken = self._made = 0

    @property
    def at_a_time(self) -> int:
        """How many pictures must be under way so that no batch of the network has an empty place."""
        smoothed, workers = self._smoothed, self._smoothed.engine.workers
        return workers + -(-workers * smoothed.calibration.batch // smoothed.chunks(self.samples))

    @property
    def key(self) -> str:
        """Names the embedding: pictures of equal pixels have equal vectors under it."""
        key = f"{self._smoothed.digest} sigma {self._smoothed.sigma!r} samples {self.samples}"
        return key if self.shipped is None else f"{key} shipped {self.shipped.digest}"

    def of(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector (d,) of a model input (C, H, W)."""
        found = None if self.shipped is None else self.shipped.of(image)
        vector = self._smoothed.mean(image, self.samples) if found is None else found
        with self._lock:
            self._taken += found is not None
            self._made += found is None
        return vector

    def to_ship(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> ShippedVectors:
        """`vectors` (d,) that were embedded here, by the `input_digest` of the picture."""
        smoothed = self._smoothed
        samples = smoothed.chunks(self.samples) * smoothed.chunk
        return ShippedVectors(smoothed.model.manifest.digest(), smoothed.sigma, samples, vectors)

    @property
    def statement(self) -> str | None:
        """How many came which way, in words; None if none did, or the model ships none."""
        with self._lock:
            if self.shipped is None or not self._taken + self._made:
                return None
            return f"{self._taken:,} vectors shipped with the model, {self._made:,} embedded here"


def to_ship(
    gallery: Gallery, vectors: GalleryVectors, decode: Callable[[bytes], NDArray[np.float32]]
) -> ShippedVectors:
    """All vectors of the `gallery`, as they can be written beside the model's weights (`models.shipped`).

    `decode`: an image file to the input tensor (C, H, W). Raises `ItemDamaged`, `StoreFailure`, the image
    problems of `service.errors`, and `GalleryError` if there is none, or some were shipped themselves.
    """
    if vectors.shipped is not None:
        raise GalleryError(
            "vectors that ship with the model are in use: set RETRIEVALGUARD_GALLERY_SAMPLES, the number of"
            " samples behind each new vector"
        )
    items, found = gallery.plain()
    if not items:
        raise GalleryError("the gallery is empty: `retrievalguard gallery add SOURCE`")
    return vectors.to_ship(
        {
            input_digest(decode(gallery.store.image(item.id)[0])): vector
            for item, vector in zip(items, found, strict=True)
        }
    )

"""From an image file to the model's input: so many at a time, and what is lost on the way is counted."""

import logging
import math
import threading
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from models import Manifest, Purpose
from models.passes.memory import give_back_freed_memory
from service.images import Picture, read_image
from service.losses import Losses, Reason
from service.metrics import Metrics
from service.settings import Settings
from service.traffic.backlog import Backlog

log = logging.getLogger("retrievalguard")

# An image of so many pixels takes some 100 MB while it is decoded and resized.
LARGE_PIXELS = 2**22


class Decoder:
    """Decodes for the model of `manifest`. Safe to share between threads.

    All of it raises the image problems of `service.errors`.

    losses  what pictures lost so far, by what they were for
    """

    def __init__(
        self, manifest: Manifest, settings: Settings, metrics: Metrics, backlog: Backlog, threads: int
    ) -> None:
        self._manifest, self._settings, self._metrics, self._backlog = manifest, settings, metrics, backlog
        # Small files may be large images: more at once than there are threads would only fill the memory.
        self._at_once = threading.BoundedSemaphore(threads)
        purposes: tuple[Purpose, ...] = get_args(Purpose)
        self.losses = {purpose: self._tally(purpose) for purpose in purposes}

    def query(self, content: bytes, name: str | None = None) -> Picture:
        """The picture of a query of this `name`, whose decoding is part of the work that is admitted."""
        with self._backlog.decoding(content, name):
            return self.picture(content, "query")

    def item(self, content: bytes) -> NDArray[np.float32]:
        """The input tensor (C, H, W) of an item."""
        return self.picture(content, "gallery").tensor

    def picture(self, content: bytes, purpose: Purpose) -> Picture:
        """The picture in a file, counted with what it loses."""
        picture = self._read(content)
        self.count(picture, purpose)
        return picture

    def count(self, picture: Picture, purpose: Purpose) -> None:
        """Count what `picture` loses; its tensor is not looked at."""
        losses = self.losses[purpose]
        if losses.add(picture) and purpose == "query":  # of items, who adds them tells the sum
            log.warning("the first query that the model was not trained for: %s", losses.statement)

    def seen(self, content: bytes) -> tuple[NDArray[np.float32], list[str]]:
        """The input tensor (C, H, W) of a file, and a sentence for each loss; counted as nothing."""
        picture = self._read(content)
        return picture.tensor, self.losses["query"].of(picture)

    def _read(self, content: bytes) -> Picture:
        with self._at_once:
            picture = read_image(
                content,
                self._manifest.input_shape,
                max_pixels=self._settings.max_image_pixels,
                min_side=self._settings.min_image_side,
                preprocessing=self._manifest.preprocessing,
            )
            if math.prod(picture.size) >= LARGE_PIXELS:
                give_back_freed_memory()
            return picture

    def _tally(self, purpose: Purpose) -> Losses:
        def count(reason: Reason) -> None:
            self._metrics.outside_domain.labels(purpose, reason).inc()

        for reason in get_args(Reason):
            self._metrics.outside_domain.labels(purpose, reason)  # there from the start, as 0
        return Losses(self._manifest, self._settings.shrink_warning, count)

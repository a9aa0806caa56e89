"""The Monte Carlo samples of one query, wherever they come from."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models import SmoothedModel
from models.noise import CHUNK, input_digest
from models.smoothing import chunks
from service.cache import SampleCache
from service.errors import ModelFailure
from service.metrics import Metrics

CacheResult = Literal["miss", "resumed", "hit"]


class QuerySamples:
    """Those that the cache holds first, then new ones, which the cache is given at the end."""

    def __init__(
        self, cache: SampleCache, smoothed: SmoothedModel, metrics: Metrics, image: NDArray[np.float32]
    ) -> None:
        self._cache, self._smoothed, self._metrics, self._image = cache, smoothed, metrics, image
        self._digest = input_digest(image)
        self._known = cache.get(self._digest)
        self._kept = len(self._known)

    def first(self, count: int) -> NDArray[np.float32]:
        """The first `count` samples (count, d). Raises `ModelFailure` when one is not finite."""
        have, need = len(self._known) // CHUNK, chunks(count)
        if have < need:
            drawn = self._smoothed.sample(self._image, have, need)
            self._metrics.samples.inc(len(drawn))
            if not np.isfinite(drawn).all():
                raise ModelFailure("the model returned an embedding that is not finite for this image")
            self._known = np.concatenate([self._known, drawn]) if have else drawn
        return self._known[:count]

    def keep(self) -> CacheResult:
        """Give the cache what is new; says how much of it was there."""
        result: CacheResult = "hit"
        if len(self._known) > self._kept:
            self._cache.set(self._digest, self._known)
            result = "resumed" if self._kept else "miss"
        self._metrics.cache.labels(result).inc()
        return result

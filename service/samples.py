"""The Monte Carlo samples of queries, wherever they come from, and drawn once for all who ask for the same.

Queries with the same pixels share one `QuerySamples` while any of them is under way: one draws, the others
wait for it, and if it leaves before it is done, the next goes on where it stopped.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models import LineFull, SmoothedModel, Stop
from models.line import Stream
from models.noise import CHUNK, input_digest
from models.smoothing import chunks
from service.cache import SampleCache
from service.errors import ModelFailure, Overloaded
from service.metrics import Metrics

CacheResult = Literal["miss", "resumed", "hit"]


class QuerySamples:
    """Those that the cache holds first, then new ones, which the cache is given by `keep`."""

    def __init__(
        self, cache: SampleCache, smoothed: SmoothedModel, metrics: Metrics, image: NDArray[np.float32]
    ) -> None:
        self._cache, self._metrics, self._engine = cache, metrics, smoothed.engine
        self._image = image
        self._stream = self._engine.stream(image)
        self._changed = threading.Condition()
        self._busy = False
        self._known: NDArray[np.float32] | None = None
        self._kept = 0

    @property
    def there(self) -> int:
        """How many samples there are without drawing any."""
        with self._changed:
            return len(self._load())

    def first(self, count: int, stop: Stop) -> NDArray[np.float32]:
        """The first `count` samples (count, d); fewer, in whole chunks, when it is time to `stop`.

        Raises `ModelFailure` when one is not finite.
        """
        with stop.waking(self._wake):
            while True:
                with self._changed:
                    known = self._load()
                    if len(known) >= count or stop.reached:
                        return known[:count]
                    if self._busy:
                        self._changed.wait(stop.remaining)
                        continue
                    self._busy = True
                drawn = known[:0]
                try:
                    drawn = self._draw(self._stream, len(known) // CHUNK, chunks(count), stop)
                finally:
                    with self._changed:
                        self._busy = False
                        self._known = np.concatenate([known, drawn]) if len(known) else drawn
                        self._changed.notify_all()

    def chunk(self) -> NDArray[np.float32]:
        """The first CHUNK samples, without waiting for another who draws many: if need be, drawn again."""
        with self._changed:
            another = self._busy and not len(self._load())
        if not another:
            return self.first(CHUNK, Stop())
        stream = self._engine.stream(self._image)  # one of its own: it has had nothing yet, so it is next
        return self._draw(stream, 0, 1, Stop())

    def keep(self) -> None:
        """Give the cache what it does not have yet."""
        with self._changed:
            known = self._load()
            if self._busy or len(known) <= self._kept:
                return
            self._kept = len(known)
        self._cache.set(self._stream.digest, known)

    def _load(self) -> NDArray[np.float32]:
        if self._known is None:
            self._known = self._cache.get(self._stream.digest)
            self._kept = len(self._known)
        return self._known

    def _draw(self, stream: Stream, first: int, last: int, stop: Stop) -> NDArray[np.float32]:
        drawn = self._engine.draw(stream, first, last, stop)
        self._metrics.samples.inc(len(drawn))
        if not np.isfinite(drawn).all():
            raise ModelFailure("the model returned an embedding that is not finite for this image")
        return drawn

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class SamplesInUse:
    """One `QuerySamples` for each input that is being asked for."""

    def __init__(self, cache: SampleCache, smoothed: SmoothedModel, metrics: Metrics) -> None:
        self._cache, self._smoothed, self._metrics = cache, smoothed, metrics
        self._lock = threading.Lock()
        self._entries: dict[bytes, tuple[QuerySamples, int]] = {}

    @contextmanager
    def of(self, image: NDArray[np.float32]) -> Iterator[QuerySamples]:
        """The samples of `image` (C, H, W), shared with whoever asks for them now."""
        digest = input_digest(image)
        with self._lock:
            samples, users = self._entries.get(digest) or (self._new(image), 0)
            self._entries[digest] = (samples, users + 1)
        try:
            yield samples
        finally:
            with self._lock:
                samples, users = self._entries[digest]
                if users == 1:
                    del self._entries[digest]
                else:
                    self._entries[digest] = (samples, users - 1)

    def _new(self, image: NDArray[np.float32]) -> QuerySamples:
        return QuerySamples(self._cache, self._smoothed, self._metrics, image)

    @contextmanager
    def room_for(self, samples: int) -> Iterator[None]:
        """Room in the engine's line; raises `Overloaded`, with the time after which to come back."""
        engine = self._smoothed.engine
        with ExitStack() as stack:
            try:
                stack.enter_context(engine.promised(samples))
            except LineFull as full:
                raise Overloaded(
                    f"{full.backlog} samples are to be drawn already: try again later, or ask for fewer"
                    " with max_samples",
                    retry_after=max(1, round(engine.backlog_seconds)),
                ) from full
            yield

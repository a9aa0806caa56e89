"""The Monte Carlo samples of queries, wherever they come from, and drawn once for all who ask for the same.

Queries with the same pixels share one `QuerySamples` while any of them is under way: one draws, the others
wait for it, and if it leaves before it is done, the next goes on where it stopped. Replicas that share a
Redis do the same with a lease (`service.cache.leases`), for so long: then each draws the same samples itself.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models import SmoothedModel, Stop
from models.sampling.queue import Stream
from service.cache.leases import Lease, Leases
from service.cache.redis_store import VALUE_LIMIT
from service.cache.samples import SampleCache
from service.errors import ModelFailure
from service.metrics import Metrics

# Chunks drawn at a time, unless it takes more to give every worker a batch.
SLICE = 32
# How often one that waits for another replica looks whether it is done, in seconds.
LOOK_SECONDS = 0.02
# It waits twice as long as drawing should take; at least and at most so long, in seconds.
LEAST_WAIT, MOST_WAIT = 2.0, 30.0


class QuerySamples:
    """Those that the cache holds first, then new ones, which the cache is given by `keep`."""

    def __init__(
        self,
        cache: SampleCache,
        smoothed: SmoothedModel,
        metrics: Metrics,
        stream: Stream,
        leases: Leases | None = None,
    ) -> None:
        self._cache, self._metrics, self._smoothed, self._stream = cache, metrics, smoothed, stream
        self._leases = leases
        self._lease: Lease | None = None
        # When waiting for other replicas ends; and whether somebody has no time for it.
        self._wait_ends, self._in_haste = 0.0, False
        self._slice = max(SLICE, smoothed.engine.chunks_at_work)
        self._changed = threading.Condition()
        self._loading = threading.Lock()
        self._loaded = self._busy = False
        self._buffer = np.empty((0, smoothed.model.dimension), np.float32)
        self._there = self._kept = 0

    @property
    def there(self) -> int:
        """How many samples there are without drawing any."""
        self._load()
        return self._there

    def expect(self, most: int) -> None:
        """Somebody will ask for the first `most` at the latest: the queue is told how long this may take."""
        with self._changed:
            self._stream.most = max(self._stream.most, self._smoothed.chunks(most))

    def first(self, count: int, stop: Stop) -> NDArray[np.float32]:
        """The first `count` samples (count, d); fewer, in whole chunks, when it is time to `stop`.

        They are drawn in slices, so that who needs fewer does not wait for who needs more. Raises
        `ModelFailure` when one is not finite.
        """
        self._load()
        self._in_haste = self._in_haste or stop.remaining is not None
        with stop.waking(self._wake):
            while True:
                with self._changed:
                    if self._there >= count or stop.reached:
                        return self._buffer[: min(count, self._there)]
                    if self._busy:
                        self._changed.wait(stop.remaining)
                        continue
                    self._busy = True
                drawn = self._buffer[:0]
                try:
                    start = self._there // self._smoothed.chunk
                    end = min(self._smoothed.chunks(count), start + self._slice)
                    drawn = self._elsewhere(stop)
                    if not len(drawn) and not stop.reached:
                        drawn = self._draw(self._stream, start, end, stop)
                finally:
                    with self._changed:
                        self._busy = False
                        self._append(drawn, count)
                        self._changed.notify_all()

    def chunk(self, stop: Stop) -> NDArray[np.float32]:
        """The first chunk of samples, without waiting for another who draws many: if need be, drawn again."""
        self._in_haste = True
        with self._changed:
            another = self._busy and not self._there
        if not another:
            return self.first(self._smoothed.chunk, stop)
        anew = replace(self._stream, served=0)  # a stream that has had nothing yet is next
        return self._draw(anew, 0, 1, stop)

    def keep(self) -> None:
        """Give the cache what it does not have yet: another replica may go on from there."""
        with self._changed:
            if self._busy:
                return
            new = self._there > self._kept
            self._kept, known = max(self._kept, self._there), self._buffer[: self._there]
        if new:
            self._cache.set(self._stream.digest, known)
        self.leave()

    def leave(self) -> None:
        """Nobody here needs them any more: another replica may draw them."""
        if self._lease is not None:
            self._lease.leave()

    def _load(self) -> None:
        """Ask the cache, once; not under the lock of what is woken when a client leaves."""
        with self._loading:
            if not self._loaded:
                self._buffer = self._cache.get(self._stream.digest)
                self._there = self._kept = len(self._buffer)
                self._loaded = True

    def _elsewhere(self, stop: Stop) -> NDArray[np.float32]:
        """What another replica has drawn beyond what is there, if it is at work on the same: waits for it.

        Nothing if these are ours to draw, or are so many that the cache would not hold them. While somebody
        here has a deadline, nobody waits.
        """
        smoothed, stream = self._smoothed, self._stream
        most = stream.most * smoothed.chunk
        if self._leases is None or 4 * most * smoothed.model.dimension > VALUE_LIMIT:
            return self._buffer[:0]
        if self._lease is None:  # equal queries ask for equally many
            self._lease = self._leases.on(
                smoothed.digest.encode(),
                f"{smoothed.sigma!r} {stream.most}".encode(),
                stream.digest,
            )
            drawing = max(most - self._there, 0) * smoothed.engine.seconds_a_sample / smoothed.engine.workers
            self._wait_ends = time.monotonic() + min(max(2 * drawing, LEAST_WAIT), MOST_WAIT)
        waited = False
        while not self._lease.taken():
            if self._in_haste or stop.reached or time.monotonic() > self._wait_ends:
                break
            waited = True
            time.sleep(LOOK_SECONDS)
        if not waited:
            return self._buffer[:0]
        found = self._cache.get(self._stream.digest)
        self._kept = max(self._kept, len(found))
        return found[self._there :]

    def _append(self, drawn: NDArray[np.float32], count: int) -> None:
        """Behind those that are there; what was returned before stays as it is."""
        total = self._there + len(drawn)
        if total > len(self._buffer):
            whole = self._smoothed.chunk * self._smoothed.chunks(count)
            buffer = np.empty((max(whole, total), self._buffer.shape[1]), np.float32)
            buffer[: self._there] = self._buffer[: self._there]
            self._buffer = buffer
        self._buffer[self._there : total] = drawn
        self._there = total

    def _draw(self, stream: Stream, first: int, last: int, stop: Stop) -> NDArray[np.float32]:
        drawn = self._smoothed.engine.draw(stream, first, last, stop)
        self._metrics.samples.inc(len(drawn))
        if not np.isfinite(drawn).all():
            raise ModelFailure("the model returned an embedding that is not finite for this image")
        return drawn

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class SamplesInUse:
    """One `QuerySamples` for each input that is being asked for."""

    def __init__(
        self, cache: SampleCache, smoothed: SmoothedModel, metrics: Metrics, leases: Leases | None = None
    ) -> None:
        self._cache, self._smoothed, self._metrics, self._leases = cache, smoothed, metrics, leases
        self._lock = threading.Lock()
        self._entries: dict[bytes, tuple[QuerySamples, int]] = {}

    @contextmanager
    def of(self, image: NDArray[np.float32]) -> Iterator[QuerySamples]:
        """The samples of `image` (C, H, W), shared with whoever asks for them now."""
        stream = self._smoothed.engine.stream(image)
        digest = stream.digest
        with self._lock:
            samples, users = self._entries.get(digest) or (self._new(stream), 0)
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
            if users == 1:
                samples.leave()

    def _new(self, stream: Stream) -> QuerySamples:
        return QuerySamples(self._cache, self._smoothed, self._metrics, stream, self._leases)

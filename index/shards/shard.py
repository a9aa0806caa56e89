"""One copy of a shard: segments' vectors, and what is computed where they are."""

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from index.columns import Singles
from index.flat import search
from index.hits import Hits, merged
from index.shards.messages import (
    Answer,
    Array,
    Fetch,
    Hold,
    Keep,
    Lacking,
    Multiply,
    Part,
    Request,
    Search,
    mark_of,
)

# Seconds after which what an owner needed that was not heard of is let go.
LEASE = 600.0


class Shard:
    """The vectors of some segments, by their marks; each stays while an owner needs it. Threads may share it.

    It computes with the very arrays and functions that a gallery on one machine does, so that the numbers are
    the same to the last bit.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._held = dict[bytes, Singles]()
        self._needed = dict[str, set[bytes]]()
        self._heard = dict[str, float]()

    def answer(self, request: Request) -> Answer:
        """The answer to `request`. Raises `Lacking`, and `ValueError` on what makes no sense."""
        match request:
            case Search():
                return Answer.to(request, *self._search(request))
            case Fetch():
                held = [self._of(each) for each in request.marks]
                pairs = zip(held, request.places, strict=True)
                return Answer.to(request, *(vectors[places] for vectors, places in pairs))
            case Multiply():
                runs = [(self._of(mark), first, last) for mark, first, last in request.runs]
                return Answer.to(
                    request, *(vectors[first:last] @ request.point for vectors, first, last in runs)
                )
            case Hold():
                self._hold(request)
                return Answer.to(request)
            case Keep():
                return Answer.to(request, self._keep(request.owner, request.marks))
        raise ValueError("an unknown request")

    def _of(self, mark: bytes) -> Singles:
        found = self._held.get(mark)
        if found is None:
            raise Lacking(f"segment {mark.hex()[:12]} is not here")
        return found

    def _search(self, request: Search) -> Sequence[Array]:
        found = list[Hits]()
        for number, part in enumerate(request.parts):
            vectors = self._of(part.mark)
            there = part.there(len(vectors))
            count = min(request.count, len(vectors) if there is None else int(np.count_nonzero(there)))
            found.append(Hits.of(number, *search(vectors, request.points, count, there)))
        hits = merged(found, request.count)
        # The marks are those that were computed here of what is here.
        leaves = b"".join(Part(part.mark, part.alive).digest for part in request.parts)
        return hits.squares, hits.parts, hits.places, np.frombuffer(leaves, np.uint8).reshape(-1, 32)

    def _hold(self, request: Hold) -> None:
        vectors = np.array(request.vectors, np.float32, order="C")  # its own, whatever the message was in
        mark = mark_of(request.layout, vectors)
        with self._lock:
            self._held.setdefault(mark, vectors)
            self._needed.setdefault(request.owner, set()).add(mark)
            self._heard[request.owner] = self._now()

    def _keep(self, owner: str, marks: Sequence[bytes]) -> Array:
        with self._lock:
            now = self._now()
            self._heard[owner], self._needed[owner] = now, set(marks)
            for gone in [each for each, heard in self._heard.items() if now - heard > LEASE]:
                del self._heard[gone], self._needed[gone]
            needed = set[bytes]().union(*self._needed.values())
            self._held = {mark: vectors for mark, vectors in self._held.items() if mark in needed}
            return np.array([mark in self._held for mark in marks], np.bool_)

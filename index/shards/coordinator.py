"""All shards as one: parts are asked where they stand, and what comes back is put together."""

import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar
from weakref import WeakSet

import numpy as np

from index.columns import Singles
from index.failures import ShardMissing, StoreFailure
from index.hits import Hits
from index.segment import LiveSegment, Segment
from index.shards.checks import check_hits, check_rows, whole
from index.shards.copies import HANDED_SECONDS, Copies
from index.shards.elsewhere import Elsewhere, Places, RunElsewhere, elsewhere, without_vectors
from index.shards.messages import Copy, Fetch, Hold, Keep, Multiply, Part, Search, mark

Answered = TypeVar("Answered")
# Questions that may be under way at a time, for each shard.
AT_ONCE = 8


class Shards:
    """The shards of one gallery, each with its copies. Threads may share it.

    `seconds`: how long a shard may take to answer, with all of its copies. `failed` is told each time that a
    shard gives no answer, `handed_over` of each segment, whole and as it is left here.
    """

    def __init__(
        self,
        shards: Sequence[Sequence[Copy]],
        seconds: float,
        failed: Callable[[], None] = lambda: None,
        handed_over: Callable[[Segment, Segment], None] = lambda whole, left: None,
    ) -> None:
        self.seconds = seconds
        self._shards = [Copies(number, copies, seconds) for number, copies in enumerate(shards)]
        self._failed, self._handed_over = failed, handed_over
        self._owner = secrets.token_hex(8)
        self._pool = ThreadPoolExecutor(AT_ONCE * len(self._shards), "shards")
        self._lock = threading.Lock()
        self._known = WeakSet[Elsewhere]()  # all that are in use somewhere

    def __len__(self) -> int:
        return len(self._shards)

    def close(self) -> None:
        """Let go of all that was handed over, as far as shards can be reached."""
        with self._lock:
            self._known.clear()
        list(self._pool.map(self._kept, self._shards))
        for shard in self._shards:
            shard.close()
        self._pool.shutdown()

    def keep(self, segment: Segment) -> Segment:
        """The segment without its vectors, which those copies of a shard that answer hold now.

        Raises `ShardMissing` if none does.
        """
        shard = self._shards[segment.number % len(self._shards)]
        height, width = segment.columns.vectors.shape
        vectors = Elsewhere(self, shard.number, mark(segment), segment.layout, (height, width))
        # Before it is handed over: whatever copies are told to let go of after that, it is not this.
        with self._lock:
            self._known.add(vectors)
        if not shard.hold(Hold(owner=self._owner, layout=segment.layout, vectors=segment.columns.vectors)):
            self._failed()
            raise ShardMissing(shard.number, ["no copy took a segment"])
        left = without_vectors(segment, vectors)
        self._handed_over(segment, left)
        return left

    def search(self, parts: Sequence[LiveSegment], points: Singles, count: int) -> list[Hits]:
        """What is found near `points` (n, d) in those of `parts` that are elsewhere, numbered as in `parts`.

        As `flat.search` finds it. Raises `ShardMissing` unless every one of them was searched, just as it is.
        """
        of_shard = defaultdict[int, list[int]](list)
        asked = dict[int, Part]()
        for number, part in enumerate(parts):
            vectors = elsewhere(part.segment.columns.vectors)
            if vectors is not None:
                of_shard[vectors.shard].append(number)
                asked[number] = Part.of(vectors.mark, part)

        def search(shard: int) -> tuple[Hits, dict[int, bytes]]:
            numbers = of_shard[shard]
            mine, theirs = [parts[number] for number in numbers], [asked[number] for number in numbers]
            check = partial(check_hits, parts=mine, asked=theirs, points=points, count=count)
            request = Search(parts=tuple(theirs), points=points, count=count)
            squares, at, places, leaves = self._shards[shard].ask(request, check)
            found = Hits(squares, np.array(numbers, np.int32)[at], places)
            return found, {number: leaf.tobytes() for number, leaf in zip(numbers, leaves, strict=True)}

        answers = self._each(search, list(of_shard))
        leaves = {number: leaf for _, mine in answers for number, leaf in mine.items()}
        if whole([leaves[number] for number in asked if number in leaves]) != whole(
            [part.digest for part in asked.values()]
        ):
            raise StoreFailure("what the shards searched is not this version of the gallery: try again")
        return [hits for hits, _ in answers]

    def rows(self, wanted: Sequence[tuple[Elsewhere, Places]]) -> list[Singles]:
        """The vectors (k, d) at places (k,) of each; each travels once. Raises `ShardMissing`."""
        single = [np.unique(places, return_inverse=True) for _, places in wanted]

        def fetch(shard: int, numbers: list[int]) -> Sequence[Singles]:
            mine = [wanted[number][0] for number in numbers]
            places = tuple(single[number][0] for number in numbers)
            shapes = [(len(some), each.shape[1]) for each, some in zip(mine, places, strict=True)]
            request = Fetch(marks=tuple(each.mark for each in mine), places=places)
            return self._shards[shard].ask(request, partial(check_rows, shapes=shapes))

        found = self._in_order([vectors.shard for vectors, _ in wanted], fetch)
        return [rows[back] for rows, (_, back) in zip(found, single, strict=True)]

    def products(self, runs: Sequence[RunElsewhere], point: Singles) -> list[Singles]:
        """The products of the vectors in each of `runs` with `point` (d,). Raises `ShardMissing`."""

        def multiply(shard: int, numbers: list[int]) -> Sequence[Singles]:
            mine = [runs[number] for number in numbers]
            request = Multiply(
                runs=tuple((run.vectors.mark, run.first, run.last) for run in mine), point=point
            )
            shapes = [(run.last - run.first,) for run in mine]
            return self._shards[shard].ask(request, partial(check_rows, shapes=shapes))

        return self._in_order([run.vectors.shard for run in runs], multiply)

    def mend(self) -> set[tuple[int, bytes]]:
        """Give copies that lack a segment what another has, and have all let go of what nobody needs.

        Names (`Elsewhere.name`) of what a copy lacks and none has, of all that can be asked. What is handed
        over at the same time may be among them.
        """
        lost, gaps = set[tuple[int, bytes]](), list[tuple[Copies, Elsewhere, list[int]]]()
        for shard, held in zip(self._shards, self._pool.map(self._kept, self._shards), strict=True):
            for name, vectors in self._needed(shard).items():
                has = [None if answer is None else answer.get(vectors.mark) for answer in held]
                lacks = [copy for copy, there in enumerate(has) if there is False]
                if lacks and any(has):
                    gaps.append((shard, vectors, lacks))
                elif lacks:
                    lost.add(name)
        until = time.monotonic() + HANDED_SECONDS  # the rest the next time: shards are to hear of us
        for shard, vectors, lacks in gaps:
            if time.monotonic() < until:
                self._copied(shard, vectors, lacks)
        return lost

    def _needed(self, shard: Copies) -> dict[tuple[int, bytes], Elsewhere]:
        with self._lock:
            return {vectors.name: vectors for vectors in self._known if vectors.shard == shard.number}

    def _kept(self, shard: Copies) -> list[dict[bytes, bool] | None]:
        """What each copy holds of what is needed, by marks, and nothing else from now on."""
        return shard.keep(
            lambda: Keep(owner=self._owner, marks=tuple(mark for _, mark in self._needed(shard)))
        )

    def _copied(self, shard: Copies, vectors: Elsewhere, lacks: Sequence[int]) -> None:
        try:
            whole_of_it = np.asarray(vectors)
        except ShardMissing:  # it was there a moment ago: the next time tells
            return
        shard.give(Hold(owner=self._owner, layout=vectors.layout, vectors=whole_of_it), lacks)

    def _in_order(
        self, of: Sequence[int], ask: Callable[[int, list[int]], Sequence[Singles]]
    ) -> list[Singles]:
        """What is found for each of several things, in their order, with one question to a shard.

        `of`: the shard of each; `ask` is told a shard, and which of the things it is asked about.
        """
        of_shard = defaultdict[int, list[int]](list)
        for number, shard in enumerate(of):
            of_shard[shard].append(number)
        answers = self._each(lambda shard: ask(shard, of_shard[shard]), list(of_shard))
        found = dict[int, Singles]()
        for numbers, arrays in zip(of_shard.values(), answers, strict=True):
            found |= zip(numbers, arrays, strict=True)
        return [found[number] for number in range(len(of))]

    def _each(self, ask: Callable[[int], Answered], shards: Sequence[int]) -> list[Answered]:
        """What each of `shards` answers, asked at the same time."""
        try:
            if len(shards) == 1:
                return [ask(shards[0])]
            return list(self._pool.map(ask, shards))
        except ShardMissing:
            self._failed()
            raise

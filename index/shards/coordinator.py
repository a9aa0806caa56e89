"""All shards as one: parts are asked where they stand, and what comes back is put together."""

import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

import numpy as np

from index.columns import Singles
from index.failures import ShardMissing, StoreFailure
from index.hits import Hits
from index.segment import LiveSegment, Segment
from index.shards.checks import check_held, check_hits, check_nothing, check_rows, whole
from index.shards.copies import Check, Copies
from index.shards.elsewhere import Elsewhere, Places, RunElsewhere, elsewhere, without_vectors
from index.shards.messages import Array, Copy, Fetch, Hold, Keep, Multiply, Part, Search, mark

Answered = TypeVar("Answered")
# Questions that may be under way at a time, for each shard.
AT_ONCE = 8
# A segment is large: so long a copy may take to be given one, or to say what it has.
HANDED_SECONDS = 60.0


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
        self._shards = [Copies(number, copies, seconds) for number, copies in enumerate(shards)]
        self._seconds, self._failed, self._handed_over = seconds, failed, handed_over
        self._owner = secrets.token_hex(8)
        self._pool = ThreadPoolExecutor(AT_ONCE * len(self._shards), "shards")
        # Of what is handed over and what is let go only one happens at a time.
        self._lock = threading.Lock()
        self._known = WeakValueDictionary[bytes, Elsewhere]()
        self._layouts = dict[bytes, bytes]()

    def __len__(self) -> int:
        return len(self._shards)

    def close(self) -> None:
        """Let go of all that was handed over, as far as shards can be reached."""
        with self._lock:
            for shard in self._shards:
                for copy in range(len(shard.copies)):
                    self._tried(shard, copy, Keep(owner=self._owner, marks=()), partial(check_held, marks=0))
        self._pool.shutdown()

    def keep(self, segment: Segment) -> Segment:
        """The segment without its vectors, which all copies of a shard that can be reached hold now.

        Raises `ShardMissing` if no copy can be.
        """
        shard = self._shards[segment.number % len(self._shards)]
        request = Hold(owner=self._owner, layout=segment.layout, vectors=segment.columns.vectors)
        with self._lock:
            held = [self._tried(shard, copy, request, check_nothing) for copy in range(len(shard.copies))]
            if all(each is None for each in held):
                self._failed()
                raise ShardMissing(shard.number, ["no copy took a segment"])
            height, width = segment.columns.vectors.shape
            vectors = Elsewhere(self, shard.number, mark(segment), (height, width))
            self._known[vectors.mark] = vectors
            self._layouts[vectors.mark] = segment.layout
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
        of_shard = defaultdict[int, list[int]](list)
        for number, (vectors, _) in enumerate(wanted):
            of_shard[vectors.shard].append(number)

        def fetch(shard: int) -> list[Singles]:
            mine = [wanted[number][0] for number in of_shard[shard]]
            places = tuple(single[number][0] for number in of_shard[shard])
            shapes = [(len(some), each.shape[1]) for each, some in zip(mine, places, strict=True)]
            request = Fetch(marks=tuple(each.mark for each in mine), places=places)
            return list(self._shards[shard].ask(request, partial(check_rows, shapes=shapes)))

        found = dict[int, Singles]()
        for shard, arrays in zip(of_shard, self._each(fetch, list(of_shard)), strict=True):
            found |= zip(of_shard[shard], arrays, strict=True)
        return [found[number][back] for number, (_, back) in enumerate(single)]

    def products(self, runs: Sequence[RunElsewhere], point: Singles) -> list[Singles]:
        """The products of the vectors in each of `runs` with `point` (d,). Raises `ShardMissing`."""
        of_shard = defaultdict[int, list[int]](list)
        for number, run in enumerate(runs):
            of_shard[run.vectors.shard].append(number)

        def multiply(shard: int) -> list[Singles]:
            mine = [runs[number] for number in of_shard[shard]]
            request = Multiply(
                runs=tuple((run.vectors.mark, run.first, run.last) for run in mine), point=point
            )
            shapes = [(run.last - run.first,) for run in mine]
            return list(self._shards[shard].ask(request, partial(check_rows, shapes=shapes)))

        found = dict[int, Singles]()
        for shard, arrays in zip(of_shard, self._each(multiply, list(of_shard)), strict=True):
            found |= zip(of_shard[shard], arrays, strict=True)
        return [found[number] for number in range(len(runs))]

    def mend(self) -> list[bytes]:
        """Give copies that lack a segment what another has, and have all let go of what nobody needs.

        The marks of segments that no copy holds any more, of shards all of whose copies could be asked.
        """
        lost = list[bytes]()
        with self._lock:
            known = dict(self._known.items())
            self._layouts = {mark: self._layouts[mark] for mark in known}
            for shard in self._shards:
                mine = [mark for mark, vectors in known.items() if vectors.shard == shard.number]
                request = Keep(owner=self._owner, marks=tuple(mine))
                check = partial(check_held, marks=len(mine))
                held = [self._tried(shard, copy, request, check) for copy in range(len(shard.copies))]
                for at, mark_ in enumerate(mine):
                    has = [None if answer is None else bool(answer[0][at]) for answer in held]
                    lacks = [copy for copy, there in enumerate(has) if there is False]
                    if len(lacks) == len(has):
                        lost.append(mark_)
                    elif lacks and any(has):
                        self._copied(shard, known[mark_], lacks)
        return lost

    def _copied(self, shard: Copies, vectors: Elsewhere, lacks: Sequence[int]) -> None:
        try:
            whole_of_it = np.asarray(vectors)
        except ShardMissing:  # it was there a moment ago: the next time tells
            return
        request = Hold(owner=self._owner, layout=self._layouts[vectors.mark], vectors=whole_of_it)
        for copy in lacks:
            self._tried(shard, copy, request, check_nothing)

    def _tried(self, shard: Copies, copy: int, request: Hold | Keep, check: Check) -> Sequence[Array] | None:
        """What a copy answers; None if it fails to."""
        try:
            return shard.ask_copy(copy, request, check, max(self._seconds, HANDED_SECONDS))
        except Exception as error:  # whatever carries messages may fail as it likes
            shard.fail(copy, error)
            return None

    def _each(self, ask: Callable[[int], Answered], shards: Sequence[int]) -> list[Answered]:
        """What each of `shards` answers, asked at the same time."""
        try:
            if len(shards) == 1:
                return [ask(shards[0])]
            return list(self._pool.map(ask, shards))
        except ShardMissing:
            self._failed()
            raise

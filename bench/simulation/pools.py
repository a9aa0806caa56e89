"""Where work waits: workers with one queue, and shards that all have to answer."""

import heapq
from collections.abc import Iterable
from itertools import count

import numpy as np
import simpy

# The standard deviation of the seconds of a search, from shard to shard, over their mean. Assumed.
UNEVEN = 0.3


class _Task:
    def __init__(self, seconds: float, order: tuple[int, int], parts: "_Parts") -> None:
        self.seconds, self.order, self.parts, self.lost = seconds, order, parts, False


class _Parts:
    """How many tasks of one piece of work are left; `done` happens after the last."""

    def __init__(self, left: int, done: simpy.Event) -> None:
        self.left, self.done = left, done


class Pool:
    """Workers that take what waits: the lower number of `urgency` first, then who came first.

    `worked` are the seconds that they have spent, those of tasks that were lost included.
    """

    def __init__(self, env: simpy.Environment, workers: int) -> None:
        self._env, self.workers = env, workers
        self._waiting: list[tuple[tuple[int, int], _Task]] = []
        self._running: dict[_Task, None] = {}
        self._numbers = count()
        self._queued = self.worked = 0.0

    @property
    def backlog(self) -> float:
        """How long what waits will take, in seconds."""
        return self._queued / self.workers if self.workers else np.inf

    def work(self, tasks: Iterable[float], urgency: int = 0) -> simpy.Event:
        """Happens when all tasks of so many seconds, at least one, are done, each by one worker."""
        done = self._env.event()
        seconds = list(tasks)
        parts = _Parts(len(seconds), done)
        for each in seconds:
            self._queue(_Task(each, (urgency, next(self._numbers)), parts))
        self._take()
        return done

    def lose(self, workers: int) -> None:
        """So many die, busy ones first; what they were doing is done again by others, before what waits."""
        self.workers -= workers
        for task in list(self._running)[:workers]:
            task.lost = True
            del self._running[task]
            self._queue(_Task(task.seconds, task.order, task.parts))

    def gain(self, workers: int) -> None:
        """So many join."""
        self.workers += workers
        self._take()

    def _queue(self, task: _Task) -> None:
        heapq.heappush(self._waiting, (task.order, task))
        self._queued += task.seconds

    def _take(self) -> None:
        while self._waiting and len(self._running) < self.workers:
            _, task = heapq.heappop(self._waiting)
            self._queued -= task.seconds
            self._running[task] = None
            self.worked += task.seconds
            over = self._env.timeout(task.seconds, task)
            assert over.callbacks is not None  # until it happens
            over.callbacks.append(self._over)

    def _over(self, event: simpy.Event) -> None:
        task = event.value
        assert isinstance(task, _Task)
        if task.lost:
            return
        del self._running[task]
        task.parts.left -= 1
        if not task.parts.left:
            task.parts.done.succeed()
        self._take()


class ShardQueues:
    """Shards of the gallery: of each some copies, of each copy some cores, one query at a time on each.

    A query needs every shard, and takes of each the core that is free first. As queries come one after
    another, when a core becomes free is all there is to know of its queue (Lindley's recursion).
    """

    def __init__(self, shards: int, copies: int, cores: int, rng: np.random.Generator) -> None:
        self._free = np.zeros((shards, copies, cores))
        self._rng, self._every = rng, np.arange(shards)
        self.worked = 0.0

    def waiting(self, now: float) -> float:
        """Seconds that a query has to wait for the slowest shard; infinite if one has no copy."""
        return max(0.0, float(self._free.min((1, 2)).max()) - now)

    def search(self, now: float, seconds: float, spread: float = UNEVEN) -> float:
        """Seconds until all have answered a query that comes `now` and needs so many of a core of each.

        Raises `ValueError` if a shard has no copy: then there is no certificate.
        """
        shards = len(self._every)
        free = self._free.reshape(shards, -1)
        place = free.argmin(1)
        begins = np.maximum(free[self._every, place], now)
        if not np.isfinite(begins).all():
            raise ValueError("a shard has no copy")
        shape = 1 / spread**2
        each = self._rng.gamma(shape, seconds / shape, shards)
        ends = begins + each
        free[self._every, place] = ends
        self.worked += float(each.sum())
        return float(ends.max()) - now

    def lose(self, shard: int, copy: int) -> None:
        """A copy dies. What it was doing counts as done: for the queries of that moment this is too kind."""
        self._free[shard, copy] = np.inf

    def gain(self, shard: int, copy: int, now: float) -> None:
        """It is back, with nothing to do."""
        self._free[shard, copy] = now

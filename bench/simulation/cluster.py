"""A simulated cluster: what a question goes through, from the door to the answer."""

from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import simpy

from bench.simulation.pools import Pool, ShardQueues
from bench.simulation.questions import POPULAR, URGENCY, Inquiry
from bench.simulation.times import SAMPLE_BYTES, Times

Returned = TypeVar("Returned")
# What simpy calls a process: events that it waits for, one after another.
Steps = Generator[simpy.Event, Any, Returned]

# The most samples that a sampler draws at a time, so that others can go in between.
RUN = 1_024


@dataclass(frozen=True)
class Machines:
    """What there is: GPUs, cores that certify, shards with copies of so many cores, memory of Redis.

    `changed_every`: seconds between changes of the gallery, each of which outdates all finished answers.
    `backlog`: seconds of work that may wait, RETRIEVALGUARD_MAX_BACKLOG_SECONDS.
    """

    items: int
    gpus: int
    cores: int
    shards: int
    copies: int
    shard_cores: int
    redis_bytes: float
    changed_every: float = 10.0
    backlog: float = 2.0


@dataclass(frozen=True)
class Ended:
    """What became of a question: seconds, and `way`: hit, resumed, cold, busy (503) or shardless (503)."""

    at: float
    kind: str
    way: str
    seconds: float

    @property
    def good(self) -> bool:
        """Whether it was answered with a certificate."""
        return self.way not in ("busy", "shardless")


class Cluster:
    """One run of `plan`: questions come, `came` fills."""

    def __init__(
        self, env: simpy.Environment, plan: Machines, times: Times, rng: np.random.Generator
    ) -> None:
        self.env, self.plan, self.times = env, plan, times
        self.gpus, self.cores = Pool(env, plan.gpus), Pool(env, plan.cores)
        self.shards = ShardQueues(plan.shards, plan.copies, plan.shard_cores, rng)
        self.redis_is_there = True
        self.came: list[Ended] = []
        self._leases: dict[int, simpy.Event] = {}
        self._answers: dict[int, int] = {}
        self._samples = OrderedDict[int, int]()
        self._kept, self._most = 0.0, plan.redis_bytes / SAMPLE_BYTES

    def warm(self, stops: Sequence[int]) -> None:
        """Fill Redis as in the middle of a day: with the samples of the most popular images.

        With their answers as well, if the gallery never changes.
        """
        number = int(np.searchsorted(np.cumsum(np.resize(stops, POPULAR)), self._most))
        for key in range(number - 1, -1, -1):
            self._keep(key, stops[key % len(stops)])
            if np.isinf(self.plan.changed_every):
                self._answers[key] = self._version

    def forget(self) -> None:
        """Redis is there again, and empty."""
        self._samples.clear()
        self._answers.clear()
        self._kept, self.redis_is_there = 0.0, True

    def asked(self, questions: Iterator[Inquiry]) -> Steps[None]:
        """Let questions come when they do."""
        for question in questions:
            yield self.env.timeout(question.at - self.env.now)
            self.env.process(self._answer(question))

    def _answer(self, question: Inquiry) -> Steps[None]:
        yield self.cores.work([self.times.door])
        way = "cold"
        key = question.key if self.redis_is_there else None
        if key is not None:
            if self._answers.get(key) == self._version:
                return self._end(question, "hit")
            if key in self._leases:  # it is being worked out: who asks for it too waits for that
                way = yield self._leases[key]
                return self._end(question, "hit" if way in ("cold", "resumed") else way)
            self._leases[key] = self.env.event()
            if key in self._samples:
                way = "resumed"
        waits = [self.cores.backlog, self.shards.waiting(self.env.now)]
        if way == "cold":
            waits.append(self.gpus.backlog)
        if np.isinf(max(waits)):
            way = "shardless"
        elif max(waits) > self.plan.backlog:
            way = "busy"
        else:
            way = yield from self._work(question, way)
        if key is not None:
            if self.redis_is_there and way in ("cold", "resumed"):
                self._keep(key, question.samples)
                self._answers[key] = self._version
            self._leases.pop(key).succeed(way)
        return self._end(question, way)

    def _work(self, question: Inquiry, way: str) -> Steps[str]:
        """Draw, search, certify, look after look; the way it went."""
        urgency, known = URGENCY[question.kind], 0
        for look in question.looks:
            if way == "cold":
                yield self.gpus.work(map(self.times.drawing, runs(look - known)), urgency)
            if not known:  # a query is searched for once
                seconds = self.times.far * self.plan.items / self.plan.shards
                try:
                    yield self.env.timeout(self.shards.search(self.env.now, seconds))
                except ValueError:
                    return "shardless"
            yield self.cores.work([self.times.look * look], urgency)
            known = look
        return way

    @property
    def _version(self) -> int:
        return int(self.env.now / self.plan.changed_every)

    def _keep(self, key: int, samples: int) -> None:
        self._kept += samples - self._samples.pop(key, 0)
        self._samples[key] = samples
        while self._kept > self._most:
            self._kept -= self._samples.popitem(last=False)[1]

    def _end(self, question: Inquiry, way: str) -> None:
        self.came.append(Ended(question.at, question.kind, way, self.env.now - question.at))


def runs(samples: int) -> list[int]:
    """How samplers share so many."""
    whole, rest = divmod(samples, RUN)
    return [RUN] * whole + [rest] * bool(rest)

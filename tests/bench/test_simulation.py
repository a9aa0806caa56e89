"""The simulated cluster: queues against their closed forms, and what a failure does."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import simpy

from bench.simulation.cluster import Cluster, Machines
from bench.simulation.pools import Pool, ShardQueues
from bench.simulation.questions import LONG, looks, questions
from bench.simulation.times import Times

TIMES = Times(sample=1e-4, start=0.004, door=0.002, look=2e-5, far=1e-7)
PLAN = Machines(10_000, gpus=8, cores=8, shards=4, copies=2, shard_cores=2, redis_bytes=1e9)
STOPS = {"default": [1_024, 2_048], "yes-or-no": [256, 384]}


def erlang_c(workers: int, load: float) -> float:
    """The probability that somebody has to wait, of Poisson arrivals and exponential work (Erlang, 1917)."""
    terms = [load**k / math.factorial(k) for k in range(workers)]
    last = load**workers / math.factorial(workers) * workers / (workers - load)
    return last / (sum(terms) + last)


def arrivals(rate: float, number: int, seed: int) -> tuple[Iterator[float], Iterator[float]]:
    rng = np.random.default_rng(seed)
    return iter(rng.exponential(1 / rate, number).tolist()), iter(rng.exponential(1, number).tolist())


@pytest.mark.parametrize(("workers", "busy"), [(1, 0.5), (1, 0.8), (4, 0.8)])
def test_a_pool_waits_as_erlang_says(workers: int, busy: float) -> None:
    env = simpy.Environment()
    pool, waits = Pool(env, workers), []

    def ask(seconds: float) -> Iterator[simpy.Event]:
        came = env.now
        yield pool.work([seconds])
        waits.append(env.now - came - seconds)

    def come() -> Iterator[simpy.Event]:
        for gap, seconds in zip(*arrivals(workers * busy, 40_000, workers), strict=True):
            yield env.timeout(gap)
            env.process(ask(seconds))

    env.process(come())
    env.run()
    expected = erlang_c(workers, workers * busy) / (workers * (1 - busy))
    assert np.mean(waits) == pytest.approx(expected, rel=0.1)
    assert pool.worked / env.now == pytest.approx(workers * busy, rel=0.03)
    assert pool.backlog == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("cores", "busy"), [(1, 0.7), (4, 0.8)])
def test_a_shard_waits_as_erlang_says(cores: int, busy: float) -> None:
    shards, now, took = ShardQueues(1, 1, cores, np.random.default_rng(0)), 0.0, []
    for gap, _ in zip(*arrivals(cores * busy, 40_000, 7), strict=True):
        now += gap
        took.append(shards.search(now, 1.0, spread=1.0))  # a gamma of spread 1 is exponential
    expected = 1 + erlang_c(cores, cores * busy) / (cores * (1 - busy))
    assert np.mean(took) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("busy", [0.4, 0.8])
def test_the_slower_of_two_shards_is_waited_for_as_flatto_and_hahn_say(busy: float) -> None:
    """Fork and join of two M/M/1: (12 - ρ)/8 of the time of one (Flatto and Hahn, 1984)."""
    shards, now, took = ShardQueues(2, 1, 1, np.random.default_rng(0)), 0.0, []
    for gap, _ in zip(*arrivals(busy, 60_000, 3), strict=True):
        now += gap
        took.append(shards.search(now, 1.0, spread=1.0))
    assert np.mean(took) == pytest.approx((12 - busy) / 8 / (1 - busy), rel=0.1)


def test_what_a_worker_was_doing_when_it_died_is_done_again() -> None:
    env = simpy.Environment()
    pool, ends = Pool(env, 2), []

    def ask() -> Iterator[simpy.Event]:
        yield pool.work([1.0, 1.0, 1.0])
        ends.append(env.now)

    def fail() -> Iterator[simpy.Event]:
        yield env.timeout(0.5)
        pool.lose(1)

    env.process(ask())
    env.process(fail())
    env.run()
    assert ends == [3.0]  # one ends at 1; the one that was lost, and the third, come after it
    assert pool.worked == 4.0


def test_who_is_urgent_goes_first() -> None:
    env = simpy.Environment()
    pool, ends = Pool(env, 1), []

    def ask(name: str, urgency: int) -> Iterator[simpy.Event]:
        yield pool.work([1.0, 1.0], urgency)
        ends.append(name)

    for name, urgency in (("long", 2), ("short", 0)):
        env.process(ask(name, urgency))
    env.run()
    assert ends == ["short", "long"]


def cluster(plan: Machines = PLAN, rate: float = 4.0, seconds: float = 20.0) -> Cluster:
    env, rng = simpy.Environment(), np.random.default_rng(0)
    found = Cluster(env, plan, TIMES, rng)
    env.process(found.asked(questions(rate, seconds, STOPS, rng)))
    return found


def test_every_question_is_answered_once_and_the_run_repeats() -> None:
    first, second = cluster(), cluster()
    for one in (first, second):
        one.env.run()
    assert first.came == second.came
    assert 40 < len(first.came) < 120
    assert all(one.good for one in first.came)
    assert {"hit", "cold"} <= {one.way for one in first.came}


def test_a_cold_question_takes_what_its_parts_take() -> None:
    found = cluster(rate=0.02, seconds=100)
    found.env.run()
    alone = next(one for one in found.came if one.kind == "default")
    drawing = TIMES.drawing(1_024)
    least = TIMES.door + drawing + TIMES.look * 1_024
    more = drawing + TIMES.look * 2_048
    assert any(alone.seconds == pytest.approx(least + extra, abs=0.001) for extra in (0, more))


def test_without_a_copy_of_a_shard_nothing_is_certified_and_what_is_kept_is_still_answered() -> None:
    found = cluster(rate=20)

    def fail() -> Iterator[simpy.Event]:
        yield found.env.timeout(5)
        found.shards.lose(2, 0)
        found.shards.lose(2, 1)
        yield found.env.timeout(5)
        found.shards.gain(2, 0, found.env.now)

    found.env.process(fail())
    found.env.run()
    between = {one.way for one in found.came if 5.5 < one.at < 10 - 0.5}
    assert between == {"shardless", "hit"}
    assert {one.way for one in found.came if one.at > 10} <= {"hit", "cold", "resumed"}


def test_beyond_its_backlog_a_cluster_says_that_it_is_busy() -> None:
    found = cluster(Machines(10_000, 1, 8, 4, 2, 2, 1e9), rate=100, seconds=10)
    found.env.run()
    assert {"busy", "cold"} <= {one.way for one in found.came}
    admitted = [one.seconds for one in found.came if one.kind == "yes-or-no" and one.good]
    assert max(admitted) < PLAN.backlog + 1


def test_looks_are_those_of_the_service() -> None:
    assert looks("default", 4_096) == (1_024, 2_048, 4_096)
    assert looks("long", LONG) == (LONG,)
    yes_or_no = looks("yes-or-no", 500)
    assert yes_or_no[-1] == 500
    assert len(yes_or_no) > 1

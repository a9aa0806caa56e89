"""Equal queries at replicas that share a Redis are drawn once; without it, or when one is lost, by each."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from models import Calibration, EmbeddingModel, SmoothedModel, Stop
from service.cache import leases
from service.cache.leases import Lease, Leases
from service.cache.redis_store import RedisStore
from service.cache.samples import SampleCache
from service.metrics import Metrics
from service.retrieval import samples as samples_module
from service.retrieval.samples import SamplesInUse
from tests.service.processes import PATIENCE_MS, RedisServer
from tests.service.queries import tensor

SECRET, MANY = b"a secret of this file alone", 2**12


class Replica:
    """What one API replica draws with; all share a Redis."""

    def __init__(self, redis: RedisServer) -> None:
        model = EmbeddingModel.load("digits-cnn")
        self.smoothed = SmoothedModel(model, 0.25, SECRET, Calibration.fixed(model), workers=1)
        self.store = RedisStore(redis.url, timeout_ms=PATIENCE_MS, ttl_seconds=60)
        self.metrics, self.leases = Metrics(), Leases(self.store, SECRET)
        cache = SampleCache(
            self.store, SECRET, model_digest=self.smoothed.digest, sigma=0.25, dimension=64, chunk=128
        )
        self.samples = SamplesInUse(cache, self.smoothed, self.metrics, self.leases)

    def ask(self, row: int, count: int = MANY, stop: Stop | None = None) -> np.ndarray:  # type: ignore[type-arg]
        with self.samples.of(tensor(row)) as samples:
            samples.expect(count)
            found = samples.first(count, stop or Stop())
            samples.keep()
            return found

    def lease(self, row: int) -> Lease:
        """As a query with `MANY` samples holds it."""
        digest = self.smoothed.engine.stream(tensor(row)).digest
        return self.leases.on(self.smoothed.digest.encode(), f"0.25 {MANY // 128}".encode(), digest)

    def drawn(self) -> int:
        return int(self.metrics.samples._value.get())

    def close(self) -> None:
        self.smoothed.close()
        self.store.close()


@pytest.fixture
def replicas(redis_server: RedisServer) -> Iterator[list[Replica]]:
    opened = [Replica(redis_server) for _ in range(2)]
    yield opened
    for replica in opened:
        replica.close()


def test_equal_queries_are_drawn_once(replicas: list[Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples_module, "LEAST_WAIT", 60.0)  # however busy the machine is
    monkeypatch.setattr(samples_module, "MOST_WAIT", 60.0)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda number: replicas[number % 2].ask(0), range(6)))
    assert all(np.array_equal(each, found[0]) for each in found)
    assert len(found[0]) == MANY
    assert sum(replica.drawn() for replica in replicas) == MANY


def test_another_input_or_another_number_of_samples_waits_for_nobody(replicas: list[Replica]) -> None:
    one, two = replicas
    held = one.lease(1)
    assert held.taken()
    started = time.monotonic()
    two.ask(2)
    two.ask(1, MANY // 2)
    two.ask(1, stop=Stop(600))  # nor who has a deadline
    assert time.monotonic() - started < leases.LEASE_SECONDS + 60
    assert not two.lease(1).taken()  # it was held all the time
    held.leave()


def test_a_replica_that_is_lost_holds_nobody_up_for_long(
    replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.8)
    one, two = replicas
    lost = one.lease(3)
    assert lost.taken()
    time.sleep(1)
    assert not two.lease(3).taken()  # it is renewed
    one.store.close()
    began = time.monotonic()
    assert len(two.ask(3)) == MANY
    assert time.monotonic() - began > 0.3
    assert two.drawn() == MANY


def test_who_leaves_while_waiting_leaves_at_once(replicas: list[Replica]) -> None:
    one, two = replicas
    held = one.lease(4)
    assert held.taken()
    stop = Stop()
    threading.Timer(0.2, stop.cancel).start()
    assert len(two.ask(4, stop=stop)) == 0
    assert two.drawn() == 0
    held.leave()


def test_a_lease_that_never_ends_costs_no_more_than_a_wait(
    replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is forged, or whose holder is stuck: one wait, not one a slice, and the same samples."""
    for name, value in {"LEAST_WAIT": 0.5, "MOST_WAIT": 0.5, "SLICE": 2}.items():
        monkeypatch.setattr(samples_module, name, value)
    one, two = replicas
    forged = one.lease(6)
    one.store.hold(forged.name, "somebody", 10**6)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(two.ask, 6).result(60)
    assert 0.5 < time.monotonic() - began < 6
    assert np.array_equal(found, one.smoothed.sample(tensor(6), 0, MANY // 128))
    assert not forged.taken()


def test_after_a_deadline_nobody_waits_for_a_lease(replicas: list[Replica]) -> None:
    """Not for the samples that there are after it, and not with one that has no deadline and does wait."""
    one, two = replicas
    held = one.lease(7)
    assert held.taken()
    with two.samples.of(tensor(7)) as samples, ThreadPoolExecutor(1) as pool:
        samples.expect(MANY)
        waits = pool.submit(samples.first, MANY, Stop())
        time.sleep(0.1)
        assert not waits.done()
        over = Stop(0.0)
        began = time.monotonic()
        assert len(samples.first(MANY, over)) in (0, MANY)
        assert len(samples.chunk(over.without_deadline())) == 128
        assert len(waits.result(60)) == MANY
        assert time.monotonic() - began < samples_module.LEAST_WAIT
    held.leave()


def test_who_has_kept_its_samples_holds_no_lease_while_others_look_at_them(replicas: list[Replica]) -> None:
    one, two = replicas
    with one.samples.of(tensor(8)):
        one.ask(8)
        theirs = two.lease(8)
        assert theirs.taken()
        theirs.leave()


def test_samples_that_the_cache_cannot_hold_are_waited_for_by_nobody(
    replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = replicas
    held = one.lease(9)
    assert held.taken()
    monkeypatch.setattr(samples_module, "VALUE_LIMIT", 4 * MANY * 64 - 1)
    monkeypatch.setattr(samples_module, "LEAST_WAIT", 600.0)
    monkeypatch.setattr(samples_module, "MOST_WAIT", 600.0)
    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(two.ask, 9).result(60)) == MANY
    held.leave()


def test_a_lease_that_is_given_up_while_it_is_renewed_is_free(
    replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 2.0)
    one, two = (replica.leases.on(b"another name") for replica in replicas)
    hold, renewing, given_up = replicas[0].store.hold, threading.Event(), threading.Event()

    def slow(name: str, holder: str, seconds: float) -> bool | None:
        if threading.current_thread().name == "leases":
            renewing.set()
            assert given_up.wait(30)
            seconds = 60.0  # it would be held for long
        return hold(name, holder, seconds)

    monkeypatch.setattr(replicas[0].store, "hold", slow)
    assert one.taken()
    assert renewing.wait(30)
    one.leave()
    given_up.set()
    deadline = time.monotonic() + 10
    time.sleep(0.2)
    while not two.taken():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    two.leave()


def test_without_redis_everybody_draws_the_same(replicas: list[Replica], redis_server: RedisServer) -> None:
    redis_server.kill()
    try:
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda replica: replica.ask(5, MANY // 8), replicas))
    finally:
        redis_server.start()
    assert np.array_equal(found[0], found[1])
    assert sum(replica.drawn() for replica in replicas) == 2 * (MANY // 8)


def test_nobody_lets_go_what_another_holds(replicas: list[Replica]) -> None:
    one, two = (replica.leases.on(b"a name") for replica in replicas)
    assert one.taken()
    assert not two.taken()
    two.leave()
    assert not two.taken()
    one.leave()
    assert two.taken()
    one.leave()
    assert not one.taken()
    two.leave()

"""What a key may use in a minute, counted here and by replicas together."""

from pathlib import Path

import pytest

from service.cache.redis_store import RedisStore
from service.errors import RateLimited
from service.traffic.rates import Rates
from tests.service.processes import PATIENCE_MS, RedisServer


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0  # 40 s into a minute

    def __call__(self) -> float:
        return self.now


def test_a_limit_holds_until_the_minute_is_over_and_says_when_that_is() -> None:
    clock = Clock()
    rates = Rates(clock=clock)
    assert [rates.add("a", 1, 2).left for _ in range(3)] == [1, 0, -1]
    standing = rates.add("a", 1, 2)
    assert standing.seconds == 20
    assert rates.add("b", 1, 2).left == 1
    clock.now += standing.seconds
    assert rates.add("a", 1, 2).left == 1


def reserve(rates: Rates, most: int, drawn: int) -> None:
    with rates.reserved("a", most, 100, lambda: drawn):
        pass


def test_samples_that_were_not_drawn_are_given_back() -> None:
    rates = Rates(clock=Clock())
    reserve(rates, 100, 30)
    reserve(rates, 70, 0)
    with rates.reserved("a", 70, 100, lambda: 70):
        with pytest.raises(RateLimited, match="0 of them are left") as refused:
            reserve(rates, 1, 1)
        assert refused.value.retry_after == 20
    with pytest.raises(RateLimited):
        reserve(rates, 1, 1)


def test_what_fails_gives_back_what_it_did_not_draw() -> None:
    rates = Rates(clock=Clock())

    def fail() -> None:
        with rates.reserved("a", 100, 100, lambda: 1):
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    reserve(rates, 99, 99)


def test_nothing_is_given_back_to_another_minute() -> None:
    clock = Clock()
    rates = Rates(clock=clock)
    with rates.reserved("a", 100, 100, lambda: 0):
        clock.now += 30
    reserve(rates, 100, 100)
    with pytest.raises(RateLimited):
        reserve(rates, 1, 1)


def test_nothing_is_given_back_to_where_it_was_not_taken() -> None:
    together: dict[str, int] = {}
    reachable = [False]

    def shared(name: str, amount: int, seconds: int) -> int | None:
        together[name] = together.get(name, 0) + amount * reachable[0]
        return together[name] if reachable[0] else None

    rates = Rates(shared, Clock())
    with rates.reserved("a", 100, 100, lambda: 0):
        reachable[0] = True
    assert set(together.values()) == {0}


def test_replicas_count_together_in_redis_and_each_for_itself_without(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    stores = [RedisStore(redis_server.url, timeout_ms=10 * PATIENCE_MS, ttl_seconds=60) for _ in range(2)]
    clock = Clock()
    one, two = (Rates(store.add, clock) for store in stores)
    assert [rates.add("a", 3, 10).left for rates in (one, two, one)] == [7, 4, 1]
    with redis_server.client() as client:
        (name,) = client.scan_iter("retrievalguard:rate:*")
        assert 60 <= client.ttl(name) <= 120
    for store in stores:
        store.close()
    assert [rates.add("a", 3, 10).left for rates in (one, two)] == [7, 7]

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


def test_samples_that_were_not_drawn_are_given_back() -> None:
    rates = Rates(clock=Clock())
    with rates.reserved("a", 100, 100) as drawn:
        drawn(30)
    with rates.reserved("a", 70, 100):
        pass
    with rates.reserved("a", 70, 100) as drawn:
        with pytest.raises(RateLimited, match="0 of them are left") as refused, rates.reserved("a", 1, 100):
            pytest.fail("it was over the limit")
        assert refused.value.retry_after == 20
        drawn(70)
    with pytest.raises(RateLimited), rates.reserved("a", 1, 100):
        pytest.fail("it was over the limit")


def test_what_fails_gives_back_what_it_did_not_draw() -> None:
    rates = Rates(clock=Clock())

    def fail() -> None:
        with rates.reserved("a", 100, 100) as drawn:
            drawn(1)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with rates.reserved("a", 99, 100):
        pass


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

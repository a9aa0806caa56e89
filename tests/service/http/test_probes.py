"""Checks that take long: who asks is answered at once, with what is known."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from unittest import mock

import pytest

from service.errors import NotReady
from service.http import probes
from service.http.probes import Latest

Result = TypeVar("Result")


def asked(
    latest: "Latest[Result]", *, between: Callable[[], None] = lambda: None
) -> list[Result | Exception]:
    """What two requests are told; each is answered at once."""

    async def ask() -> list[Result | Exception]:
        told: list[Result | Exception] = []
        for _ in range(2):
            begun = time.perf_counter()
            try:
                told.append(await latest.get())
            except (NotReady, OSError) as error:
                told.append(error)
            assert time.perf_counter() - begun < 1
            between()
        return told

    return asyncio.run(ask())


def test_a_quick_check_is_waited_for() -> None:
    numbers = iter(range(10))
    assert asked(Latest(lambda: next(numbers))) == [0, 1]


def test_while_a_check_runs_the_result_of_the_one_before_is_told() -> None:
    end, calls = threading.Event(), list[int]()

    def check() -> int:
        calls.append(1)
        if len(calls) > 1:
            end.wait(10)
        return len(calls)

    latest = Latest(check)

    async def ask() -> tuple[list[int], list[int]]:
        slow = [await latest.get() for _ in range(4)]
        end.set()
        await asyncio.sleep(0.2)
        return slow, [await latest.get()]

    assert asyncio.run(ask()) == ([1, 1, 1, 1], [3])
    assert len(calls) == 3  # one at a time


def test_without_a_result_it_is_not_ready() -> None:
    end = threading.Event()
    with mock.patch.object(probes, "PATIENCE_WITHOUT", 0.1):
        told = asked(Latest(lambda: end.wait(10)), between=end.set)
    assert isinstance(told[0], NotReady)


def test_a_result_that_is_too_old_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    end, calls = threading.Event(), list[int]()

    def check() -> int:
        calls.append(1)
        if len(calls) > 1:
            end.wait(10)
        return 1

    def grow_old() -> None:
        monkeypatch.setattr(probes, "STALE", 0.02)  # only now: the first one may take longer than that
        time.sleep(0.05)

    monkeypatch.setattr(probes, "PATIENCE_WITHOUT", 0.5)
    told = asked(Latest(check), between=grow_old)
    end.set()
    assert told[0] == 1
    assert isinstance(told[1], NotReady)


def test_a_check_that_fails_is_told_as_it_failed_until_one_succeeds() -> None:
    results: list[int | OSError] = [OSError("gone"), 7]

    def check() -> int:
        found = results.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    failed, found = asked(Latest(check))
    assert isinstance(failed, OSError)
    assert found == 7

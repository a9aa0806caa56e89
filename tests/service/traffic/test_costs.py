"""What work costs: as it was lately, each kind for itself."""

import pytest

from service.traffic.costs import REMEMBERED, Costs


def test_the_first_is_guessed_and_the_next_as_those_before() -> None:
    costs = Costs()
    assert costs.forecast("long", 7.0) == 7.0
    assert costs.forecast("long") == 0.0
    for seconds in (2.0, 4.0, 6.0):
        costs.learn("long", seconds)
    assert costs.forecast("long", 7.0) == pytest.approx(4.0)
    assert costs.forecast("short", 7.0) == 7.0


def test_what_was_long_ago_is_forgotten() -> None:
    costs = Costs()
    for seconds in [100.0] * 50 + [1.0] * 5 * REMEMBERED:
        costs.learn("kind", seconds)
    assert costs.forecast("kind") == pytest.approx(1.0, rel=0.6)

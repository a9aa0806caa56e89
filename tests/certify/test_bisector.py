"""The distance to the bisectors; what it shares with method `paper` is tested there."""

import numpy as np
import pytest

from certify import Rivals
from certify.bisector import bisector_radius


def test_distance_to_a_bisector_that_is_not_between() -> None:
    """Items (1, 0) and (0, 1), bisector y = x: g = (0.8, 0.2) is 0.6/√2 from it; half the gap is smaller."""
    mean = np.array([0.8, 0.2])
    listing = Rivals.of(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), mean)
    assert bisector_radius(mean, listing, epsilon=0.1, lipschitz=2.0) == pytest.approx(
        (0.6 / np.sqrt(2) - 0.1) / 2, abs=1e-11
    )


def test_the_binding_rival_need_not_be_the_nearest() -> None:
    """(0.6, 0.9) is nearer to the mean, but (-0.875, 0) has the nearer bisector with the winner (1, 0)."""
    mean, winner = np.array([0.2, 0.0]), np.array([[1.0, 0.0]])
    near, binding = np.array([[0.6, 0.9]]), np.array([[-0.875, 0.0]])
    assert np.linalg.norm(near - mean) < np.linalg.norm(binding - mean)
    alone, both = (
        bisector_radius(mean, Rivals.of(winner, rivals, mean), epsilon=0.0, lipschitz=1.0)
        for rivals in (binding, np.concatenate([near, binding]))
    )
    assert alone == pytest.approx(0.1375, abs=1e-11)
    assert both == alone


def test_rivals_are_looked_at_until_none_can_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a line with winner 1: the bisector with 1.1 is at 1.05, that with -1.6, which is farther, at -.3."""
    monkeypatch.setattr("certify.bisector.BATCH", 1)
    mean, winner, rivals = np.zeros(1), np.array([[1.0]]), np.array([[1.1], [-1.6]])
    found = bisector_radius(mean, Rivals.of(winner, rivals, mean), epsilon=0.0, lipschitz=1.0)
    assert found == pytest.approx(0.3, abs=1e-7)


def test_each_rival_meets_the_winner_that_beats_it_best() -> None:
    """Winners to both sides: each keeps the rival behind it away, at the distance of its own bisector."""
    mean = np.zeros(2)
    winners, rivals = np.array([[0.5, 0.0], [-0.5, 0.0]]), np.array([[1.5, 0.0], [-1.5, 0.0]])
    one, both = (
        bisector_radius(mean, Rivals.of(some, rivals, mean), epsilon=0.0, lipschitz=1.0)
        for some in (winners[:1], winners)
    )
    assert one == pytest.approx(0.5, abs=1e-11)
    assert both == pytest.approx(1.0, abs=1e-11)


def test_near_twins_are_not_beyond_their_exact_bisector() -> None:
    """The bisector of (0.5, 0.25) and (0.5, 0.25 + 2^-25) is the line y = 0.25 + 2^-26."""
    winner, rival = np.array([[0.5, 0.25]]), np.array([[0.5, 0.25 + 2.0**-25]])
    for x in np.random.default_rng(0).uniform(-1, 1, 100):
        mean = np.array([x, -0.5])
        radius = bisector_radius(mean, Rivals.of(winner, rival, mean), epsilon=0.0, lipschitz=1.0)
        assert radius <= 0.75 + 2.0**-26

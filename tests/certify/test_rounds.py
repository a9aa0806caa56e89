"""Rounds grow, end where they have to, and stop when there is nothing more to learn."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify import Certificate, Guarantee, Terms, horizon_for, rounds, selection_size, settled
from certify.rounds import HOPELESS
from tests.certify.worlds import seeded


@seeded
@given(st.integers(2, 10**6))
def test_rounds_rise_to_the_most(most: int) -> None:
    found = list(rounds(most))
    assert found[-1] == most
    assert all(earlier < later for earlier, later in pairwise(found))
    assert all(n % 128 == 0 for n in found[:-1])
    # Few looks: each is at a quarter more samples, or at one step more.
    assert all(later >= 1.24 * earlier for earlier, later in pairwise(found[:-1]))
    assert all(later <= max(1.25 * earlier, earlier) + 128 for earlier, later in pairwise(found))


@seeded
@given(st.integers(2, 10**6))
def test_all_rounds_of_one_answer_choose_with_the_same_samples(most: int) -> None:
    found = list(rounds(most))
    assert len({selection_size(n) for n in found}) == 1
    assert found[0] == min(most, 256)


@seeded
@given(st.integers(2, 10**5), st.integers(0, 10**5))
def test_rounds_do_not_depend_on_how_many_may_follow(most: int, more: int) -> None:
    short, long = list(rounds(most)), list(rounds(most + more))
    assert short[:-1] == long[: len(short) - 1]


@seeded
@given(st.integers(2, 10**6), st.integers(2, 10**6), st.none() | st.floats(0.01, 2))
def test_whatever_may_be_drawn_bets_are_planned_in_one_of_two_ways(
    some: int, others: int, target: float | None
) -> None:
    assert (horizon_for(some, target) == horizon_for(others, target)) == ((some <= 1000) == (others <= 1000))


def certificate(
    *, target: float | None, radius: float, expected: float, samples: int, guarantee: Guarantee = "label"
) -> Certificate:
    """One whose other guarantee has another radius: never what settles it."""
    other = 10.0 if radius < 0.5 else 0.0
    radii = (radius, other) if guarantee == "label" else (other, radius)
    terms = Terms(0.5, 0.05, guarantee, target=target)
    return Certificate(terms, *radii, *radii, expected, samples, {}, None)


@pytest.mark.parametrize("radius", [0.0, 1.0, math.inf])
@pytest.mark.parametrize("expected", [0.0, 1.0])
def test_without_a_target_every_sample_counts(radius: float, expected: float) -> None:
    assert not settled(certificate(target=None, radius=radius, expected=expected, samples=10_000))


@pytest.mark.parametrize("guarantee", ["label", "item"])
@pytest.mark.parametrize("samples", [2, 256, 10_000])
@pytest.mark.parametrize("radius", [0.5, 0.6, math.inf])
def test_a_target_that_is_certified_is_settled(guarantee: Guarantee, samples: int, radius: float) -> None:
    reached = certificate(target=0.5, radius=radius, expected=0.0, samples=samples, guarantee=guarantee)
    assert settled(reached)


@pytest.mark.parametrize("guarantee", ["label", "item"])
@pytest.mark.parametrize(
    ("samples", "expected", "given_up"),
    [
        (256, 0.0, False),
        (511, 0.0, False),
        (512, 0.0, True),
        (512, 0.99 * HOPELESS * 0.5, True),
        (512, 1.01 * HOPELESS * 0.5, False),
        (512, 0.5, False),
        (10_000, 0.0, True),
        (10_000, 0.5, False),
    ],
)
def test_a_target_out_of_reach_is_given_up_but_not_at_once(
    guarantee: Guarantee, samples: int, expected: float, given_up: bool
) -> None:
    open_ = certificate(target=0.5, radius=0.499999, expected=expected, samples=samples, guarantee=guarantee)
    assert settled(open_) is given_up

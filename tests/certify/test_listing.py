"""The distance that a listing promises for the items it leaves out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify import Listing
from tests.certify.worlds import seeded


@seeded
@given(st.integers(0, 2**32), st.integers(1, 6), st.floats(0, 2))
def test_outside_distance_is_never_above_the_distance_to_an_unlisted_item(
    seed: int, dimension: int, outside: float
) -> None:
    rng = np.random.default_rng(seed)
    centre, point = rng.standard_normal((2, dimension))
    listing = Listing(centre[None], np.zeros((0, dimension)), centre, outside)
    directions = rng.standard_normal((50, dimension))
    unlisted = centre + outside * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    promised = listing.outside_distance(point)
    assert (np.linalg.norm(unlisted - point, axis=1) >= promised - 1e-12).all()
    if np.linalg.norm(point - centre) < outside:
        worst = centre + outside * (point - centre) / np.linalg.norm(point - centre)
        assert np.linalg.norm(worst - point) == pytest.approx(promised, abs=1e-12)


def test_complete_when_nothing_is_outside() -> None:
    item, none = np.ones((1, 2)), np.zeros((0, 2))
    assert Listing(item, none, item[0], np.inf).complete
    assert Listing(item, none, item[0], np.inf).outside_distance(np.zeros(2)) == np.inf
    assert not Listing(item, none, item[0], 1e300).complete


def test_a_bound_of_minus_infinity_is_not_complete() -> None:
    item = np.ones((1, 2))
    assert not Listing(item, np.zeros((0, 2)), item[0], -np.inf).complete


def test_finite_unless_some_number_is_not() -> None:
    item, none = np.ones((1, 2)), np.zeros((0, 2))
    sound = Listing(item, item, item[0], np.inf)
    assert sound.finite
    assert Listing(item, none, item[0], 0.5).finite
    for value in (np.nan, np.inf):
        assert not replace(sound, winners=value * item).finite
        assert not replace(sound, rivals=value * item).finite
        assert not replace(sound, centre=value * item[0]).finite
    assert not replace(sound, outside=np.nan).finite

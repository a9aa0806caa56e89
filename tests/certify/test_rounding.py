"""A radius loses less than one unit of its last digit, and never gains."""

import json
import math

from hypothesis import example, given
from hypothesis import strategies as st

from certify import round_down
from tests.certify.worlds import seeded

radii = st.floats(0, 1e6)


@seeded
@given(radii)
@example(0.3)
@example(math.nextafter(5e-6, 0))  # times 1e6 it is 5 again
@example(0.1 + 0.2)
@example(5e-324)
def test_never_above_and_less_than_one_unit_below(radius: float) -> None:
    rounded = round_down(radius)
    # The second unit: `radius` may be the float nearest to a decimal, whose multiple falls short of it.
    assert radius - 2e-6 < rounded <= radius


@seeded
@given(radii, st.integers(1, 9))
def test_json_gives_back_the_same_radius_with_no_more_digits(radius: float, digits: int) -> None:
    rounded = round_down(radius, digits)
    text = json.dumps(rounded)
    assert json.loads(text) == rounded <= radius
    assert rounded == round(rounded, digits)


@seeded
@given(radii, radii)
def test_keeps_the_order(one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert round_down(small) <= round_down(large)


def test_rounding_twice_is_rounding_once() -> None:
    assert [k for k in range(1, 10_000) if round_down(k / 1e6) != k / 1e6] == []


def test_whole_digits_are_kept() -> None:
    assert round_down(0.5) == 0.5
    assert round_down(1.2345678) == 1.234567
    assert round_down(1.2345678, digits=2) == 1.23
    assert round_down(9.99e-7) == 0


def test_infinity_stays_and_what_certifies_nothing_is_zero() -> None:
    assert round_down(math.inf) == math.inf
    for radius in (math.nan, -1.0, -math.inf, 0.0, -0.0):
        assert math.copysign(1, round_down(radius)) == 1
        assert round_down(radius) == 0

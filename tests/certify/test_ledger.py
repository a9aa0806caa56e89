"""No answer spends more failure probability than it was given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify import AlphaLedger, Terms
from tests.certify.worlds import seeded


@seeded
@given(st.floats(1e-12, 0.999), st.lists(st.floats(1e-6, 1.5), max_size=20))
def test_entries_never_sum_to_more_than_alpha(alpha: float, shares: list[float]) -> None:
    ledger = AlphaLedger(alpha)
    for number, share in enumerate(shares):
        before = dict(ledger.entries)
        left = (alpha - ledger.spent) / alpha
        if share > left + 1e-9:
            with pytest.raises(ValueError, match="would spend"):
                ledger.spend(str(number), share)
            assert ledger.entries == before
        elif share < left - 1e-9:
            assert ledger.spend(str(number), share) == share * alpha == ledger.entries[str(number)]
    assert ledger.spent == sum(ledger.entries.values()) <= alpha * (1 + 1e-12)


def test_shares_that_sum_to_one_are_affordable() -> None:
    ledger = AlphaLedger(0.001)
    for part in range(10):
        ledger.spend(str(part), 0.1)  # ten times 0.1 is not 1 in floating point
    assert ledger.spent == pytest.approx(0.001)
    with pytest.raises(ValueError, match="would spend"):
        ledger.spend("one more", 1e-6)


def test_a_purpose_is_charged_once() -> None:
    ledger = AlphaLedger(0.05)
    ledger.spend("ball", 0.1)
    with pytest.raises(ValueError, match="already"):
        ledger.spend("ball", 0.1)


@pytest.mark.parametrize("share", [0.0, -0.1, float("nan"), float("inf")])
def test_a_share_is_positive_and_finite(share: float) -> None:
    ledger = AlphaLedger(0.05)
    with pytest.raises(ValueError, match="would spend"):
        ledger.spend("ball", share)
    assert ledger.entries == {}


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_alpha_lies_strictly_between_0_and_1(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must lie"):
        AlphaLedger(alpha)


@seeded
@given(st.floats(1e-9, 0.999), st.floats(0, 1, exclude_max=True), st.floats(0.01, 1))
def test_what_the_noise_takes_is_taken_from_every_share(alpha: float, part: float, share: float) -> None:
    noise = part * alpha
    ledger = AlphaLedger(alpha, noise)

    amount = ledger.spend("claim", share)

    assert amount == share * (alpha - noise)
    assert ledger.spent <= alpha * (1 + 1e-12)
    assert ledger.entries == ({"noise": noise} if noise else {}) | {"claim": amount}


@pytest.mark.parametrize("noise", [-1e-9, 0.05, 0.06, float("nan"), float("inf")])
def test_noise_that_leaves_nothing_is_refused(noise: float) -> None:
    with pytest.raises(ValueError, match="nothing is left"):
        AlphaLedger(0.05, noise)
    with pytest.raises(ValueError, match="raise alpha"):
        Terms(0.25, 0.05, noise=noise)

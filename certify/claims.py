"""One sequential test for each guarantee: what terms mean for bets, and what bets mean in pixels."""

from collections.abc import Mapping

from certify.cdf import CDF
from certify.certificate import Certificate, issued
from certify.crowd import Crowd
from certify.ledger import AlphaLedger
from certify.mean import MEAN
from certify.pairs import Pairs
from certify.points import Points
from certify.sequential import Reached, SequentialTest
from certify.terms import Guarantee, Terms

# The guarantee that was asked for gets most of α; the other is reported beside it.
SHARE_ASKED = 0.9
# ρ σ is rounded, and so is what led to ρ.
ROUNDING_SHARE = 1e-9


def sequential_test(
    claim: Guarantee,
    pairs: Pairs,
    selection: Points,
    terms: Terms,
    ledger: AlphaLedger,
    *,
    crowd: Crowd | None = None,
) -> SequentialTest:
    """The sequential test of `claim`; what it may spend is written into `ledger`."""
    share = SHARE_ASKED if claim == terms.guarantee else 1 - SHARE_ASKED
    return SequentialTest(
        pairs,
        CDF if terms.method == "cdf" else MEAN,
        selection,
        horizon=terms.horizon,
        alpha=ledger.spend(_purpose(claim), share),
        target=None
        if terms.target is None
        else (terms.target + terms.blur) / terms.sigma * (1 + ROUNDING_SHARE),
        crowd=crowd,
        comparisons=terms.comparisons,
    )


def claimed(terms: Terms, n: int, reached: Mapping[Guarantee, Reached], ledger: AlphaLedger) -> Certificate:
    """The certificate of what tests reached after `n` samples; those that were not asked spend nothing."""
    radii = {claim: terms.sigma * found.rho * (1 - ROUNDING_SHARE) for claim, found in reached.items()}
    expected = {claim: terms.sigma * found.expected for claim, found in reached.items()}
    spent = {_purpose(claim): ledger.entries[_purpose(claim)] for claim in reached}
    return issued(terms, n, radii, expected, spent)


def _purpose(claim: Guarantee) -> str:
    return f"{claim} guarantee"

"""One sequential test for each claim: what terms mean for bets, and what bets mean in pixels."""

from collections.abc import Mapping

from certify.cdf import CDF
from certify.certificate import Certificate, Radii, issued
from certify.crowd import Crowd
from certify.ledger import AlphaLedger
from certify.mean import MEAN
from certify.pairs import Pairs
from certify.points import Points
from certify.sequential import Reached, SequentialTest
from certify.terms import CLAIMS, Claim, Terms

# The claim that was asked for gets most of α; the other is reported beside it.
SHARE_ASKED = 0.9
# ρ σ is rounded, and so is what led to ρ.
ROUNDING_SHARE = 1e-9


def sequential_test(
    claim: Claim,
    pairs: Pairs,
    selection: Points,
    terms: Terms,
    ledger: AlphaLedger,
    *,
    crowd: Crowd | None = None,
) -> SequentialTest:
    """The sequential test of `claim`; what it may spend is written into `ledger`.

    The claim that was not asked for gets little of `alpha`, and little trouble. If `within_k` rivals have to
    get ahead, each may be the one that is misjudged: they share what is spent.
    """
    share = SHARE_ASKED if claim == terms.claim else 1 - SHARE_ASKED
    return SequentialTest(
        pairs,
        CDF if terms.method == "cdf" else MEAN,
        selection,
        horizon=terms.horizon,
        alpha=ledger.spend(_purpose(claim), share) / terms.within_k,
        target=None
        if terms.target is None
        else (terms.target + terms.blur) / terms.sigma * (1 + ROUNDING_SHARE),
        crowd=crowd,
        comparisons=terms.comparisons,
        lost=terms.within_k - 1,
        thorough=claim == terms.claim,
    )


def claimed(terms: Terms, n: int, reached: Mapping[Claim, Reached], ledger: AlphaLedger) -> Certificate:
    """The certificate of what tests reached after `n` samples; those that were not asked spend nothing."""
    scale = terms.sigma * (1 - ROUNDING_SHARE)
    radii = {claim: Radii(scale * found.first, scale * found.rho) for claim, found in reached.items()}
    expected = {claim: terms.sigma * found.expected for claim, found in reached.items()}
    untested = {_purpose(claim) for claim in CLAIMS if claim not in reached}
    spent = {purpose: amount for purpose, amount in ledger.entries.items() if purpose not in untested}
    return issued(terms, n, radii, expected, spent)


def _purpose(claim: Claim) -> str:
    return f"{claim} guarantee"

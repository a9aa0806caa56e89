"""One contest for each guarantee: what terms mean for bets, and what bets mean in pixels."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from certify.cdf import CDF
from certify.certificate import Certificate, issued
from certify.ledger import AlphaLedger
from certify.margins import Margins
from certify.mean import MEAN
from certify.sequential import Contest, Reached
from certify.terms import Guarantee, Terms

# The guarantee that was asked for gets most of α; the other is reported beside it.
SHARE_ASKED = 0.9
# ρ σ is rounded, and so is what led to ρ.
AIR = 1e-9


def contest(
    claim: Guarantee, margins: Margins, selection: NDArray[np.float64], terms: Terms, ledger: AlphaLedger
) -> Contest:
    """The contest that `claim` is about; what it may spend is written into `ledger`."""
    share = SHARE_ASKED if claim == terms.guarantee else 1 - SHARE_ASKED
    return Contest(
        margins,
        CDF if terms.method == "cdf" else MEAN,
        selection,
        horizon=terms.horizon,
        alpha=ledger.spend(_purpose(claim), share),
        target=None if terms.target is None else (terms.target + terms.blur) / terms.sigma * (1 + AIR),
    )


def claimed(terms: Terms, n: int, reached: Mapping[Guarantee, Reached], ledger: AlphaLedger) -> Certificate:
    """The certificate of what contests reached after `n` samples; those that were not asked spend nothing."""
    radii = {claim: terms.sigma * found.rho * (1 - AIR) for claim, found in reached.items()}
    expected = {claim: terms.sigma * found.expected for claim, found in reached.items()}
    spent = {_purpose(claim): ledger.entries[_purpose(claim)] for claim in reached}
    return issued(terms, n, radii, expected, spent)


def _purpose(claim: Guarantee) -> str:
    return f"{claim} guarantee"

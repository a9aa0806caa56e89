"""From samples and a listing to one answer's certificate: `certify`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from certify.ball import mean_ball
from certify.bisector import bisector_radius
from certify.cdf import CDF
from certify.ledger import AlphaLedger
from certify.listing import Listing
from certify.margins import Margins, pair_margins
from certify.mean import MEAN
from certify.paper import lipschitz, paper_radius
from certify.rounding import round_down
from certify.selection import best_outside_winner, best_winners
from certify.sequential import certified_rho
from certify.space import EmbeddingSpace
from certify.votes import vote_margins

Array = NDArray[np.float64]
Guarantee = Literal["label", "item"]
Method = Literal["cdf", "mean", "bisector", "paper"]
GUARANTEES: tuple[Guarantee, ...] = get_args(Guarantee)
METHODS: tuple[Method, ...] = get_args(Method)

# The guarantee that was asked for gets most of α; the other is reported beside it.
SHARE_ASKED = 0.9
# ρ σ is rounded, and so is what led to ρ.
AIR = 1e-9
# Samples that choose what to certify; the others certify it. Few are enough to see which items are near.
SELECTION = 128


@dataclass(frozen=True)
class Terms:
    """What a certificate is asked for.

    sigma      standard deviation of the noise, in pixels
    alpha      probability that the claim may be wrong
    guarantee  the claim that was asked for; it gets most of alpha
    method     the bound
    horizon    number of samples at which the radius should be best; None: those that are there
    target     the only radius that matters, in pixels; None: the largest possible
    blur       what the query may differ in l2 norm from the one that was posted, which all radii are
               reduced by
    """

    sigma: float
    alpha: float
    guarantee: Guarantee = "label"
    method: Method = "cdf"
    horizon: int | None = None
    target: float | None = None
    blur: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"sigma must be positive and finite, got {self.sigma}")
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; there is: {', '.join(METHODS)}")
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"the horizon must be at least 1 sample, got {self.horizon}")
        if not 0 <= self.blur < float("inf"):
            raise ValueError(f"blur must be finite and not negative, got {self.blur}")
        if self.target is not None and not 0 < self.target < float("inf"):
            raise ValueError(f"the target radius must be positive and finite, got {self.target}")


@dataclass(frozen=True)
class Certificate:
    """What is claimed of one answer, with probability >= 1 - alpha over the Monte Carlo samples.

    For every perturbation of the query of l2 norm < `label_radius` (`item_radius`), in pixels of the model
    input, the answer keeps its label (stays the same item). A radius of 0 claims nothing; infinity says that
    the gallery holds no rival. `reason` says why the radius of the guarantee that was asked for is 0, else it
    is None. `expected` is the radius that the samples let one expect after `horizon` of them; it claims
    nothing.
    """

    terms: Terms
    label_radius: float
    item_radius: float
    expected: float
    samples: int
    ledger: dict[str, float]
    reason: str | None

    @property
    def radius(self) -> float:
        """The radius of the guarantee that was asked for."""
        return self.label_radius if self.terms.guarantee == "label" else self.item_radius


def selection_size(samples: int) -> int:
    """How many of `samples` choose what to certify: the first 128, or half of fewer than 256."""
    return min(SELECTION, samples // 2)


def certify(
    samples: NDArray[np.floating], listings: Mapping[Guarantee, Listing], space: EmbeddingSpace, terms: Terms
) -> Certificate:
    """Certify rule `embedding`: that the item nearest to g(x) keeps its label, and stays the same item.

    samples   (n, d): h(x + σz_i), n >= 2 independent draws, in the order in which they were drawn
    listings  the contest of each guarantee, centred on the mean of the first `selection_size(n)` samples
              and chosen with these alone. A guarantee that is missing gets radius 0: the answer that is
              served is not the one that the selection chose.

    Methods `mean` and `cdf` bet on margins of pairs that the first samples chose, and may be read after
    every round of samples: for n >= 256 all certificates of one sequence of samples, with the same terms
    and a fixed horizon, hold together with probability 1 - alpha. `paper` and `bisector` bound g in a ball
    around the mean of all samples, for one n that is fixed beforehand. The label guarantee sets the best
    same-label item against each rival; as the same item is the same label, the label radius is never below
    the item radius. Raises `ValueError` on fewer than 2 samples, or a listing that is not centred on the
    selection mean.
    """
    selected = _selected(samples)
    if not space.holds(samples):
        return _void(terms, len(samples), "the model returned a value that is not finite or out of range")
    if not all(listing.finite for listing in listings.values()):
        return _void(terms, len(samples), "the gallery holds a vector that is not finite")
    exact = samples.astype(np.float64)
    centre = exact[:selected].mean(axis=0)
    if not all(np.array_equal(listing.centre, centre) for listing in listings.values()):
        raise ValueError("a listing must be centred on the mean of the selection samples")
    ledger = AlphaLedger(terms.alpha)
    if terms.method in ("paper", "bisector"):
        radii = _in_the_ball(exact, listings, space, terms, ledger)
        return _certificate(terms, len(samples), radii, radii, ledger)
    margins = {claim: chosen_margins(exact, selected, listing, space) for claim, listing in listings.items()}
    return _certificate(
        terms, len(samples), *_by_bets(margins, selected, len(samples), terms, ledger), ledger
    )


def certify_votes(
    votes: Mapping[Guarantee, NDArray[np.int64]], answers: Mapping[Guarantee, int], terms: Terms
) -> Certificate:
    """Certify rule `vote` (Cohen et al. 2019): that most noisy copies of the query vote as before.

    votes    for each guarantee the label (item) for which each of n >= 2 noisy copies votes, (n,) numbers
             >= 0, or -1 for a copy whose vote is in doubt and counts against the answer
    answers  the label (item) that is served. A guarantee gets radius 0 when the first samples chose another
             one.

    With guarantee `label` the answer is an item of the label with most votes: it stays the same while both
    keep most votes. With guarantee `item` it is the item with most votes, whatever the label with most votes
    is, and labels need no votes. The smoothed share of a label is the mean of its indicator: this is
    `certify` on vectors of indicators, with the method `cdf`.
    """
    if terms.method != "cdf":
        raise ValueError(f"rule vote has the method cdf only, got {terms.method}")
    if terms.guarantee not in votes:
        raise ValueError(f"no votes were given for the guarantee {terms.guarantee}")
    n = len(votes[terms.guarantee])
    selected = _selected(votes[terms.guarantee])
    margins = {}
    for claim, cast in votes.items():
        if terms.guarantee == "item" and claim == "label":
            continue  # the item with most votes need not be of this label
        chosen = vote_margins(cast, selected, answers[claim])
        if chosen is not None:
            margins[claim] = chosen
    ledger = AlphaLedger(terms.alpha)
    radii, expected = _by_bets(margins, selected, n, terms, ledger)
    if terms.guarantee == "label":
        radii["item"] = min(radii.get("item", 0.0), radii.get("label", 0.0))
    return _certificate(terms, n, radii, expected, ledger)


def chosen_margins(samples: Array, selected: int, listing: Listing, space: EmbeddingSpace) -> Margins:
    """The margins that have to stay positive; the first `selected` samples choose the pairs."""
    selection = samples[:selected]
    winners, rivals = listing.winners, listing.rivals
    best = best_winners(selection, winners, rivals)
    if listing.complete:
        return pair_margins(samples, winners[best], rivals, space)
    winner = winners[best_outside_winner(selection, winners, listing.centre, listing.outside)]
    return pair_margins(samples, winners[best], rivals, space, (winner, listing.centre, listing.outside))


def _selected(samples: NDArray[np.generic]) -> int:
    if len(samples) < 2:
        raise ValueError(f"a certificate needs at least 2 samples, got {len(samples)}: raise max_samples")
    return selection_size(len(samples))


def _by_bets(
    margins: Mapping[Guarantee, Margins], selected: int, n: int, terms: Terms, ledger: AlphaLedger
) -> tuple[dict[Guarantee, float], dict[Guarantee, float]]:
    """The certified and the expected radius of each guarantee, before `blur`."""
    radii: dict[Guarantee, float] = {}
    expected: dict[Guarantee, float] = {}
    for claim, chosen in margins.items():
        share = SHARE_ASKED if claim == terms.guarantee else 1 - SHARE_ASKED
        reached = certified_rho(
            chosen,
            CDF if terms.method == "cdf" else MEAN,
            selected=selected,
            horizon=terms.horizon or n,
            alpha=ledger.spend(f"{claim} guarantee", share),
            target=None if terms.target is None else (terms.target + terms.blur) / terms.sigma * (1 + AIR),
        )
        radii[claim] = terms.sigma * reached.rho * (1 - AIR)
        expected[claim] = terms.sigma * reached.expected
    return radii, expected


def _in_the_ball(
    samples: Array,
    listings: Mapping[Guarantee, Listing],
    space: EmbeddingSpace,
    terms: Terms,
    ledger: AlphaLedger,
) -> dict[Guarantee, float]:
    share = ledger.spend("ball around the mean embedding", 1)
    epsilon = mean_ball(len(samples), share, space.norm_bound) + space.slack
    slope = lipschitz(terms.sigma, space.norm_bound)
    rule = paper_radius if terms.method == "paper" else bisector_radius
    mean = samples.mean(axis=0)
    return {
        claim: rule(mean, listing, epsilon=epsilon, lipschitz=slope) for claim, listing in listings.items()
    }


def _void(terms: Terms, n: int, reason: str) -> Certificate:
    return Certificate(terms, 0.0, 0.0, 0.0, n, {}, reason)


def _certificate(
    terms: Terms,
    n: int,
    radii: Mapping[Guarantee, float],
    expected: Mapping[Guarantee, float],
    ledger: AlphaLedger,
) -> Certificate:
    item = round_down(radii.get("item", 0.0) - terms.blur)
    label = max(round_down(radii.get("label", 0.0) - terms.blur), item)
    reason = None
    if (label if terms.guarantee == "label" else item) == 0:
        reason = (
            f"a rival is too close to tell at alpha = {terms.alpha:g} from {n} samples: raise max_samples"
        )
        if terms.guarantee not in radii:
            reason = (
                f"the first {selection_size(n)} samples and all {n} disagree on the {terms.guarantee} of the"
                " answer"
            )
    outlook = max(expected.get(terms.guarantee, 0.0) - terms.blur, 0.0)
    return Certificate(terms, label, item, outlook, n, dict(ledger.entries), reason)

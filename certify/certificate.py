"""From samples and a listing to one answer's certificate: `certify`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from certify.bisector import bisector_radius
from certify.cdf import cdf_radius
from certify.intervals import mean_ball
from certify.ledger import AlphaLedger
from certify.listing import Listing
from certify.margins import Margins, outside_margin, pair_margins
from certify.mean import mean_radius
from certify.paper import lipschitz, paper_radius
from certify.rounding import round_down
from certify.selection import best_outside_winner, best_winners
from certify.space import EmbeddingSpace

Array = NDArray[np.float64]
Guarantee = Literal["label", "item"]
Method = Literal["cdf", "mean", "bisector", "paper"]
GUARANTEES: tuple[Guarantee, ...] = get_args(Guarantee)
METHODS: tuple[Method, ...] = get_args(Method)

# The guarantee that was asked for gets most of α; the other is reported beside it.
SHARE_ASKED = 0.9
# Margins computed at a time, rivals x samples: 2 MB of float64, which a core's cache holds.
BLOCK = 2**18


@dataclass(frozen=True)
class Certificate:
    """What is claimed of one answer, with probability >= 1 - alpha over the Monte Carlo samples.

    For every perturbation of the query of l2 norm < `label_radius` (`item_radius`), in pixels of the model
    input, the nearest neighbour of the smoothed embedding keeps its label (stays the same item). A radius
    of 0 claims nothing; infinity says that the gallery holds no rival. `reason` says why the radius of the
    guarantee that was asked for is 0, else it is None.
    """

    guarantee: Guarantee
    method: Method
    label_radius: float
    item_radius: float
    alpha: float
    sigma: float
    samples: int
    ledger: dict[str, float]
    reason: str | None

    @property
    def radius(self) -> float:
        """The radius of the guarantee that was asked for."""
        return self.label_radius if self.guarantee == "label" else self.item_radius


def selection_size(samples: int) -> int:
    """How many of `samples` choose what to certify; the others certify it. One twentieth, 50 to 500.

    Few are enough to see which items are near, and every certification sample counts for the radius.
    """
    return min(max(samples // 20, 50), 500, samples // 2)


def certify(
    samples: NDArray[np.float32],
    listings: Mapping[Guarantee, Listing],
    *,
    sigma: float,
    alpha: float,
    guarantee: Guarantee,
    method: Method,
    space: EmbeddingSpace,
) -> Certificate:
    """Certify that the nearest neighbour of g(x) keeps its label, and stays the same item.

    samples   (n, d): h(x + σz_i), n >= 2 independent draws, in the order in which they were drawn
    listings  the contest of each guarantee, centred on the mean of the first `selection_size(n)` samples
              and chosen with these alone. A guarantee that is missing gets radius 0: the answer that is
              served is not the one that the selection chose.

    Methods `paper` and `bisector` bound g in a ball around the mean of all samples: one event, whatever is
    chosen. `mean` and `cdf` bound the margins of pairs that the selection samples chose, on the other
    samples. The label guarantee sets the best same-label item against each rival; as the same item is the
    same label, the label radius is never below the item radius. Raises `ValueError` on fewer than 2
    samples, a σ that is not positive, or a listing that is not centred on the selection mean.
    """
    n = len(samples)
    if n < 2:
        raise ValueError(f"a certificate needs at least 2 samples, got {n}: raise max_samples")
    if not 0 < sigma < float("inf"):
        raise ValueError(f"sigma must be positive and finite, got {sigma}")
    ledger = AlphaLedger(alpha)
    radii: dict[Guarantee, float] = {"label": 0.0, "item": 0.0}
    reason = None
    if not space.holds(samples):
        reason = "the model returned a value that is not finite, or outside its stated range"
    elif not all(listing.finite for listing in listings.values()):
        reason = "the gallery holds a vector that is not finite"
    elif guarantee not in listings:
        reason = (
            f"the first {selection_size(n)} samples and all {n} disagree on the {guarantee} of the answer"
        )
    else:
        exact = samples.astype(np.float64)
        selected = selection_size(n)
        centre = exact[:selected].mean(axis=0)
        for listing in listings.values():
            if not np.array_equal(listing.centre, centre):
                raise ValueError("a listing must be centred on the mean of the selection samples")
        if method in ("paper", "bisector"):
            epsilon = mean_ball(n, ledger.spend("ball around the mean embedding", 1), space.norm_bound)
            slope = lipschitz(sigma, space.norm_bound)
            rule = paper_radius if method == "paper" else bisector_radius
            for claim, listing in listings.items():
                radii[claim] = rule(exact.mean(axis=0), listing, epsilon=epsilon, lipschitz=slope)
        else:
            bound = cdf_radius if method == "cdf" else mean_radius
            for claim, listing in listings.items():
                share = SHARE_ASKED if claim == guarantee else 1 - SHARE_ASKED
                level = ledger.spend(f"{claim} guarantee", share)
                radii[claim] = bound(chosen_margins(exact, selected, listing, space), sigma, level)
    item = round_down(radii["item"])
    label = max(round_down(radii["label"]), item)
    if (label if guarantee == "label" else item) > 0:
        reason = None
    elif reason is None:
        reason = f"a rival is too close to tell at alpha = {alpha:g} from {n} samples: raise max_samples"
    return Certificate(guarantee, method, label, item, alpha, sigma, n, dict(ledger.entries), reason)


def chosen_margins(
    samples: Array, selected: int, listing: Listing, space: EmbeddingSpace
) -> Iterator[Margins]:
    """Every margin that has to stay positive, at the certification samples; the selection chose the pairs."""
    selection, certification = samples[:selected], samples[selected:]
    winners, rivals = listing.winners, listing.rivals
    best, scores = best_winners(selection, winners, rivals)
    # The first block sets the radius; the others mostly confirm it, in one look.
    nearest_first = np.argsort(scores, kind="stable")
    rows = max(1, BLOCK // len(certification))
    for first in range(0, len(rivals), rows):
        block = nearest_first[first : first + rows]
        yield pair_margins(certification, winners[best[block]], rivals[block], space)
    if not listing.complete:
        winner = winners[best_outside_winner(selection, winners, listing.centre, listing.outside)]
        yield outside_margin(certification, winner, listing.centre, listing.outside, space)

"""Choices made on the selection samples: which same-label item is set against which rival.

Whatever is chosen here is a fixed number to the certification samples, which are independent of it.
"""

import numpy as np
from numpy.typing import NDArray

from certify.listing import Listing
from certify.margins import Margins, pair_margins
from certify.space import EmbeddingSpace

Array = NDArray[np.float64]

# Samples that choose what to certify; the others certify it. Few are enough to see which items are near.
SELECTION = 128


def selection_size(samples: int) -> int:
    """How many of `samples` choose what to certify: the first 128, however many follow.

    If it depended on the number of samples, each number would be another claim: whoever asked with several,
    and kept the largest radius, would have picked among several tests.
    """
    return min(SELECTION, samples)


def chosen_margins(selection: Array, listing: Listing, space: EmbeddingSpace) -> Margins:
    """The margins that have to stay positive; the samples `selection` (n, d) choose the pairs."""
    winners, rivals = listing.winners, listing.rivals
    best = best_winners(selection, winners, rivals)
    if listing.complete:
        return pair_margins(winners[best], rivals, space)
    winner = winners[best_outside_winner(selection, winners, listing.centre, listing.outside)]
    return pair_margins(winners[best], rivals, space, (winner, listing.centre, listing.outside))


def best_winners(samples: Array, candidates: Array, rivals: Array) -> NDArray[np.int64]:
    """For each rival (K, d) the candidate (A, d) that should stay ahead of it longest: row numbers (K,).

    The score is mean over standard deviation of the margin at `samples` (n, d). For a Gaussian margin the
    cdf bound moves every quantile by (R/σ) standard deviations, so that the radius is σ times this score.
    It needs no proof: any choice gives a valid certificate.
    """
    ahead = samples @ candidates.T - np.einsum("ad,ad->a", candidates, candidates) / 2
    behind = samples @ rivals.T - np.einsum("kd,kd->k", rivals, rivals) / 2
    means = ahead.mean(axis=0)[:, None] - behind.mean(axis=0)
    ahead -= ahead.mean(axis=0)
    behind -= behind.mean(axis=0)
    variances = (
        (ahead**2).mean(axis=0)[:, None] + (behind**2).mean(axis=0) - 2 * ahead.T @ behind / len(samples)
    )
    scores: Array = means / np.sqrt(np.maximum(variances, 0.0) + 1e-12)
    best: NDArray[np.int64] = scores.argmax(axis=0)
    return best


def best_outside_winner(samples: Array, candidates: Array, centre: Array, outside: float) -> int:
    """The candidate (A, d) with the best mean over standard deviation of `margins.Unlisted`."""
    spread = np.linalg.norm(samples - centre, axis=1)
    gaps = ((samples[None, :, :] - candidates[:, None, :]) ** 2).sum(axis=2)
    margins = np.maximum(outside - spread, 0.0)[None, :] ** 2 - gaps
    return int(np.argmax(margins.mean(axis=1) / (margins.std(axis=1) + 1e-6)))

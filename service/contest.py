"""Who is nearest and who are the rivals: where samples meet the gallery."""

import numpy as np
from numpy.typing import NDArray

from certify import GUARANTEES, Guarantee, Listing, selection_size
from index import Neighbors, Snapshot
from service.options import RetrieveOptions

# Same-label items that may stand against a rival: the nearest ones; more cost time and change nothing.
WINNERS = 16
# Rivals listed for the guarantee that was not asked for; the others are bounded together.
RIVALS_OTHER = 64


def contest(
    snapshot: Snapshot, samples: NDArray[np.float32], options: RetrieveOptions, max_rivals: int
) -> tuple[Neighbors, dict[Guarantee, Listing]]:
    """The `top_k` items nearest to the mean of all `samples` (n, d), and the contest of each guarantee.

    Contests are chosen with the selection samples alone, with `max_rivals` rivals listed for the guarantee
    that `options` ask for. One is left out when the item (its label) that the selection samples chose is not
    the one that is served.
    """
    exact = samples.astype(np.float64)
    neighbors = snapshot.nearest(exact.mean(axis=0), options.top_k)
    centre = exact[: selection_size(len(exact))].mean(axis=0)
    listed = dict.fromkeys(GUARANTEES, RIVALS_OTHER) | {options.guarantee: max_rivals}
    around = snapshot.nearest(centre, 1 + listed["item"])
    chosen, others = around.rows[:1], around.rows[1:]
    label = int(snapshot.labels[chosen[0]])
    listings: dict[Guarantee, Listing] = {}
    if snapshot.labels[neighbors.rows[0]] == label:
        winners = snapshot.nearest_of_label(centre, WINNERS, label).rows
        rivals = snapshot.nearest_rivals(centre, listed["label"], label)
        listings["label"] = Listing(
            snapshot.exact(winners), snapshot.exact(rivals.rows), centre, rivals.outside
        )
    if neighbors.rows[0] == chosen[0]:
        listings["item"] = Listing(snapshot.exact(chosen), snapshot.exact(others), centre, around.outside)
    return neighbors, listings

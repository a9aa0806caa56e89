"""The smallest change of a query that lets a rival win: the shortest way to where its margin is 0.

Each step goes to the point, inside [0, 1], that is nearest to the query among those where the margin would be
0 were it linear (as DeepFool does, Moosavi-Dezfooli et al. 2016). What is found is smallest in its
neighbourhood; nobody knows whether there is a smaller one far from there.
"""

import numpy as np
from numpy.typing import NDArray

from models import SmoothedMargin

Array = NDArray[np.float64]

# Steps at most; after the first ones each goes this share of its way, as margins are not linear.
STEPS, WHOLE, SHARE = 10, 5, 0.7
# The longest step: `first`, and later this share of the way so far.
LONGEST = 0.35
# A margin that is 0, and the share of the length at which a step is none.
ZERO, NONE = 1e-3, 0.004
# A search is given up at so many times the length that is to be beaten.
HOPELESS = 1.6
HALVINGS = 40


def smallest_change(
    margin: SmoothedMargin,
    image: NDArray[np.float32],
    first: float,
    most: float,
    draws: int,
    start: Array | None = None,
) -> Array | None:
    """The smallest change found of `image` (C, H, W) at which `margin` is 0; None without one below `most`.

    The first step, from the image or where `start` leads, has the length `first` (l2) at most; margins are
    over so many `draws` of noise, the same at each step.
    """
    low, high = -image.astype(np.float64), 1 - image.astype(np.float64)
    change, best = np.zeros_like(low) if start is None else start, None
    for step in range(STEPS):
        value, slopes = margin.tangent(image + change.astype(np.float32), draws)
        gradient, length = slopes.astype(np.float64), float(np.linalg.norm(change))
        steepness = float(np.linalg.norm(gradient))
        near = NONE * steepness * length
        if value >= -max(ZERO, near) and length < most:
            most, best = length, change
        if length > HOPELESS * most or steepness == 0 or abs(value) < near:
            break
        aim = _shortest(gradient, float(np.vdot(gradient, change)) - value, low, high)
        if aim is None:  # so flat here that no point would do: uphill
            aim = (change + gradient * (2 * max(first, length) / steepness)).clip(low, high)
        way = aim - change
        longest = max(first, LONGEST * length)
        way *= min(1.0, longest / max(float(np.linalg.norm(way)), 1e-12))
        change = change + way * (1.0 if step < WHOLE else SHARE)
    return best


def _shortest(gradient: Array, gain: float, low: Array, high: Array) -> Array | None:
    """The shortest change between `low` and `high` whose product with `gradient` is at least `gain`.

    That is a multiple of the gradient, cut. None if there is no such change.
    """
    if float(np.vdot(gradient, np.where(gradient > 0, high, low))) < gain:
        return None
    small, large = 0.0, 1.0
    while np.vdot(gradient, (large * gradient).clip(low, high)) < gain:
        large *= 2
        if large > 1e9:  # only what is cut last is missing
            return None
    for _ in range(HALVINGS):
        middle = (small + large) / 2
        if np.vdot(gradient, (middle * gradient).clip(low, high)) < gain:
            small = middle
        else:
            large = middle
    return (large * gradient).clip(low, high)

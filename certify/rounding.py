"""Radii are rounded down, always: a radius that is too large by one unit is a wrong certificate."""

import math

DIGITS = 6


def round_down(radius: float, digits: int = DIGITS) -> float:
    """The largest decimal with `digits` digits that is at most `radius`, as a float that is too.

    The float nearest to that decimal can lie above `radius` by one unit in the last place, so the result is
    compared, not trusted. JSON prints the shortest decimal that reads back as the same float: nothing is
    lost on the wire. Infinity stays infinity; NaN and negative radii become 0, which certifies nothing.
    """
    if math.isinf(radius) and radius > 0:
        return radius
    if not radius > 0:
        return 0.0
    scale = float(10**digits)
    units = math.floor(radius * scale)
    if (units + 1) / scale <= radius:  # the product can fall short of a whole number
        units += 1
    while units > 0 and units / scale > radius:
        units -= 1
    return units / scale

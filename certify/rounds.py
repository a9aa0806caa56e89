"""Rounds: how many samples to draw before looking again, and when to stop looking.

Certificates by `cdf` and `mean` hold at every look (`certify.sequential`), so both are free choices.
"""

import math
from collections.abc import Iterator

from certify.certificate import Certificate
from certify.selection import SELECTION

# A round adds this share to the samples, in steps of STEP: few looks at many samples, early looks at few.
STEP, QUARTER, DOUBLING = 128, 1.25, 2.0
# A target is given up when the radius to be expected falls below this share of it.
HOPELESS = 0.9
# Samples that are looked at before giving up a target; and before saying that more would not help.
HOPELESS_AFTER, DECISIVE = 512, 1024
# An expected radius below this share of σ is none.
FAINT = 0.05
# Bets for a target are made to win within so many samples: most that can be decided at all are by then.
TARGET_HORIZON = 1000
# With at most FEW samples there is one horizon, whatever their number. Bets planned for it win about what
# bets for just n samples would from n = 384 to 640, and most of that at 256 and at 1000.
FEW, FEW_HORIZON = 1000, 384


def horizon_for(most: int, target: float | None) -> int | None:
    """The horizon of bets on at most `most` samples, for `certify.Terms`.

    All `most` up to FEW are readings of one test, and so are all above: whoever asks with many and keeps the
    largest radius has picked among two claims, not among many.
    """
    if most <= FEW:
        return FEW_HORIZON
    return None if target is None else TARGET_HORIZON


def noise_samples(most: int) -> int:
    """How many samples' noise an answer to `most` pays for: all that are readings of one test, up to FEW.

    If each paid for its own, who reads all would have had the noise of the largest for the price of the
    smallest. Above FEW each does: that is how much more they may cost together.
    """
    return max(most, FEW)


def rounds(most: int, growth: float = QUARTER) -> Iterator[int]:
    """Numbers of samples, rising to `most`: the first round is as large as all later ones can go on from."""
    n = 2 * SELECTION
    while n < most:
        yield n
        n = -(-int(n * growth) // STEP) * STEP
    yield most


def settled(certificate: Certificate, before: float = 0.0, min_gain: float = 0.0) -> bool:
    """Whether more samples would change the answer too little to be worth drawing. Claims nothing.

    before    the radius that was certified from half as many samples
    min_gain  0 draws all; else the share by which twice the samples should raise the radius

    With a target radius: it is certified, or does not look within reach of any number of samples. Without:
    every doubling adds about half of what the one before added; a radius of 0 that is not expected to grow
    will not.
    """
    radius, expected, n = certificate.radius, certificate.expected, certificate.samples
    target = certificate.terms.target
    if target is not None:
        return radius >= target or (n >= HOPELESS_AFTER and expected < HOPELESS * target)
    if min_gain == 0 or n < DECISIVE:
        return False
    if radius == 0:
        return expected <= FAINT * certificate.terms.sigma
    return math.isinf(radius) or (n >= 2 * DECISIVE and radius - before <= 2 * min_gain * radius)

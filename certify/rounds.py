"""Rounds: how many samples to draw before looking again, and when to stop looking.

Certificates by `cdf` and `mean` hold at every look (`certify.sequential`), so both are free choices.
"""

from collections.abc import Iterator

from certify.certificate import Certificate
from certify.selection import SELECTION

# A round adds a quarter to the samples, in steps of this: few looks at many samples, early looks at few.
STEP, GROWTH = 128, 1.25
# A target is given up when the radius to be expected falls below this share of it.
HOPELESS = 0.9
# Bets for a target are made to win within so many samples: most that can be decided at all are by then.
TARGET_HORIZON = 1000


def rounds(most: int) -> Iterator[int]:
    """Numbers of samples, rising to `most`: the first round is as large as all later ones can go on from."""
    n = 2 * SELECTION
    while n < most:
        yield n
        n = -(-int(n * GROWTH) // STEP) * STEP
    yield most


def settled(certificate: Certificate) -> bool:
    """Whether the target radius is certified, or does not look within reach of any number of samples.

    Giving up claims nothing. 512 samples are looked at before.
    """
    target = certificate.terms.target
    if target is None:
        return False
    if certificate.radius >= target:
        return True
    return certificate.samples >= 4 * SELECTION and certificate.expected < HOPELESS * target

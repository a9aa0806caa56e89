"""What a rival stakes by its cluster or its group is paid for: with a share of α, no test claims more.

All samples are one point, and each cluster and each group is one rival, so that nothing is lost by bounding
it: what can be claimed at all is known in closed form.
"""

import numpy as np
from numpy.typing import NDArray

from certify import EmbeddingSpace, Vectors
from certify.cdf import CDF
from certify.crowd import GROUPED, TOGETHER, Crowd
from certify.pairs import pairs
from certify.points import Points
from certify.sequential import OWN, SequentialTest
from tests.certify.laws import most_claimed

Array = NDArray[np.float64]
POINT = np.array([0.8, 0.0])
WINNER, RIVAL = np.array([[0.9, 0.0]], np.float32), np.array([[-0.5, 0.0]], np.float32)
ALPHA, SELECTED, BET_ON = 0.01, 128, 872


def claimed(comparisons: int) -> float:
    """What is certified over two rivals in the same place, of which one is by itself and one in the crowd."""
    samples, each = np.tile(POINT, (SELECTED + BET_ON, 1)), np.arange(2)
    vectors = Vectors(RIVAL, each, RIVAL, np.zeros(1), each)
    crowd = Crowd.of(vectors, np.ones(1, np.bool_), WINNER, samples[:SELECTED], POINT, EmbeddingSpace())
    single = pairs(WINNER, RIVAL, np.zeros(1, np.int64), EmbeddingSpace())
    test = SequentialTest(
        single, CDF, Points.of(samples[:SELECTED], POINT),
        horizon=len(samples), alpha=ALPHA, crowd=crowd, comparisons=comparisons,
    )  # fmt: skip
    return test.reached(Points.of(samples, POINT)).rho


def most(share: float) -> float:
    """What a test of level α times `share` can claim of the rival."""
    ends: Array = np.array([POINT[0], -1.0])
    value, lower = ((ends - RIVAL[0, 0]) ** 2 - (ends - WINNER[0, 0]) ** 2) / 2
    return most_claimed(float(value), float(lower), BET_ON, ALPHA * share)


def test_a_cluster_that_stays_closed_claims_no_more_than_its_share_can() -> None:
    """Its group has a smaller share, by which it has not passed either."""
    assert GROUPED < TOGETHER
    assert 0.95 * most(TOGETHER) < claimed(comparisons=0) <= most(TOGETHER)


def test_once_opened_a_rival_claims_no_more_than_the_rest_of_its_wealth_can() -> None:
    assert most(TOGETHER) < claimed(comparisons=10**6) <= most(1 - OWN - TOGETHER - GROUPED)

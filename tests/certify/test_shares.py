"""What a rival stakes by its cluster, by its group or by itself is paid for: no test claims more of a share.

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
WINNER, RIVAL, FAR = (np.array([[place, 0.0]], np.float32) for place in (0.9, -0.5, -0.95))
ALPHA, SELECTED, BET_ON = 0.01, 128, 872


def claimed(leader: NDArray[np.float32], comparisons: int) -> float:
    """What is certified over `leader` (1, 2), a rival by itself, and RIVAL, which is in the crowd."""
    samples, each = np.tile(POINT, (SELECTED + BET_ON, 1)), np.arange(2)
    vectors = Vectors(RIVAL, each, RIVAL, np.zeros(1), each)
    crowd = Crowd.of(vectors, np.ones(1, np.bool_), WINNER, samples[:SELECTED], POINT, EmbeddingSpace())
    single = pairs(WINNER, leader, np.zeros(1, np.int64), EmbeddingSpace())
    test = SequentialTest(
        single, CDF, Points.of(samples[:SELECTED], POINT),
        horizon=len(samples), alpha=ALPHA, crowd=crowd, comparisons=comparisons,
    )  # fmt: skip
    return test.reached(Points.of(samples, POINT)).rho


def most(share: float) -> float:
    """What a test of level α times `share` can claim of RIVAL."""
    ends: Array = np.array([POINT[0], -1.0])
    value, lower = ((ends - RIVAL[0, 0]) ** 2 - (ends - WINNER[0, 0]) ** 2) / 2
    return most_claimed(float(value), float(lower), BET_ON, ALPHA * share)


def test_a_cluster_that_stays_closed_claims_no_more_than_its_share_can() -> None:
    """Its group has a smaller share, by which it has not passed either."""
    assert GROUPED < TOGETHER
    assert 0.95 * most(TOGETHER) < claimed(RIVAL, comparisons=0) <= most(TOGETHER)


def test_an_opened_rival_claims_by_the_plan_of_another_no_more_than_the_rest_of_its_wealth_can() -> None:
    assert most(TOGETHER) < claimed(RIVAL, comparisons=10**6) <= most(1 - OWN - TOGETHER - GROUPED)


def test_an_opened_rival_claims_by_plans_of_its_own_no_more_than_their_share_can() -> None:
    """The leader, which is far, has made no plan that suits it."""
    assert most(TOGETHER) < most(OWN) < most(1 - OWN - TOGETHER - GROUPED)
    assert 0.95 * most(OWN) < claimed(FAR, comparisons=10**6) <= most(OWN)

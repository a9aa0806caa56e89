"""How far rivals are from getting ahead: against margins one by one, and where the truth is known."""

import numpy as np
import pytest

from service.retrieval.reach import READ, reach


def test_it_is_the_mean_of_the_margin_over_its_deviation_with_the_best_winner() -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((300, 7)) @ rng.standard_normal((7, 7))
    winners, rivals = rng.standard_normal((4, 7)), 2 * rng.standard_normal((9, 7))
    expected = []
    for rival in rivals:
        gaps = [((samples - rival) ** 2 - (samples - winner) ** 2).sum(axis=1) / 2 for winner in winners]
        expected.append(max(gap.mean() / gap.std() for gap in gaps))
    np.testing.assert_allclose(reach(samples, winners, rivals), expected, rtol=1e-9)


def test_of_a_linear_model_it_is_the_length_of_the_smallest_change() -> None:
    rng = np.random.default_rng(1)
    sigma, at, slope = 0.25, rng.standard_normal(5), rng.standard_normal((3, 5))
    winner, rivals = slope @ at, slope @ at + rng.standard_normal((6, 3))
    samples = (at + sigma * rng.standard_normal((READ, 5))) @ slope.T
    normals = rivals - winner
    lengths = (normals**2).sum(axis=1) / 2 / np.linalg.norm(normals @ slope, axis=1)
    np.testing.assert_allclose(sigma * reach(samples, winner[None], rivals), lengths, rtol=0.15)


def test_the_nearest_may_be_the_last() -> None:
    """Embeddings move along one axis only: the nearer of two rivals, across it, is never reached."""
    samples = np.random.default_rng(2).standard_normal((500, 2)) * [1.0, 0.01]
    across, along = [0.0, 2.0], [3.0, 0.0]
    found = reach(samples, np.zeros((1, 2)), np.array([across, along]))
    assert found[1] < 2 < 50 < found[0]


@pytest.mark.parametrize("n", [1, 50])
def test_samples_that_are_all_the_same_reach_nobody(n: int) -> None:
    found = reach(np.zeros((n, 2)), np.zeros((1, 2)), np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert found[0] > 1e3
    assert found[1] == 0

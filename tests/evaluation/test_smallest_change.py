"""The smallest change: where margins are linear it is known."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from evaluation.smallest_change import smallest_change
from models import SmoothedMargin
from models.networks.embedding import EmbeddingNetwork

SHAPE = (1, 2, 3)


class Linear(EmbeddingNetwork):
    """Embeddings are linear in the pixels."""

    nonnegative = False

    def __init__(self, weights: NDArray[np.float32]) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.from_numpy(weights))

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1) @ self.weights.T

    @staticmethod
    def normalised(scores: torch.Tensor) -> torch.Tensor:
        return scores

    @staticmethod
    def finished(scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return scores


@pytest.fixture
def case(request: pytest.FixtureRequest) -> tuple[SmoothedMargin, NDArray[np.float32]]:
    rng = np.random.default_rng(request.param)
    image = rng.uniform(0.05, 0.95, SHAPE).astype(np.float32)
    weights = rng.standard_normal((4, 6)).astype(np.float32)
    here = weights @ image.ravel()
    rival = here + 1.5 * weights @ rng.uniform(-0.4, 0.4, 6).astype(np.float32)
    margin = SmoothedMargin(Linear(weights), 1e-4, here[None], rival[None], seed=0)
    return margin, image


@pytest.mark.parametrize("case", range(8), indirect=True)
def test_it_is_that_of_a_solver_for_a_linear_margin(
    case: tuple[SmoothedMargin, NDArray[np.float32]],
) -> None:
    margin, image = case
    value, slopes = margin.tangent(image, 2)
    flat, gradient = image.ravel().astype(np.float64), slopes.ravel().astype(np.float64)
    solved = minimize(
        lambda change: (change**2).sum(), np.zeros(6), method="SLSQP",
        bounds=list(zip(-flat, 1 - flat, strict=True)),
        constraints={"type": "ineq", "fun": lambda change: value + gradient @ change},
    )  # fmt: skip
    found = smallest_change(margin, image, 0.5, 10.0, 2)
    if not solved.success:
        assert found is None
        return
    assert found is not None
    assert np.linalg.norm(found) == pytest.approx(np.sqrt(solved.fun), rel=0.01)
    assert ((image + found >= -1e-6) & (image + found <= 1 + 1e-6)).all()
    assert margin.tangent(image + found.astype(np.float32), 2)[0] >= -0.01 * abs(value)
    assert smallest_change(margin, image, 0.5, 0.9 * float(np.linalg.norm(found)), 2) is None

"""No certificate claims more than is true, except with probability alpha: the whole path through `certify`.

Beside each statement stands a control, the same code with the confidence correction taken out, that fails it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from certify import GUARANTEES, METHODS, EmbeddingSpace, Guarantee, Method, selection_size
from tests.certify.worlds import World, arc, simulate, splits, steps

ALPHA = 0.05
SIGMA = 0.5
BALL = EmbeddingSpace(norm_bound=1.0)
ORTHANT = EmbeddingSpace(nonnegative=True, norm_bound=1.0)


def half_space(name: str, deviations: float) -> World:
    """h takes one value where u[0] <= 0, another elsewhere, with x[0] = `deviations` times σ.

    Half-spaces are the worst case of the Neyman-Pearson lemma: a bound that is too large anywhere has
    nowhere to hide. In `line` and `orthant` the values are the ends of the margin's range as well.
    """
    values, gallery, space = {
        "line": ([[-1, 0], [1, 0]], [[1, 0], [-1, 0]], BALL),
        "line, unlisted": ([[-1, 0], [1, 0]], [[1, 0], [-1, 0]], BALL),
        "plane": ([[-0.75, 0.25], [0.875, 0]], [[0.8, 0.1], [-0.6, 0.2], [0.1, 0.9], [0.2, -0.9]], BALL),
        "orthant": ([[0, 1], [1, 0]], [[0.8, 0.1], [0.1, 0.8], [0.3, 0.0]], ORTHANT),
    }[name]
    embed, smoothed = steps([0.0], np.array(values, dtype=np.float64), SIGMA)
    labels = np.array([0, 1, 2, 0]) if name == "plane" else np.array([0, 1, 0])[: len(gallery)]
    items, listed = np.array(gallery, dtype=np.float64), 0 if "unlisted" in name else 100
    return World(embed, smoothed, deviations * SIGMA, SIGMA, items, labels, space, listed)


def clusters(space: EmbeddingSpace, listed: int) -> World:
    """Five values on slabs of u[0] and 33 gallery items of four labels.

    Several items share the answer's label, so that which of them should face a rival depends on the rival.
    """
    rng = np.random.default_rng(5)
    values = np.array(
        [
            [-0.25, 0.25, 0.875],
            [-0.125, 0.875, 0.25],
            [0.9375, 0.25, 0],
            [0.9375, -0.25, 0.125],
            [0.125, 0, 0.875],
        ]
    )
    around, labels = np.array([0, 1, 4] * 10), np.array([0, 1, 2, 2, 3])
    gallery = values[around] + 0.1 * rng.standard_normal((30, 3))
    gallery = np.concatenate([gallery, [[0.8, 0.05, 0.1], [0.55, 0.75, 0], [0.6, -0.3, 0.65]]])
    if space.nonnegative:
        values, gallery = np.abs(values), np.abs(gallery)
    gallery /= np.maximum(np.linalg.norm(gallery, axis=1), 1)[:, None]
    embed, smoothed = steps([-1.2, -0.5, 0.1, 1.3], values, SIGMA)
    return World(embed, smoothed, 0.1, SIGMA, gallery, np.append(labels[around], [2, 2, 2]), space, listed)


def on_the_arc() -> World:
    """A continuous h, with rivals to both sides."""
    angles = np.array([0.3, 0.75, -0.5, -1.2, 1.5])
    gallery = 0.9 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array([0, 0, 1, 1, 2])
    return World(*arc(1.2, 1.5, SIGMA), 0.3, SIGMA, gallery, labels, EmbeddingSpace())


SIMULATED: dict[str, Callable[[], World]] = {
    "half-space": lambda: half_space("line", 0.5),
    "arc": on_the_arc,
    "clusters": lambda: clusters(BALL, 100),
    "clusters in the orthant, most rivals unlisted": lambda: clusters(ORTHANT, 12),
}


def no_confidence_correction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what the samples show for the truth: frequencies, means and the mean embedding as they are."""

    def frequency(ranks: NDArray[np.int64], trials: int, _alpha: float) -> Any:
        return (trials - ranks + 1) / trials

    monkeypatch.setattr("certify.cdf.order_statistic_tail", frequency)
    monkeypatch.setattr("certify.mean.empirical_bernstein_lower", lambda values, *_: values.mean(axis=1))
    monkeypatch.setattr("certify.certificate.mean_ball", lambda *_: 0.0)


def violation_probability(world: World, guarantee: Guarantee, method: Method, n: int) -> tuple[float, float]:
    """For a half-space, exact to 1e-4: the chances of a false claim and of a positive radius.

    Only the number of samples on either side counts, in the selection and in the rest: all splits are
    certified, none is drawn.
    """
    first, second = world.embed(np.array([-1.0, 1.0])).astype(np.float32)
    false = positive = 0.0
    for i, j, probability in splits(n, float(ndtr(-world.position / world.sigma))):
        counts = [i, selection_size(n) - i, j, n - selection_size(n) - j]
        samples = np.repeat(np.stack([first, second, first, second]), counts, axis=0)
        certificate = world.certify(samples, guarantee, method, ALPHA)
        false += probability * world.violated(samples, certificate)
        positive += probability * (certificate.radius > 0)
    return false, positive


HALF_SPACES: list[tuple[str, float, Method]] = [
    # The ball around the mean is wide for few samples: near the border it still leaves a radius.
    *[(name, 0.6, method) for name in ("line", "plane") for method in ("paper", "bisector")],
    *[("orthant", 0.9, method) for method in ("paper", "bisector")],
    *[
        (name, d, method)
        for name in ("line", "plane", "orthant")
        for d in (1.3, 2.0)
        for method in ("mean", "cdf")
    ],
    # Often none of 350 certification samples falls on the other side: the range has to stand in for it.
    *[("line", 2.8, method) for method in ("mean", "cdf")],
    # The rival is known by its distance alone.
    *[("line, unlisted", 2.0, method) for method in METHODS],
]


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize(("name", "deviations", "method"), HALF_SPACES)
def test_half_space_violates_with_probability_at_most_alpha(
    name: str, deviations: float, method: Method, guarantee: Guarantee
) -> None:
    false, positive = violation_probability(half_space(name, deviations), guarantee, method, 400)
    assert false <= ALPHA
    assert positive > 0.1


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize(
    ("deviations", "method"), [(0.2, "paper"), (0.2, "bisector"), (2.0, "mean"), (2.0, "cdf")]
)
def test_half_space_catches_a_missing_confidence_correction(
    deviations: float, method: Method, guarantee: Guarantee, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_confidence_correction(monkeypatch)
    false, _ = violation_probability(half_space("line", deviations), guarantee, method, 400)
    assert false > 4 * ALPHA


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SIMULATED)
def test_simulation_does_not_refute_alpha(name: str, method: Method, guarantee: Guarantee) -> None:
    outcome = simulate(SIMULATED[name](), guarantee, method, alpha=ALPHA, n=600, repetitions=2000)
    assert not outcome.refutes(ALPHA)
    assert outcome.positive > 0


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize(
    ("name", "method"),
    [("half-space", "paper"), ("half-space", "bisector"), ("half-space", "mean"), ("arc", "cdf")],
)
def test_simulation_catches_a_missing_confidence_correction(
    name: str, method: Method, guarantee: Guarantee, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_confidence_correction(monkeypatch)
    outcome = simulate(SIMULATED[name](), guarantee, method, alpha=ALPHA, n=600, repetitions=400)
    assert outcome.refutes(ALPHA)


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("method", METHODS)
def test_an_embedding_that_ignores_its_input_gets_a_positive_radius(
    method: Method, guarantee: Guarantee
) -> None:
    embed, smoothed = steps([], np.array([[0.5, 0.5]]), SIGMA)
    gallery = np.array([[0.5, 0.25], [-0.5, -0.5], [-0.75, 0.0]])
    world = World(embed, smoothed, 0.0, SIGMA, gallery, np.array([0, 1, 1]), BALL)
    assert world.true_radius(guarantee, 0) == np.inf
    samples = world.draw(np.random.default_rng(0), 600)
    assert 0.1 * SIGMA < world.certify(samples, guarantee, method, ALPHA).radius < np.inf


def test_true_radius_of_a_half_space_is_the_quantile_of_the_crossing() -> None:
    """g = (2w - 1) e1 with w = Φ(x[0]/σ), and the bisector of (1, 0) and (-0.6, 0) is crossed at 0.2."""
    embed, smoothed = steps([0.0], np.array([[-1.0, 0.0], [1.0, 0.0]]), SIGMA)
    world = World(embed, smoothed, 0.7, SIGMA, np.array([[1.0, 0.0], [-0.6, 0.0]]), np.array([0, 1]))
    assert world.true_radius("item", 0) == pytest.approx(0.7 - SIGMA * ndtri(0.6), abs=1e-12)
    assert world.true_radius("label", 1) == 0


@pytest.mark.parametrize("name", SIMULATED)
def test_smoothed_is_the_expectation_of_the_samples(name: str) -> None:
    world = SIMULATED[name]()
    mean = world.draw(np.random.default_rng(0), 400_000).astype(np.float64).mean(axis=0)
    # Five standard deviations of a mean of 400,000 numbers in [-1, 1].
    np.testing.assert_allclose(mean, world.smoothed(np.array([world.position]))[0], atol=5 / np.sqrt(400_000))

"""Worlds in which the smoothed embedding, and so the true robust radius, is known in closed form.

h(u) depends on u[0] alone. Then g(x + δ) depends on δ[0] alone, and as |δ[0]| <= ||δ|| whatever a
perturbation can do, one along the first axis does with the smallest norm: the true radius is the distance
from x[0] to the nearest point of that axis where the answer changes, to either side.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from hypothesis import settings
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import binom, binomtest

from certify import Certificate, EmbeddingSpace, Guarantee, Listing, Method, Terms, certify, selection_size

Array = NDArray[np.float64]

# The same examples in every run: a failure of a statistical statement should not depend on the day.
seeded = settings(deadline=None, derandomize=True, database=None, max_examples=50)
briefly = settings(seeded, max_examples=15)


@dataclass(frozen=True)
class World:
    """One query, `position` away from the origin of the first axis, and a gallery (N, d) with labels (N,).

    embed     h at first coordinates (n,): (n, d)
    smoothed  g at first coordinates (s,): (s, d)
    listed    how many rivals a listing holds; the others are only known to be farther
    """

    embed: Callable[[Array], Array]
    smoothed: Callable[[Array], Array]
    position: float
    sigma: float
    gallery: Array
    labels: NDArray[np.int64]
    space: EmbeddingSpace = field(default_factory=lambda: EmbeddingSpace(norm_bound=1.0))
    listed: int = 100
    truths: dict[tuple[Guarantee, int], float] = field(default_factory=dict)

    def draw(self, rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        return self.embed(self.position + self.sigma * rng.standard_normal(n)).astype(np.float32)

    def nearest(self, points: Array) -> NDArray[np.int64]:
        scores = points @ self.gallery.T - np.einsum("nd,nd->n", self.gallery, self.gallery) / 2
        return scores.argmax(axis=-1)

    def listings(self, samples: NDArray[np.float32]) -> dict[Guarantee, Listing]:
        """As the service builds them: on the selection mean, and only if the served answer agrees with it."""
        exact = samples.astype(np.float64)
        centre = exact[: selection_size(len(samples))].mean(axis=0)
        distances = np.linalg.norm(self.gallery - centre, axis=1)
        order = np.argsort(distances, kind="stable")
        chosen, served = order[0], self.nearest(exact.mean(axis=0))
        same = self.labels[order] == self.labels[chosen]
        found: dict[Guarantee, Listing] = {}
        if self.labels[served] == self.labels[chosen]:
            found["label"] = self._listing(order[same][:16], order[~same], distances, centre)
        if served == chosen:
            found["item"] = self._listing(order[:1], order[1:], distances, centre)
        return found

    def _listing(
        self, winners: NDArray[np.int64], rivals: NDArray[np.int64], distances: Array, centre: Array
    ) -> Listing:
        near, far = rivals[: self.listed], rivals[self.listed :]
        outside = float(distances[far[0]]) if len(far) else np.inf
        return Listing(self.gallery[winners], self.gallery[near], centre, outside)

    def true_radius(self, guarantee: Guarantee, item: int) -> float:
        """How far the nearest neighbour of g stays `item` (keeps its label); 0 if it is not that at x."""
        key = (guarantee, int(self.labels[item]) if guarantee == "label" else item)
        if key not in self.truths:

            def kept(distances: Array, side: float) -> NDArray[np.bool_]:
                nearest = self.nearest(self.smoothed(self.position + side * distances))
                return nearest == item if guarantee == "item" else self.labels[nearest] == key[1]

            self.truths[key] = min(first_failure(lambda r, s=s: kept(r, s), 16 * self.sigma) for s in (-1, 1))
        return self.truths[key]

    def certify(
        self,
        samples: NDArray[np.float32],
        guarantee: Guarantee,
        method: Method,
        alpha: float,
        horizon: int | None = None,
        target: float | None = None,
    ) -> Certificate:
        terms = Terms(self.sigma, alpha, guarantee, method, horizon, target)
        return certify(samples, self.listings(samples), self.space, terms)

    def violated(self, samples: NDArray[np.float32], certificate: Certificate) -> bool:
        """Whether any claim of the certificate is false, be it of the guarantee asked for or of the other."""
        chosen = int(self.nearest(samples[: selection_size(len(samples))].astype(np.float64).mean(axis=0)))
        return certificate.label_radius > self.true_radius(
            "label", chosen
        ) or certificate.item_radius > self.true_radius("item", chosen)


def first_failure(kept: Callable[[Array], NDArray[np.bool_]], high: float) -> float:
    """The smallest distance in [0, high] at which `kept` is false; infinity if there is none."""
    grid = np.linspace(0.0, high, 4001)
    failing = np.flatnonzero(~kept(grid))
    if not len(failing):
        return float("inf")
    if failing[0] == 0:
        return 0.0
    low, high = grid[failing[0] - 1], grid[failing[0]]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(np.array([middle]))[0] else (low, middle)
    return float(high)


def steps(
    edges: list[float], values: Array, sigma: float
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """h equal to values[j] between edges[j-1] and edges[j], and its g: normal probabilities as weights."""

    def embed(first: Array) -> Array:
        return values[np.searchsorted(edges, first)]

    def smoothed(first: Array) -> Array:
        below = ndtr((np.array(edges) - first[:, None]) / sigma)
        return np.diff(below, axis=1, prepend=0.0, append=1.0) @ values

    return embed, smoothed


def arc(
    slope: float, limit: float, sigma: float
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """h = (cos t, sin t), t = slope u[0] clipped to ±limit; g = E exp(it), two atoms and one arc.

    The arc is the integral of exp(i slope (s + σz)) φ(z): completing the square shifts z by i slope σ.
    """

    def embed(first: Array) -> Array:
        angle = np.clip(slope * first, -limit, limit)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def smoothed(first: Array) -> Array:
        low, high = (-limit / slope - first) / sigma, (limit / slope - first) / sigma
        turn = 1j * slope * sigma
        between = np.exp(1j * slope * first + turn**2 / 2) * (ndtr(high - turn) - ndtr(low - turn))
        mean = between + np.exp(-1j * limit) * ndtr(low) + np.exp(1j * limit) * ndtr(-high)
        return np.stack([mean.real, mean.imag], axis=1)

    return embed, smoothed


@dataclass
class Outcome:
    """What a simulation saw: repetitions, those with a false claim, and those with a positive radius."""

    repetitions: int = 0
    violations: int = 0
    positive: int = 0

    def refutes(self, alpha: float) -> bool:
        """Whether a violation probability of at most `alpha` is out of the question (level 1e-4)."""
        return bool(binomtest(self.violations, self.repetitions, alpha, "greater").pvalue < 1e-4)


def simulate(
    world: World,
    guarantee: Guarantee,
    method: Method,
    *,
    alpha: float,
    n: int,
    repetitions: int,
    seed: int = 0,
) -> Outcome:
    """Certify the same query again and again, on fresh noise."""
    outcome = Outcome()
    rng = np.random.default_rng(seed)
    for _ in range(repetitions):
        samples = world.draw(rng, n)
        certificate = world.certify(samples, guarantee, method, alpha)
        outcome.repetitions += 1
        outcome.violations += world.violated(samples, certificate)
        outcome.positive += certificate.radius > 0
    return outcome


def splits(n: int, share: float) -> Iterator[tuple[int, int, float]]:
    """How many of n two-valued samples take the first value, in selection and in certification.

    With the probability of each split; those below 1e-8 are skipped.
    """
    selected = selection_size(n)
    chosen = binom.pmf(np.arange(selected + 1), selected, share)
    certified = binom.pmf(np.arange(n - selected + 1), n - selected, share)
    for i, j in np.argwhere(chosen[:, None] * certified > 1e-8):
        yield int(i), int(j), float(chosen[i] * certified[j])

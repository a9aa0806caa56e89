"""Worlds in which the smoothed embedding, and so the true robust radius, is known in closed form.

h(u) depends on one coordinate of u: on u[0], or on the distance of u from a centre. g(x + δ) then depends on
that coordinate of x + δ alone, which no δ changes by more than ||δ||, while one along the first axis (along
the line to the centre) changes it by just that: the true radius is the distance from the coordinate of x to
the nearest point where the answer changes, to either side.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Literal

import numpy as np
from hypothesis import settings
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import ncx2

from certify import (
    Certificate,
    Certifier,
    Claim,
    EmbeddingSpace,
    Guarantee,
    Method,
    Rivals,
    Terms,
    Vectors,
    certify,
    certify_votes,
    selection_size,
)
from certify.terms import COMPARISONS

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Rule = Literal["embedding", "vote"]
Function = Callable[[Array], Array]
# h at coordinates (n,): (n, d), and g at coordinates (s,): (s, d).
Smoothing = tuple[Function, Function]
# One for each number of samples that choose, and for all terms.
Begun = dict[tuple[int, Terms], Certifier]

# The same examples in every run: a failure of a statistical statement should not depend on the day.
seeded = settings(deadline=None, derandomize=True, database=None, max_examples=50)
briefly = settings(seeded, max_examples=15)

SIGMA = 0.5
BALL = EmbeddingSpace(norm_bound=1.0)
ORTHANT = EmbeddingSpace(nonnegative=True, norm_bound=1.0)


@dataclass(frozen=True)
class Cube(EmbeddingSpace):
    """Coordinates between 0 and 1: each may be at its lower end whatever the others are."""

    def lower_end(self, weights: Array, offsets: Array) -> Array:
        found: Array = np.minimum(weights, 0.0).sum(axis=1) - offsets
        return found


# Same-label items that may stand against a rival, as in the service.
WINNERS = 256


@dataclass(frozen=True)
class World:
    """One query, `position` away from the origin (the centre), and a gallery (N, d) with labels (N,).

    embed       h at coordinates (n,): (n, d)
    smoothed    g at coordinates (s,): (s, d)
    clusters    (N,) in which cluster each item is, or None if there are none
    grouped     how many clusters, one after the other, make a group
    comparisons how many a certificate may make with members of clusters
    shares      with which probability each item has the vote of a noisy copy, at coordinates (s,): (s, N)
    dimensions  the coordinate is u[0] if this is 1, else the norm of a u with so many coordinates
    """

    embed: Function
    smoothed: Function
    position: float
    sigma: float
    gallery: Array
    labels: Rows
    space: EmbeddingSpace = field(default_factory=lambda: EmbeddingSpace(norm_bound=1.0))
    clusters: Rows | None = None
    comparisons: int = COMPARISONS
    truths: dict[tuple[str, Claim, int], float] = field(default_factory=dict)
    shares: Function | None = None
    dimensions: int = 1
    grouped: int = 1

    def draw(self, rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        if self.dimensions == 1:
            coordinates = self.position + self.sigma * rng.standard_normal(n)
        else:
            noisy = self.sigma * rng.standard_normal((n, self.dimensions))
            noisy[:, 0] += self.position
            coordinates = np.linalg.norm(noisy, axis=1)
        return self.embed(coordinates).astype(np.float32)

    def nearest(self, points: Array) -> Rows:
        scores = points @ self.gallery.T - np.einsum("nd,nd->n", self.gallery, self.gallery) / 2
        return scores.argmax(axis=-1)

    # --- rule embedding

    def field(self, samples: NDArray[np.float32]) -> dict[Claim, Rivals]:
        """As the service builds it: on the selection mean, and only if the served answer agrees with it."""
        rivals = self.rivals(samples)
        return {claim: rivals[claim] for claim in self.allowed(samples)}

    def rivals(self, samples: NDArray[np.float32]) -> dict[Claim, Rivals]:
        """Those of both claims, whatever is served."""
        centre, distances = self._selected(samples)
        order = np.argsort(distances, kind="stable")
        chosen = order[0]
        same = self.labels[order] == self.labels[chosen]
        vectors, arranged = self.vectors
        others = self.labels[arranged] != self.labels[chosen]
        return {
            "label": self._rivals(order[same][:WINNERS], vectors, others, centre),
            "item": self._rivals(order[:1], vectors, arranged != chosen, centre),
        }

    def allowed(self, samples: NDArray[np.float32]) -> list[Claim]:
        """What the served answer and the one that the selection chose agree on."""
        chosen = self._selected(samples)[1].argmin()
        served = self.nearest(samples.astype(np.float64).mean(axis=0))
        agreed: dict[Claim, bool] = {
            "label": self.labels[served] == self.labels[chosen],
            "item": served == chosen,
        }
        return [claim for claim, agree in agreed.items() if agree]

    def _selected(self, samples: NDArray[np.float32]) -> tuple[Array, Array]:
        """The mean of the selection, and how far each item is from it."""
        centre = samples[: selection_size(len(samples))].astype(np.float64).mean(axis=0)
        return centre, np.linalg.norm(self.gallery - centre, axis=1)

    def _rivals(self, winners: Rows, vectors: Vectors, behind: NDArray[np.bool_], centre: Array) -> Rivals:
        return Rivals(self.gallery[winners].astype(np.float32), vectors, behind, centre, singles=0)

    @cached_property
    def vectors(self) -> tuple[Vectors, Rows]:
        """The gallery as certificates need it, and which item each of its rows is."""
        if self.clusters is None:
            return Vectors.flat(self.gallery), np.arange(len(self.gallery))
        order = np.argsort(self.clusters, kind="stable")
        rows = self.gallery[order].astype(np.float32)
        starts = np.flatnonzero(np.diff(self.clusters[order], prepend=-1, append=-2))
        parts = np.split(rows, starts[1:-1])
        centres = np.stack([part.mean(axis=0) for part in parts])
        radii = [
            np.linalg.norm(part.astype(np.float64) - centre, axis=1).max() * (1 + 1e-9)
            for part, centre in zip(parts, centres, strict=True)
        ]
        groups = np.append(np.arange(0, len(parts), self.grouped), len(parts))
        return Vectors(rows, starts, centres, np.array(radii), groups), order

    def true_radius(self, claim: Claim, item: int, within_k: int = 1) -> float:
        """How far `item` (some item of its label) stays among the `within_k` nearest to g, or 0."""
        mine = np.arange(len(self.gallery)) == item
        if claim == "label":
            mine = self.labels == self.labels[item]

        def kept(s: Array) -> NDArray[np.bool_]:
            scores = self.smoothed(s) @ self.gallery.T - np.einsum("nd,nd->n", self.gallery, self.gallery) / 2
            ahead = scores[:, ~mine] > scores[:, mine].max(axis=1, keepdims=True)
            return ahead.sum(axis=1) < within_k

        return self._truth(f"embedding, {within_k}", claim, item, kept)

    def certify(
        self,
        samples: NDArray[np.float32],
        guarantee: Guarantee,
        method: Method,
        alpha: float,
        horizon: int | None = None,
        target: float | None = None,
        within_k: int = 1,
        begun: Begun | None = None,
    ) -> Certificate:
        terms = Terms(self.sigma, alpha, guarantee, method, horizon, target, 0.0, within_k, self.comparisons)
        if begun is None or not terms.anytime:
            return certify(samples, self.field(samples), self.space, terms)
        key = selection_size(len(samples)), terms
        if key not in begun:
            begun[key] = Certifier(self.rivals(samples), self.space, terms)
        return begun[key].certificate(samples, self.allowed(samples))

    def violated(self, samples: NDArray[np.float32], certificate: Certificate) -> bool:
        """Whether any claim of the certificate is false, be it of the guarantee asked for or of another."""
        chosen = int(self.nearest(samples[: selection_size(len(samples))].astype(np.float64).mean(axis=0)))
        k = certificate.terms.within_k
        return (
            certificate.label_radius > self.true_radius("label", chosen)
            or certificate.item_radius > self.true_radius("item", chosen)
            or certificate.label_within_radius > self.true_radius("label", chosen, k)
            or certificate.within_radius > self.true_radius("item", chosen, k)
        )

    # --- rule vote

    def voted(self, shares: Array, guarantee: Guarantee) -> Rows:
        """Who answers (s,) when votes are so divided (s, N): of the label with most votes, or of all."""
        if guarantee == "label":
            of_labels = shares @ np.eye(self.labels.max() + 1)[self.labels]
            shares = np.where(self.labels == of_labels.argmax(axis=1)[:, None], shares, -1.0)
        return shares.argmax(axis=1)

    def certify_votes(
        self,
        samples: NDArray[np.float32],
        guarantee: Guarantee,
        alpha: float,
        horizon: int | None = None,
        target: float | None = None,
    ) -> tuple[Certificate, int]:
        """The certificate, and the item that is served."""
        votes = self.nearest(samples.astype(np.float64))
        counts = np.bincount(votes, minlength=len(self.gallery)) / len(votes)
        answer = int(self.voted(counts[None], guarantee)[0])
        cast: dict[Claim, Rows] = {"item": votes}
        if guarantee == "label":
            cast["label"] = self.labels[votes]
        answers: dict[Claim, int] = {"item": answer, "label": int(self.labels[answer])}
        return certify_votes(
            cast, answers, Terms(self.sigma, alpha, guarantee, "cdf", horizon, target)
        ), answer

    def true_vote_radius(self, guarantee: Guarantee, answer: int, claim: Claim | None = None) -> float:
        """How far `answer`, to a query with `guarantee`, keeps what `claim` says (if None, `guarantee`)."""
        assert self.shares is not None
        shares = self.shares
        claim = claim or ("label" if guarantee == "label" else "item")

        def kept(s: Array) -> NDArray[np.bool_]:
            found = self.voted(shares(s), guarantee)
            return found == answer if claim == "item" else self.labels[found] == self.labels[answer]

        return self._truth(f"vote, {guarantee}", claim, answer, kept)

    def violated_by_vote(self, certificate: Certificate, answer: int) -> bool:
        """Whether another item (another label) than certified is voted for within the radius."""
        asked = certificate.terms.guarantee
        return certificate.label_radius > self.true_vote_radius(
            asked, answer, "label"
        ) or certificate.item_radius > self.true_vote_radius(asked, answer, "item")

    # --- both rules

    def read(
        self,
        samples: NDArray[np.float32],
        rule: Rule,
        guarantee: Guarantee,
        method: Method,
        alpha: float,
        horizon: int | None = None,
        target: float | None = None,
        within_k: int = 1,
        begun: Begun | None = None,
    ) -> tuple[Certificate, bool]:
        """A certificate, and whether it claims what is false.

        `begun` holds what earlier looks at the same samples computed, as in the service.
        """
        if rule == "embedding":
            certificate = self.certify(samples, guarantee, method, alpha, horizon, target, within_k, begun)
            return certificate, self.violated(samples, certificate)
        certificate, answer = self.certify_votes(samples, guarantee, alpha, horizon, target)
        return certificate, self.violated_by_vote(certificate, answer)

    def _truth(self, rule: str, claim: Claim, item: int, kept: Callable[[Array], NDArray[np.bool_]]) -> float:
        """How far from x the claim is `kept`, at coordinates (s,)."""
        key = (rule, claim, int(self.labels[item]) if claim == "label" else item)
        if key not in self.truths:
            self.truths[key] = min(
                first_failure(lambda r, side=side: kept(self.position + side * r), 16 * self.sigma)
                for side in (-1, 1)
            )
        return self.truths[key]


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


# --- smoothed functions


def steps(edges: list[float], values: Array, sigma: float) -> Smoothing:
    """h equal to values[j] between edges[j-1] and edges[j], and its g: normal probabilities as weights."""

    def embed(first: Array) -> Array:
        return values[np.searchsorted(edges, first)]

    def smoothed(first: Array) -> Array:
        below = ndtr((np.array(edges) - first[:, None]) / sigma)
        return np.diff(below, axis=1, prepend=0.0, append=1.0) @ values

    return embed, smoothed


def shells(edges: list[float], values: Array, sigma: float, dimensions: int) -> Smoothing:
    """h equal to values[j] between the spheres of radius edges[j-1] and edges[j] around a centre, and its g.

    (||u - centre|| / σ)² is noncentral chi-square. A coordinate below 0 is a point beyond the centre.
    """

    def embed(distances: Array) -> Array:
        return values[np.searchsorted(edges, distances)]

    def smoothed(distances: Array) -> Array:
        below = ncx2.cdf((np.array(edges) / sigma) ** 2, dimensions, (distances[:, None] / sigma) ** 2)
        return np.diff(below, axis=1, prepend=0.0, append=1.0) @ values

    return embed, smoothed


def arc(slope: float, limit: float, sigma: float) -> Smoothing:
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


def stepped(
    edges: list[float],
    values: list[list[float]] | Array,
    deviations: float,
    gallery: list[list[float]] | Array,
    labels: list[int] | Rows,
    *,
    space: EmbeddingSpace = BALL,
    clusters: list[int] | Rows | None = None,
    comparisons: int = COMPARISONS,
    dimensions: int = 1,
    sigma: float = SIGMA,
    grouped: int = 1,
) -> World:
    """A world of `steps` or, with several `dimensions`, `shells`, as votes are as well; lengths are in σ."""
    found, items = np.array(values, dtype=np.float64), np.array(gallery, dtype=np.float64)
    scaled = [sigma * edge for edge in edges]

    def smoothing(of: Array) -> Smoothing:
        return steps(scaled, of, sigma) if dimensions == 1 else shells(scaled, of, sigma, dimensions)

    members = None if clusters is None else np.array(clusters)
    world = World(*smoothing(found), deviations * sigma, sigma, items, np.array(labels), space, members)
    _, shares = smoothing(np.eye(len(items))[world.nearest(found)])
    return World(
        world.embed, world.smoothed, world.position, sigma, items, world.labels, space, members, comparisons,
        shares=shares, dimensions=dimensions, grouped=grouped,
    )  # fmt: skip


# --- the worlds


def half_space(kind: str, deviations: float, sigma: float = SIGMA) -> World:
    """h takes one value where u[0] <= 0, another elsewhere, with x[0] = `deviations` times σ.

    Half-spaces are the worst case of the Neyman-Pearson lemma: a bound that is too large anywhere has
    nowhere to hide. But for `plane` the values are the ends of the margin's range as well; in `orthant` the
    lower end is much nearer to 0 than the upper.
    """
    if kind == "plane":
        return stepped(
            [0.0], [[-0.75, 0.25], [0.875, 0]], deviations,
            [[0.8, 0.1], [-0.6, 0.2], [0.1, 0.9], [0.2, -0.9]], [0, 1, 2, 0], sigma=sigma,
        )  # fmt: skip
    if kind == "orthant":
        return stepped(
            [0.0], [[0, 1], [1, 0]], deviations, [[0.2, 0.93], [0.0, 0.95], [0.3, 0.9]], [0, 1, 0],
            space=ORTHANT, sigma=sigma,
        )  # fmt: skip
    if kind == "cluster":
        return stepped(
            [0.0], [[-1, 0], [1, 0]], deviations,
            [[1, 0], [-0.9, 0.1], [-1, 0], [-0.75, 0], [-0.8, 0.1], [-0.8, -0.1]], [0, 1, 1, 1, 1, 1],
            clusters=[0, 1, 2, 2, 2, 2], sigma=sigma,
        )  # fmt: skip
    return stepped([0.0], [[-1, 0], [1, 0]], deviations, [[1, 0], [-1, 0]], [0, 1], sigma=sigma)


# Where the values of `staircase` and `crowd` change, in σ.
EDGES = [-1.4, -1.0, -0.6, -0.2, 0.2, 0.6, 1.0, 1.4]


def staircase(deviations: float) -> World:
    """Nine values that rise with u[0], three items of the answer's label and two rivals on one line.

    Every level set of every margin is a half-space: the bound of `cdf` is attained at all levels at once.
    """
    values = np.stack([np.linspace(-1, 1, 9), np.zeros(9)], axis=1)
    gallery = [[0.8, 0.0], [0.2, 0.0], [0.0, 0.0], [-1.0, 0.0], [-0.5, 0.0]]
    return stepped(EDGES, values, deviations, gallery, [0, 0, 0, 1, 1])


def ramp(deviations: float) -> World:
    """As `staircase`, with a continuous margin: all items have the same first coordinate, and h rises."""
    gallery = np.array([[0.5, 0.6], [0.5, 0.2], [0.5, -0.3], [0.5, -0.6]])
    h, g = arc(2.0, np.pi / 2, SIGMA)
    return World(
        h, g, deviations * SIGMA, SIGMA, gallery, np.array([0, 0, 1, 1]), EmbeddingSpace.normalized(2)
    )


def on_the_arc() -> World:
    """A continuous h, with rivals to both sides."""
    angles = np.array([0.3, 0.75, -0.5, -1.2, 1.5])
    gallery = 0.9 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array([0, 0, 1, 1, 2])
    return World(*arc(1.2, 1.5, SIGMA), 0.3, SIGMA, gallery, labels, EmbeddingSpace.normalized(2))


def band(deviations: float) -> World:
    """The answer's value on a slab of half-width 2.2σ, a rival to either side."""
    return stepped(
        [-2.2, 2.2], [[-0.5, 0.8], [1, 0], [-0.5, -0.8]], deviations,
        [[0.9, 0], [0.7, 0.1], [-0.4, 0.7], [-0.4, -0.7]], [0, 0, 1, 2],
    )  # fmt: skip


def in_a_ball(dimensions: int, radius: float, deviations: float) -> World:
    """The answer's value in a ball, a rival's outside."""
    return stepped([radius], [[1, 0], [-1, 0]], deviations, [[1, 0], [0.5, 0.1], [-1, 0]], [0, 0, 1],
                   dimensions=dimensions)  # fmt: skip


def in_shells() -> World:
    """Four shells in four dimensions: rivals inside and outside of where the query is."""
    return stepped(
        [1.3, 4.2, 5.5], [[-0.6, 0.7], [0.9, 0.1], [0.4, -0.3], [-0.6, -0.7]], 2.7,
        [[0.9, 0], [0.8, -0.2], [-0.5, 0.6], [-0.5, -0.6], [-0.2, -0.7]], [0, 0, 1, 2, 2],
        dimensions=4,
    )  # fmt: skip


def mixture(space: EmbeddingSpace, members: int | None = None, comparisons: int = COMPARISONS) -> World:
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
    groups = None if members is None else np.arange(len(gallery)) // members
    return stepped(
        [-2.4, -1.0, 0.2, 2.6], values, 0.2, gallery, np.append(labels[around], [2, 2, 2]),
        space=space, clusters=groups, comparisons=comparisons,
    )  # fmt: skip


def crowd(deviations: float) -> World:
    """As `staircase`, with 60 rivals: most of them pick their bets from those of others."""
    values = np.stack([np.linspace(-1, 1, 9), np.zeros(9)], axis=1)
    first = np.concatenate([[0.8, 0.2, 0.0], np.linspace(-1.0, -0.4, 60)])
    gallery = np.stack([first, np.zeros(63)], axis=1)
    return stepped(EDGES, values, deviations, gallery, np.array([0] * 3 + [1, 2] * 30))


def herd(deviations: float, kind: str, grouped: int = 1) -> World:
    """As `crowd`, with the rivals in clusters.

    `mixed`: in each cluster one that may bind and many that are safe; `alike`: members hardly differ;
    `spent`: as `mixed`, and no cluster may be opened; `far`: members at both ends of a cluster, none in its
    middle.
    """
    values = np.stack([np.linspace(-1, 1, 9), np.zeros(9)], axis=1)
    first = np.linspace(-1.0, -0.4, 60)
    if kind == "alike":
        first = np.repeat(np.linspace(-1.0, -0.4, 6), 10) - 1e-5 * np.arange(60)
    if kind == "far":
        first = np.tile([-1.0, -0.4], 30) - 1e-3 * np.arange(60)
    across = 0.2 * np.sin(np.arange(60))
    gallery = np.concatenate(
        [[[0.8, 0.0], [0.2, 0.0], [0.0, 0.0], [-0.3, 0.9]], np.stack([first, across], axis=1)]
    )
    members = np.arange(60) // 10 if kind == "alike" else np.arange(60) % 5
    return stepped(
        EDGES, values, deviations, gallery, np.array([0] * 3 + [3] + [1, 2] * 30),
        clusters=np.concatenate([[0, 0, 0, 1], 2 + members]),
        comparisons=0 if kind == "spent" else COMPARISONS, grouped=grouped,
    )  # fmt: skip


def trap() -> World:
    """The rivals that look least dangerous are not those that are.

    The margins of 40 rivals vary a lot and are never lost, those of 30 more neither, with room to spare.
    Those of 6 others hardly vary, but for an event of probability 0.001 in which they lose everything: these
    are beaten within 1.6σ.
    """
    turn = np.linspace(-0.02, 0.02, 70)
    harmless = np.stack([0.5 + turn, np.repeat([0.4, 0.2], [40, 30]) - np.abs(turn), np.zeros(70)], axis=1)
    deadly = np.array([[0.5, 0.6, height] for height in (0.12, 0.13, 0.14, 0.15, 0.16, 0.17)])
    winners = np.array([[0.5, 0.6, 0.0], [0.5, 0.63, 0.0]])
    return stepped(
        [-3.09, 0.0], [[0, 0, 1], [0.5, 0.65, 0], [0.3, 0.95, 0]], 0.0,
        np.concatenate([winners, harmless, deadly]), np.array([0, 0] + [1, 2] * 38), space=ORTHANT,
    )  # fmt: skip


def podium(deviations: float) -> World:
    """Six rivals that all get ahead at once, each on samples that say little of how the others do.

    v_j is 1 below edge j, else 0, so E v_j = q_j at the origin: there that is half of what rival j is.
    """
    shares = np.array([0.015, 0.03, 0.06, 0.12, 0.25, 0.5])
    return stepped(
        ndtri(shares).tolist(), np.triu(np.ones((7, 6))), deviations,
        np.concatenate([np.zeros((1, 6)), np.diag(2 * shares)]), np.arange(7), space=Cube(norm_bound=2.5),
    )  # fmt: skip


def ambush(*, spent: bool = False, apart: bool = False) -> World:
    """A rival that wins within 1σ, in a cluster with one that never does.

    The centre of both is like ten other rivals, whose margins are never lost, but looks a little safer.
    `apart`: each of the two is a cluster, and both are a group, whose centre looks much safer.
    """
    side = np.linspace(0.74, 0.76, 10) * np.tile([1, -1], 5)
    harmless = np.stack([np.full(10, 0.9), side], axis=1)
    deadly = [[-1, 0], [2.8, 2.4 if apart else 1.6]]
    return stepped(
        [0.0], [[-1, 0], [1, 0]], 1.0, np.concatenate([[[1, 0]], harmless, deadly]),
        [0] + [1] * 10 + [2, 2], clusters=[0] + [1] * 10 + [2, 3 if apart else 2],
        comparisons=0 if spent else COMPARISONS, grouped=2 if apart else 1,
    )  # fmt: skip


WORLDS: dict[str, Callable[[], World]] = {
    "half-space": lambda: half_space("line", 2.0),
    "half-space, radius 0": lambda: half_space("line", 0.0),
    "half-space, hardly ever left": lambda: half_space("line", 2.7),
    "half-space, values inside the range": lambda: half_space("plane", 2.0),
    "half-space, few samples": lambda: half_space("line", 0.7),
    "half-space in the orthant": lambda: half_space("orthant", 1.5),
    "half-space in the orthant, hardly ever left": lambda: half_space("orthant", 2.6),
    "half-space, rival in a cluster": lambda: half_space("cluster", 2.0),
    "half-space, radius below 2e-6": lambda: half_space("line", 1.9, sigma=1e-6),
    "staircase": lambda: staircase(2.0),
    "staircase, near the border": lambda: staircase(0.0),
    "crowd": lambda: crowd(2.0),
    "trap": trap,
    "podium": lambda: podium(0.7),
    "ambush": ambush,
    "ambush by a group": lambda: ambush(apart=True),
    "ambush, comparisons spent": lambda: ambush(spent=True),
    "ramp": lambda: ramp(1.5),
    "arc": on_the_arc,
    "band": lambda: band(0.3),
    "ball": lambda: in_a_ball(3, 4.0, 0.5),
    "shells": in_shells,
    "mixture": lambda: mixture(BALL),
    "mixture in the orthant, in clusters": lambda: mixture(ORTHANT, 4),
    "mixture, clusters closed": lambda: mixture(BALL, 5, comparisons=0),
    "herd": lambda: herd(2.0, "mixed"),
    "herd of members alike": lambda: herd(2.0, "alike"),
    "herd in groups": lambda: herd(2.0, "mixed", 2),
    "herd of members alike, in groups": lambda: herd(2.0, "alike", 3),
    "herd, members far apart": lambda: herd(2.0, "far"),
    "herd, comparisons spent": lambda: herd(2.0, "spent"),
}


@cache
def world_of(name: str) -> World:
    """The same world every time: its true radii are looked for once."""
    return WORLDS[name]()

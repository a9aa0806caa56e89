"""Where samples meet the gallery: the same answer and certificate as from a world that is known in full."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from certify import CLAIMS, EmbeddingSpace, Guarantee, Rule, Terms, Vectors
from index import Item, Snapshot
from service.retrieval.contest import Contest, Outcome, vectors_of
from tests.certify.worlds import SIGMA, World, stepped

RULES: tuple[Rule, ...] = ("embedding", "vote")
EDGES = [-1.9, -0.8, 0.9, 2.1]
VALUES = np.array([[-0.5, 0.5], [0.25, 0.875], [0.9375, 0.25], [0.875, -0.25], [0.125, -0.75]])


# Items with their labels; the last ones lie far from their label.
ITEMS = [
    (0.8, 0.25, "b"), (0.95, 0.55, "b"), (0.6, 0.95, "b"),
    (-0.5, 0.6, "a"), (-0.6, 0.4, "a"), (-0.4, 0.7, "a"),
    (0.7, -0.55, "c"), (0.6, -0.7, "c"), (0.1, -0.75, "d"), (-0.1, -0.9, "d"), (0.0, -0.6, "d"),
    (0.3, 0.5, "d"), (-0.2, -0.2, "b"),
]  # fmt: skip


def served(weight: float) -> tuple[Snapshot, World]:
    """A gallery of four labels around the values of h, and the world of its blended vectors."""
    items = [Item(str(row), label) for row, (*_, label) in enumerate(ITEMS)]
    plain = [np.array(place, np.float32) for *place, _ in ITEMS]
    snapshot = Snapshot(1, items, plain, 2, weight)
    space = EmbeddingSpace(norm_bound=1.0, padded=weight > 0)
    values = np.pad(VALUES, [(0, 0), (0, int(space.padded))])
    vectors = snapshot.exact(np.arange(len(items)))
    return snapshot, stepped(EDGES, values, 0.1, vectors, snapshot.labels, space=space)


def decided(
    snapshot: Snapshot, world: World, samples: NDArray[np.float32], rule: Rule, terms: Terms
) -> Outcome:
    """`samples` are of the world: what a blended gallery puts behind them is taken off."""
    contest = Contest(snapshot, vectors_of(snapshot), world.space, rule, terms, top_k=5)
    return contest.outcome(samples[:, :2])


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("guarantee", CLAIMS)
def test_answer_and_certificate_are_those_of_the_world(
    rule: Rule, guarantee: Guarantee, weight: float
) -> None:
    snapshot, world = served(weight)
    rng = np.random.default_rng(1)
    positive = 0
    for n in (2, 100, 300, 3000):
        samples = world.draw(rng, n)
        terms = Terms(world.sigma, 0.01, guarantee, horizon=n)
        found = decided(snapshot, world, samples, rule, terms)
        if rule == "embedding":
            expected = world.certify(samples, guarantee, "cdf", 0.01, horizon=n)
            answer = int(world.nearest(samples.astype(np.float64).mean(axis=0)))
            assert found.votes is None
        else:
            expected, answer = world.certify_votes(samples, guarantee, 0.01, horizon=n)
            assert found.votes is not None
            assert sum(found.votes) <= n
        assert int(found.neighbors.rows[0]) == answer
        assert found.certificate == expected
        positive += found.certificate.radius > 0
        mean = samples.astype(np.float64).mean(axis=0)
        distances = np.linalg.norm(world.gallery[found.neighbors.rows] - mean, axis=1)
        np.testing.assert_allclose(found.neighbors.distances, distances, rtol=1e-12)
    assert positive >= 1


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("guarantee", CLAIMS)
def test_in_a_gallery_of_clusters_the_radius_is_about_that_of_all_rivals(
    guarantee: Guarantee, weight: float
) -> None:
    """Less when no cluster may be opened, and nothing that is left closed is forgotten."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((300, 8))
    places = np.repeat(centres, 10, axis=0) + 0.2 * rng.standard_normal((3000, 8))
    places = (0.9 * places / np.linalg.norm(places, axis=1, keepdims=True)).astype(np.float32)
    items = [Item(str(row), f"label {row // 10}") for row in range(3000)]
    snapshot = Snapshot(1, items, list(places), 8, weight)
    arranged = np.concatenate([part.segment.columns.vectors for part in snapshot.parts])
    assert len(vectors_of(snapshot).centres) > 100
    noisy = places[5] + 0.25 * rng.standard_normal((2000, 8))
    samples = (0.99 * noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    space = EmbeddingSpace.normalized(8, padded=weight > 0)
    radii = []
    for vectors, comparisons in (
        (Vectors.flat(arranged), 10**9),
        (vectors_of(snapshot), 10**9),
        (vectors_of(snapshot), 0),
    ):
        terms = Terms(SIGMA, 0.01, guarantee, comparisons=comparisons)
        found = Contest(snapshot, vectors, space, "embedding", terms, top_k=1).outcome(samples)
        assert found.neighbors.rows.tolist() == [5]
        radii.append(found.certificate.radius)
    assert radii[0] > 0
    assert 0.95 * radii[0] <= radii[1] <= 1.1 * radii[0]
    assert radii[2] <= radii[1]


@pytest.mark.parametrize("size", [30, 3000])
def test_whatever_is_not_of_the_label_or_not_the_item_is_a_rival(size: int) -> None:
    """In whatever order the gallery keeps its vectors: those of 3,000 items are in clusters."""
    rng = np.random.default_rng(2)
    places = rng.standard_normal((size, 4)).astype(np.float32)
    names = rng.permutation(np.arange(size) % 6)
    items = [Item(str(row), f"label {name}") for row, name in enumerate(names)]
    snapshot = Snapshot(1, items, list(places), 4)
    middle = int(np.flatnonzero(names == 3)[0])
    contest = Contest(
        snapshot, vectors_of(snapshot), EmbeddingSpace(), "embedding", Terms(SIGMA, 0.01), top_k=1
    )
    chosen, field = contest.choose(np.repeat(places[[middle]].astype(np.float64), 128, axis=0))
    assert chosen == middle
    others = {"label": places[names != 3], "item": np.delete(places, middle, axis=0)}
    mates = places[names == 3]
    for claim in CLAIMS:
        rivals = field[claim].vectors.rows[np.flatnonzero(field[claim].behind)]
        assert sorted(map(tuple, rivals)) == sorted(map(tuple, others[claim]))
    assert {tuple(winner) for winner in field["label"].winners} <= set(map(tuple, mates))
    assert [tuple(winner) for winner in field["item"].winners] == [tuple(places[middle])]


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("rule", RULES)
def test_certificates_are_false_no_more_often_than_they_may_be(rule: Rule, weight: float) -> None:
    snapshot, world = served(weight)
    rng = np.random.default_rng(3)
    alpha, violations, positive, repetitions = 0.2, 0, 0, 150
    for _ in range(repetitions):
        samples = world.draw(rng, 256)
        outcome = decided(snapshot, world, samples, rule, Terms(SIGMA, alpha, horizon=256))
        if rule == "embedding":
            violations += world.violated(samples, outcome.certificate)
        else:
            violations += world.violated_by_vote(outcome.certificate, int(outcome.neighbors.rows[0]))
        positive += outcome.certificate.radius > 0
    assert binomtest(violations, repetitions, alpha, "greater").pvalue > 1e-4
    assert positive > repetitions / 4


# --- small galleries, samples by hand

PLACES = np.array([[1, 0], [0, 1], [0, -1]], np.float32)


def by_hand(labels: str, samples: list[int], rule: Rule, guarantee: Guarantee) -> Outcome:
    """An item with each of `labels` at PLACES, and samples that lie at the places with these numbers."""
    items = [Item(str(row), label) for row, label in enumerate(labels)]
    snapshot = Snapshot(1, items, list(PLACES[: len(items)]), 2)
    terms = Terms(0.5, 0.01, guarantee, horizon=len(samples))
    contest = Contest(snapshot, vectors_of(snapshot), EmbeddingSpace.normalized(2), rule, terms, top_k=4)
    return contest.outcome(PLACES[samples])


@pytest.mark.parametrize("rule", RULES)
def test_what_the_first_samples_did_not_choose_is_served_and_not_certified(rule: Rule) -> None:
    samples = [0] * 128 + [1] * 700
    for guarantee in CLAIMS:
        certificate = by_hand("abc", samples, rule, guarantee).certificate
        assert int(by_hand("abc", samples, rule, guarantee).neighbors.rows[0]) == 1
        assert (certificate.label_radius, certificate.item_radius) == (0, 0)
        assert certificate.reason is not None
        assert "disagree" in certificate.reason
    # Both are of one label: that was chosen.
    certificate = by_hand("aac", samples, rule, "label").certificate
    assert certificate.label_radius > certificate.item_radius == 0


def test_the_label_of_most_votes_need_not_be_that_of_the_item_of_most_votes() -> None:
    samples = np.random.default_rng(4).permutation([0] * 1200 + [1] * 1199 + [2] * 1600).tolist()

    by_label, by_item = (by_hand("aab", samples, "vote", guarantee) for guarantee in ("label", "item"))

    assert by_label.neighbors.rows.tolist() == [0, 1, 2]
    assert by_label.votes == (1200, 1199, 1600)
    assert by_label.certificate.label_radius > by_label.certificate.item_radius == 0
    assert by_item.neighbors.rows.tolist() == [2, 0, 1]
    assert by_item.votes == (1600, 1200, 1199)
    assert by_item.certificate.label_radius == by_item.certificate.item_radius > 0


def test_a_vote_of_equals_is_decided_by_content_and_not_certified() -> None:
    outcome = by_hand("ba", [0, 1] * 200, "vote", "item")

    again = by_hand("ba", [1, 0] * 200, "vote", "item")
    assert sorted(outcome.neighbors.rows.tolist()) == [0, 1]
    assert again.neighbors.rows.tolist() == outcome.neighbors.rows.tolist()
    assert outcome.votes == (200, 200)
    assert outcome.certificate.radius == 0


def test_copies_that_are_all_in_doubt_vote_for_nobody_and_certify_nothing() -> None:
    items = [Item("0", "a"), Item("1", "b"), Item("2", "c")]
    snapshot = Snapshot(1, items, list(PLACES[[0, 0, 1]]), 2)
    for guarantee in CLAIMS:
        terms = Terms(0.5, 0.01, guarantee, horizon=400)
        space = EmbeddingSpace.normalized(2)
        contest = Contest(snapshot, vectors_of(snapshot), space, "vote", terms, top_k=3)
        outcome = contest.outcome(PLACES[[0] * 400])
        assert outcome.votes == (0, 0, 0)
        assert (outcome.certificate.label_radius, outcome.certificate.item_radius) == (0, 0)
        assert outcome.certificate.reason is not None

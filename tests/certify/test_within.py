"""Guarantee `within`: the item, or some item of its label, stays among the k nearest."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from certify import METHODS, Certificate, Certifier, Claim, Method, Rivals, Terms, certify
from certify.claims import SHARE_ASKED, sequential_test
from certify.ledger import AlphaLedger
from certify.paper import paper_radius
from certify.points import Points
from certify.sequential import SequentialTest
from tests.certify.worlds import SIGMA, World, stepped, world_of

ALPHA = 0.01
N = 1500
EDGES = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
VALUES = np.stack([np.linspace(-1, 1, 9), np.zeros(9)], axis=1)
RANKED = ("podium", "staircase", "crowd", "herd", "herd, comparisons spent", "mixture")


def ladder(rivals: int, *, clusters: bool = False) -> World:
    """One rival behind another: each gets ahead somewhat later than the one before."""
    first = np.concatenate([[0.5], np.linspace(-0.2, -1.2, rivals)])
    gallery = np.stack([first, np.zeros(len(first))], axis=1)
    groups = np.arange(len(first)) // 4 if clusters else None
    return stepped(EDGES, VALUES, 2.0, gallery, np.arange(len(first)), clusters=groups)


def asked(world: World, k: int, method: Method = "cdf", *, seed: int = 1, n: int = N) -> Certificate:
    samples = world.draw(np.random.default_rng(seed), n)
    return world.certify(samples, "within", method, ALPHA, n, None, k)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("clusters", [False, True])
def test_a_longer_list_is_harder_to_leave(method: Method, clusters: bool) -> None:
    world = ladder(12, clusters=clusters)
    found = [asked(world, k, method) for k in (1, 2, 4, 8)]
    within = [certificate.within_radius for certificate in found]
    assert within == sorted(within)
    assert within[-1] > 1.5 * within[0] > 0
    for certificate, k in zip(found, (1, 2, 4, 8), strict=True):
        assert certificate.radius == certificate.within_radius
        assert certificate.within_radius <= world.true_radius("item", 0, k)
        assert certificate.item_radius <= certificate.within_radius
        assert certificate.label_radius <= certificate.label_within_radius
        assert certificate.within_radius <= certificate.label_within_radius


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_claimed_beyond_the_truth(name: str, method: Method, seed: int) -> None:
    world = world_of(name)
    samples = world.draw(np.random.default_rng(seed), 640)
    certificate = world.certify(samples, "within", method, 1e-6, 640, None, 3)
    assert not world.violated(samples, certificate)


@pytest.mark.parametrize("method", METHODS)
def test_among_one_is_the_item(method: Method) -> None:
    samples = ladder(12).draw(np.random.default_rng(2), N)
    within = ladder(12).certify(samples, "within", method, ALPHA, N)
    item = ladder(12).certify(samples, "item", method, ALPHA, N)
    assert within == replace(item, terms=within.terms)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("clusters", [False, True])
def test_a_list_as_long_as_the_gallery_is_never_left(method: Method, clusters: bool) -> None:
    """What is claimed of the first place is claimed all the same."""
    world = ladder(5, clusters=clusters)
    assert asked(world, 6, method).within_radius == np.inf
    assert asked(world, 5, method).within_radius < np.inf
    assert 0 < asked(world, 6, method).item_radius <= world.true_radius("item", 0)


@pytest.mark.parametrize("copies", [4, 5])
def test_copies_of_a_rival_count_one_by_one(copies: int) -> None:
    """Four that come ahead together leave the item among the five nearest."""
    gallery = np.array([[0.5, 0.0]] + [[-0.2, 0.0]] * copies + [[-1.2, 0.0]])
    world = stepped(EDGES, VALUES, 2.0, gallery, np.arange(len(gallery)))
    found = asked(world, 5)
    assert (found.within_radius > 1.2 * found.item_radius) == (copies == 4)
    assert found.within_radius <= world.true_radius("item", 0, 5)


def test_some_item_of_the_label_is_enough() -> None:
    """The item falls behind its own label, and its label behind one rival."""
    gallery = np.array([[0.4, 0.0], [0.2, 0.0], [0.1, 0.0], [-0.1, 0.0], [-1.2, 0.0]])
    world = stepped(EDGES, VALUES, 2.0, gallery, np.array([0, 0, 0, 1, 2]))
    found = asked(world, 2, n=6000)
    assert 0 < found.within_radius <= world.true_radius("item", 0, 2)
    assert found.within_radius < found.label_within_radius <= world.true_radius("label", 0, 2)
    assert found.label_radius < found.label_within_radius


def test_those_that_must_get_ahead_together_share_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    """In no world that was built does a simulation see whether they do: bets stop far below alpha."""
    spent: dict[str, float] = {}

    class Watched(SequentialTest):
        def __init__(self, *margins: object, alpha: float, lost: int, **options: object) -> None:
            super().__init__(*margins, alpha=alpha, lost=lost, **options)  # type: ignore[arg-type]
            spent[f"{lost} lost, {len(spent)}"] = alpha

    monkeypatch.setattr("certify.claims.SequentialTest", Watched)
    certificate = asked(ladder(12), 4)
    shares = sorted(spent.values())
    assert shares == pytest.approx([(1 - SHARE_ASKED) * ALPHA / 4, SHARE_ASKED * ALPHA / 4])
    assert sum(certificate.ledger.values()) == pytest.approx(ALPHA)
    assert all(name.startswith("3 lost") for name in spent)


@pytest.mark.parametrize("clusters", [False, True])
def test_looks_before_change_nothing(clusters: bool) -> None:
    world = ladder(40, clusters=clusters)
    samples = world.draw(np.random.default_rng(4), N)
    terms = Terms(SIGMA, ALPHA, "within", within_k=5)
    certifier = Certifier(world.field(samples), world.space, terms)
    for n in (256, 300, 512, 900):
        certifier.certificate(samples[:n])
    assert certifier.certificate(samples) == certify(samples, world.field(samples), world.space, terms)


def test_a_target_stops_at_the_rank_that_was_asked_for() -> None:
    world = ladder(12)
    samples = world.draw(np.random.default_rng(5), 640)
    alone = world.certify(samples, "item", "cdf", ALPHA, 640).item_radius
    target = 1.2 * alone
    found = world.certify(samples, "within", "cdf", ALPHA, 640, target, 6)
    assert found.radius >= target
    assert found.item_radius < target


@pytest.mark.parametrize("lost", [0, 1, 3, 11, 12])
def test_the_paper_takes_the_next_but_those_that_may_be_lost(lost: int) -> None:
    world = ladder(12)
    rivals = field_of(world)["item"]
    mean = np.array([0.75, 0.0])
    distances = np.sort(np.linalg.norm(world.gallery[1:].astype(np.float32) - mean, axis=1))
    first = np.linalg.norm(world.gallery[0].astype(np.float32) - mean)
    found = paper_radius(mean, rivals, epsilon=0.0, lipschitz=1.0, lost=lost)
    assert found == (np.inf if lost == 12 else pytest.approx((distances[lost] - first) / 2))


def field_of(world: World) -> dict[Claim, Rivals]:
    samples: NDArray[np.float32] = world.draw(np.random.default_rng(1), 256)
    return world.field(samples)


def test_a_spared_rival_sets_no_radius() -> None:
    """With as many rivals lost as are in doubt only the first place can be claimed or not."""
    world = ladder(3)
    samples = world.draw(np.random.default_rng(1), N)
    field = world.field(samples)
    pairs, _, selection = field["item"].divided(samples[:128].astype(np.float64), world.space)
    terms = Terms(SIGMA, ALPHA, "within", horizon=N, within_k=4)
    test = sequential_test("item", pairs, selection, terms, AlphaLedger(ALPHA))
    exact = samples.astype(np.float64)
    reached = test.reached(Points.of(exact, exact[:128].mean(axis=0)))
    assert reached.rho == reached.expected == np.inf
    assert 0 < reached.first * SIGMA <= world.true_radius("item", 0)


@pytest.mark.parametrize(("guarantee", "k"), [("within", 0), ("label", 2), ("item", 5)])
def test_terms_that_make_no_sense_are_refused(guarantee: str, k: int) -> None:
    with pytest.raises(ValueError, match="within_k"):
        Terms(SIGMA, ALPHA, guarantee, within_k=k)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_blur_is_taken_off_every_radius(method: Method) -> None:
    world, blur = ladder(12), 0.01
    samples = world.draw(np.random.default_rng(6), N)
    terms = Terms(SIGMA, ALPHA, "within", method, N, within_k=3)
    sharp = certify(samples, world.field(samples), world.space, terms)
    blurred = certify(samples, world.field(samples), world.space, replace(terms, blur=blur))
    for name in ("within_radius", "label_within_radius", "item_radius", "label_radius"):
        expected = max(getattr(sharp, name) - blur, 0.0)
        assert getattr(blurred, name) == pytest.approx(expected, abs=2e-6)

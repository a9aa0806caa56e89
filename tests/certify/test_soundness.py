"""No certificate claims more than is true, except with probability alpha: the whole path, read at any time.

Beside each statement stand controls, the same code broken in one place, that fail it. The long form is
`tests.certify.study`.
"""

from dataclasses import replace
from itertools import pairwise, product
from math import prod
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom, ncx2

from certify import GUARANTEES, METHODS, Guarantee, Method, rounds
from certify.wealth import Bets, won
from models import CHUNK, Calibration, EmbeddingModel, SmoothedModel, Stop
from service.cache.samples import SampleCache
from service.cache.sqlite_store import EmbeddedStore
from service.metrics import Metrics
from service.retrieval.samples import QuerySamples
from tests.certify.soundness import (
    ALPHA,
    Case,
    Control,
    Outcome,
    bets_see_their_samples,
    block_borders,
    controls,
    exactly,
    first_bets_after,
    simulate,
    towards_the_truth,
    two_valued,
)
from tests.certify.worlds import BALL, SIGMA, WORLDS, Rule, World, in_a_ball, stepped, steps, world_of

CDF_AND_MEAN: tuple[Method, ...] = ("cdf", "mean")


# --- exactly: half-spaces, in which all that can happen is enumerated

FEW = "half-space, few samples"


@pytest.mark.parametrize(
    ("world", "case"),
    [
        (FEW, Case(guarantee="item")),
        (FEW, Case("vote", guarantee="item")),
        (FEW, Case(guarantee="item", alpha=0.5)),
        (FEW, Case(method="mean", guarantee="item", alpha=0.5)),
        ("half-space, radius 0", Case(method="mean")),
    ],
)
def test_a_half_space_violates_with_probability_at_most_alpha_at_whatever_number_of_samples(
    world: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_bets_after(monkeypatch, 6)
    exact = exactly(world_of(world), replace(case, n=20), range(12, 21, 4), negligible=1e-5)
    assert exact.violation + exact.neglected <= case.alpha
    # Bets stop short of what alpha allows, but not by so much that any mistake would go unseen.
    assert exact.violation > case.alpha / 20


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("method", ["paper", "bisector"])
def test_the_ball_violates_with_probability_at_most_alpha(method: Method, guarantee: Guarantee) -> None:
    exact = exactly(world_of("half-space, few samples"), Case(method=method, guarantee=guarantee, n=200))
    assert exact.violation + exact.neglected <= ALPHA
    assert exact.positive > 0.5


@pytest.mark.parametrize("method", CDF_AND_MEAN)
@pytest.mark.parametrize("name", ["staircase", "mixture in the orthant, in clusters"])
def test_the_order_of_samples_within_a_block_does_not_matter(name: str, method: Method) -> None:
    """The order of blocks does: bets on each are chosen from those before."""
    rng = np.random.default_rng(3)
    samples = world_of(name).draw(rng, 640)

    def radii(some: NDArray[np.float32]) -> NDArray[np.float64]:
        certificate, _ = Case(method=method, n=640).read(world_of(name), some)
        return np.array([certificate.label_radius, certificate.item_radius])

    borders = block_borders(640, 640)
    assert borders == [0, 128, 256, 512, 640]
    within = [samples[rng.permutation(np.arange(*span))] for span in pairwise(borders)]
    np.testing.assert_allclose(radii(np.concatenate(within)), radii(samples), atol=2e-6)
    across = np.concatenate([samples[:128], samples[640:127:-1]])
    assert (np.abs(radii(across) - radii(samples)) > 1e-4).any()


def mean_wealth(world: World, method: Method, n: int) -> float:
    """What the wealth that tests the true label radius comes to in the mean, if the right label was chosen.

    Exact, for a half-space with a single margin.
    """
    values = world.embed(np.array([-1.0, 1.0])).astype(np.float32)
    answer = int(world.nearest(world.smoothed(np.array([world.position])))[0])
    case, rho = Case(method=method, n=n, once=True), world.true_radius("label", answer) / world.sigma
    low = float(ndtr(-world.position / world.sigma))
    borders = block_borders(n, n)
    sizes = np.diff(borders).tolist()
    wealth: list[float] = []
    largest = Bets.largest

    def watched(bets: Bets, high: float, lost: int = 0) -> float:
        if not len(bets):
            return largest(bets, high, lost)
        each = [won(plan, picks, masses, rho)[0]
                for plan, picks, masses in zip(bets.plans, bets.picks, bets.masses, strict=True)]  # fmt: skip
        wealth.append(float(np.exp(sum(each))))
        return largest(bets, high, lost)

    total = chosen = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bets, "largest", watched)
        for counts in product(*(range(size + 1) for size in sizes)):
            probability = prod(binom.pmf(some, size, low) for some, size in zip(counts, sizes, strict=True))
            if probability < 1e-9:
                continue
            samples = two_valued(values, counts, sizes)
            if world.labels[world.nearest(samples[: sizes[0]].mean(axis=0))] == world.labels[answer]:
                wealth.clear()
                case.read(world, samples)
                chosen += probability
                total += probability * (wealth[0] if wealth else 0.0)
    return total / chosen


@pytest.mark.parametrize("name", ["half-space in the orthant", "half-space, rival in a cluster"])
@pytest.mark.parametrize("method", CDF_AND_MEAN)
def test_the_wealth_that_tests_the_true_radius_does_not_grow_in_the_mean(
    method: Method, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_bets_after(monkeypatch, 24)
    assert 0.01 < mean_wealth(world_of(name), method, 48) <= 1


def test_in_a_half_space_with_values_at_the_ends_bets_are_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those on the mean but for the rounding; those on levels but for slopes that the samples chose."""
    first_bets_after(monkeypatch, 24)
    assert 1 - 1e-4 < mean_wealth(world_of(FEW), "mean", 48) <= 1
    assert 0.7 < mean_wealth(world_of(FEW), "cdf", 48) <= 1


@pytest.mark.parametrize("method", CDF_AND_MEAN)
def test_wealth_grows_if_bets_are_chosen_from_the_samples_that_they_bet_on(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_bets_after(monkeypatch, 6)
    bets_see_their_samples(monkeypatch)
    assert mean_wealth(world_of(FEW), method, 24) > 1.3


# --- by simulation


@pytest.mark.parametrize("name", WORLDS)
def test_simulation_does_not_refute_alpha(name: str) -> None:
    world = world_of(name)
    cases = [Case(n=384)]
    if name in ("staircase", "ramp", "ball", "herd"):
        cases.append(Case(guarantee="item", n=384))
    if name in ("staircase", "shells", "mixture"):
        cases.append(Case("vote", n=384))
    if name in ("podium", "staircase", "herd, comparisons spent"):
        cases.append(Case(guarantee="within", n=384, within_k=3))
    for case in cases:
        assert not simulate(world, case, repetitions=25).refutes(ALPHA)


@pytest.mark.parametrize("rule", ["embedding", "vote"])
def test_a_target_at_the_true_radius_does_not_tempt(rule: Rule) -> None:
    case = towards_the_truth("staircase", Case(rule, n=640))
    assert not simulate(world_of("staircase"), case, repetitions=25).refutes(ALPHA)


# Who fishes is slow: that control is in the long form alone, beside the row that it breaks.
@pytest.mark.parametrize(
    "control",
    [control for control in controls() if not control.row.case.fished],
    ids=lambda control: f"{control.name}: {control.row.world}, {control.row.case.reading}",
)
def test_what_is_broken_is_caught(control: Control) -> None:
    assert control.caught()


def test_refuting_and_the_upper_end_are_binomial() -> None:
    outcome = Outcome(1000, 500)
    assert outcome.refutes(0.05)
    assert not outcome.refutes(0.5)
    assert binom.cdf(500, 1000, outcome.upper(0.99)) == pytest.approx(0.01)


# --- the worlds


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("moved", [0.0, -1.1])
def test_smoothed_is_the_expectation_of_the_samples_and_shares_are_those_of_votes(
    name: str, moved: float
) -> None:
    world = replace(world_of(name), position=world_of(name).position + moved * world_of(name).sigma)
    here, n = np.array([world.position]), 200_000
    samples = world.draw(np.random.default_rng(0), n).astype(np.float64)
    # Five standard deviations of a mean of n numbers in [-1, 1].
    np.testing.assert_allclose(samples.mean(axis=0), world.smoothed(here)[0], atol=5 / np.sqrt(n))
    if world.shares is not None:
        votes = np.bincount(world.nearest(samples), minlength=len(world.gallery)) / n
        np.testing.assert_allclose(votes, world.shares(here)[0], atol=5 / np.sqrt(n))


def test_true_radius_of_a_half_space_is_the_quantile_of_the_crossing() -> None:
    """g = (2w - 1) e1 with w = Φ(x[0]/σ), and the bisector of (1, 0) and (-0.6, 0) is crossed at 0.2."""
    world = stepped([0.0], [[-1, 0], [1, 0]], 1.4, [[1.0, 0.0], [-0.6, 0.0]], [0, 1])
    assert world.true_radius("item", 0) == pytest.approx(SIGMA * (1.4 - ndtri(0.6)), abs=1e-12)
    assert world.true_vote_radius("item", 0) == pytest.approx(SIGMA * 1.4, abs=1e-12)
    assert world.true_radius("label", 1) == 0


def test_true_radius_in_a_ball_is_where_half_of_the_noise_is_outside() -> None:
    """||u||² is noncentral chi-square there, and the query is 0.5σ off the centre."""
    world = in_a_ball(3, 4.0, 0.5)
    border = world.true_vote_radius("label", 0) / SIGMA + 0.5
    assert ncx2.cdf(16.0, 3, border**2) == pytest.approx(0.5, abs=1e-9)


def test_true_radius_is_that_of_the_nearer_side() -> None:
    """Votes for what lies within ±σ, from 0.25σ: the value beyond σ has as many once the query is there."""
    world = stepped([-1.0, 1.0], [[-1, 0], [0, 1], [1, 0]], 0.25, [[-1, 0], [0, 1], [1, 0]], [0, 1, 2])
    place = 0.25 + world.true_vote_radius("label", 1) / SIGMA
    beyond, before = ndtr(place - 1), ndtr(-1 - place)
    assert beyond == pytest.approx(1 - beyond - before, abs=1e-9)


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


# --- the samples of the service


def test_samples_after_a_resume_are_those_of_one_draw(tmp_path: Path) -> None:
    """So a certificate of n samples is the same whether a round came before it, a query, or nothing."""
    model, image = EmbeddingModel.load("digits-cnn"), np.full((1, 8, 8), 0.25, np.float32)
    secret = b"a secret of this test"

    def opened(file: Path) -> tuple[QuerySamples, EmbeddedStore, SmoothedModel]:
        store = EmbeddedStore(file, max_bytes=10**7, ttl_seconds=60)
        smoothed = SmoothedModel(model, 0.25, secret, Calibration.fixed(model))
        cache = SampleCache(
            store,
            secret,
            model_digest=smoothed.digest,
            sigma=0.25,
            dimension=model.dimension,
            chunk=smoothed.chunk,
        )
        return QuerySamples(cache, smoothed, Metrics(), smoothed.engine.stream(image)), store, smoothed

    def drawn(file: Path, counts: list[int]) -> tuple[list[NDArray[np.float32]], int]:
        samples, store, smoothed = opened(file)
        there = samples.there
        found = [samples.first(count, Stop()).copy() for count in counts]
        samples.keep()
        store.close()
        smoothed.close()
        return found, there

    (whole,), there = drawn(tmp_path / "one draw", [900])
    assert there == 0
    first, there = drawn(tmp_path / "rounds", [256, 300])
    assert there == 0
    later, there = drawn(tmp_path / "rounds", list(rounds(900)))
    assert there == 384
    again, there = drawn(tmp_path / "rounds", [900])
    assert there == 1024
    assert len(whole) == 900 > CHUNK
    for samples in (*first, *later, *again):
        np.testing.assert_array_equal(samples, whole[: len(samples)])

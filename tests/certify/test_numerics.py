"""Where numbers end: twins, tiny galleries, few samples, extreme terms. No radius is too large, none is NaN.

Warnings are errors in this suite, so that every certificate here is also one without overflow or 0/0.
"""

import json
import math
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from certify import (
    CLAIMS,
    METHODS,
    Certificate,
    Claim,
    EmbeddingSpace,
    Guarantee,
    Method,
    Rivals,
    Terms,
    certify,
    certify_votes,
    selection_size,
)
from certify.cdf import CDF
from certify.mean import MEAN
from certify.points import Points
from certify.sequential import SequentialTest
from tests.certify.worlds import World, briefly, seeded, steps

Array = NDArray[np.float64]
SIGMA = 0.5
ALPHA = 0.001
BALL = EmbeddingSpace(norm_bound=1.0)
ORTHANT = EmbeddingSpace(nonnegative=True, norm_bound=1.0)
every_claim = pytest.mark.parametrize(
    ("method", "guarantee"), [(method, guarantee) for method in METHODS for guarantee in CLAIMS]
)
methods = st.sampled_from(METHODS)
guarantees = st.sampled_from(CLAIMS)
BETS: tuple[Method, ...] = ("cdf", "mean")
# The edges of the 128 samples that select, and of the blocks after them.
counts = st.sampled_from([2, 3, 100, 127, 128, 129, 255, 256, 257, 511, 512, 513])
alphas = st.sampled_from([1e-300, 1e-12, 1e-3, 0.05, 0.5, 0.999])


def world(gallery: Array, labels: list[int], *, deviations: float = 2.0, sigma: float = SIGMA) -> World:
    """h = (sign of the first coordinate, 0): then g = (2 Φ(first / σ) - 1, 0)."""
    embed, smoothed = steps([0.0], np.array([[-1.0, 0.0], [1.0, 0.0]]), sigma)
    return World(embed, smoothed, deviations * sigma, sigma, gallery, np.array(labels), BALL)


def twins(distance: float, labels: list[int]) -> World:
    """The nearest item is at 0.5, another one so much below it, a third far away."""
    return world(np.array([[0.5, 0.0], [0.5 - distance, 0.0], [-0.9, 0.0]]), labels)


def sane(certificate: Certificate) -> bool:
    """No NaN, no negative number, radii in order, a reason where less is claimed than was asked for."""
    numbers = (certificate.label_radius, certificate.item_radius, certificate.expected)
    return (
        all(number >= 0 for number in numbers)
        and certificate.label_radius >= certificate.item_radius
        and (certificate.radius == 0 or below_target(certificate)) == (certificate.reason is not None)
        and sum(certificate.ledger.values()) <= certificate.terms.alpha * (1 + 1e-12)
    )


def below_target(certificate: Certificate) -> bool:
    target = certificate.terms.target
    return target is not None and certificate.radius < target


def judged(
    place: World, samples: NDArray[np.float32], guarantee: Guarantee, method: Method, **terms: float | None
) -> Certificate:
    given_terms = {"alpha": ALPHA, **terms}
    found = certify(
        samples, place.field(samples), place.space,
        Terms(place.sigma, guarantee=guarantee, method=method, **given_terms),  # type: ignore[arg-type]
    )  # fmt: skip
    assert sane(found)
    return found


# --- twins


def radius_of_the_nearer_twin(distance: float) -> float:
    """Where 2 Φ(2 - ρ) - 1 falls to the point half-way between both, times σ. Their scale plays no part."""
    return SIGMA * (2 - float(ndtri(0.75 - distance / 4)))


@pytest.mark.parametrize("same_label", [True, False])
@pytest.mark.parametrize("distance", [0.0, 1e-16, 1e-12, 1e-9, 1e-8, 3e-8, 1e-7, 1e-6, 1e-3])
@every_claim
def test_nearly_identical_items_never_get_too_much(
    method: Method, guarantee: Guarantee, distance: float, same_label: bool
) -> None:
    place = twins(distance, [0, 0 if same_label else 1, 2])
    true = radius_of_the_nearer_twin(distance)
    for seed, n in product(range(3), (256, 2000)):
        samples = place.draw(np.random.default_rng(seed), n)
        certificate = judged(place, samples, guarantee, method)
        assert certificate.item_radius <= true
        if distance < (1e-9 if method in BETS else 1e-13):  # less than rounding is allowed for
            assert certificate.item_radius == 0
        if not same_label:
            assert certificate.label_radius <= true
        else:
            assert certificate.label_radius > 0 or n == 256


@pytest.mark.parametrize("method", BETS)
def test_items_a_millionth_apart_are_still_told_apart(method: Method) -> None:
    """The rounding that is allowed for does not hide what float64 can tell."""
    place = twins(1e-6, [0, 1, 2])
    samples = place.draw(np.random.default_rng(0), 2000)
    assert judged(place, samples, "item", method).radius > 0.7 * radius_of_the_nearer_twin(1e-6)


@seeded
@given(
    seed=st.integers(0, 2**32),
    exponent=st.floats(-17, -5),
    method=st.sampled_from(BETS),
    guarantee=guarantees,
    slack=st.sampled_from([0.0, 1e-5]),
)
def test_two_near_twins_never_both_win(
    seed: int, exponent: float, method: Method, guarantee: Guarantee, slack: float
) -> None:
    """In a random direction, for samples that barely differ: of the twins one item is certified at most."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(0.3, 1e-3, (600, 4)).astype(np.float32)
    centre = samples[:128].astype(np.float64).mean(axis=0)
    item = centre + 0.1 * rng.standard_normal(4)
    away = rng.standard_normal(4)
    twin = item + 10.0**exponent * away / np.linalg.norm(away)
    space = EmbeddingSpace(norm_bound=1.0, slack=slack)
    found = []
    for winner, rival in ((item, twin), (twin, item)):
        rivals = Rivals.of(winner[None], rival[None], centre)
        certificate = certify(samples, {"item": rivals}, space, Terms(SIGMA, ALPHA, guarantee, method))
        assert certificate.item_radius < np.inf
        found.append(certificate.item_radius)
    assert min(found) == 0
    if exponent < -9.5:
        assert max(found) == 0


@every_claim
def test_many_copies_of_both_sides(method: Method, guarantee: Guarantee) -> None:
    """50 copies of the winner with its label, 100 of the rival: as one of each, but for the item."""
    gallery = np.array([[0.9, 0.0]] * 50 + [[-0.9, 0.0]] * 100)
    many = world(gallery, [0] * 50 + [1] * 100)
    one = world(gallery[[0, 50]], [0, 1])
    samples = many.draw(np.random.default_rng(0), 1000)
    found, expected = (judged(place, samples, guarantee, method) for place in (many, one))
    assert found.item_radius == 0
    assert expected.label_radius > 0.1
    assert 0.9 * expected.label_radius < found.label_radius <= expected.label_radius + 3e-6


# --- tiny galleries


@seeded
@given(n=counts, alpha=alphas, method=methods, guarantee=guarantees)
def test_without_rivals_the_radius_is_infinite(
    n: int, alpha: float, method: Method, guarantee: Guarantee
) -> None:
    items = np.array([[0.5, 0.0], [0.4, 0.0]])
    samples = world(items, [0, 0]).draw(np.random.default_rng(n), n)
    alone = judged(world(items[:1], [0]), samples, guarantee, method, alpha=alpha)
    assert (alone.label_radius, alone.item_radius) == (np.inf, np.inf)
    one_label = judged(world(items, [0, 0]), samples, guarantee, method, alpha=alpha)
    assert one_label.label_radius in (np.inf, 0.0)  # 0: another item was chosen than is served
    assert one_label.item_radius < np.inf


# --- few samples, extreme alpha


@seeded
@given(n=counts, alpha=alphas, method=methods, guarantee=guarantees, deviations=st.floats(0.0, 6.0))
def test_any_number_of_samples_and_any_alpha(
    n: int, alpha: float, method: Method, guarantee: Guarantee, deviations: float
) -> None:
    """With -1 and 1 the items, no test of level alpha can claim more than of samples that are all 1."""
    place = world(np.array([[1.0, 0.0], [-1.0, 0.0]]), [0, 1], deviations=deviations)
    certificate = judged(place, place.draw(np.random.default_rng(n), n), guarantee, method, alpha=alpha)
    most = SIGMA * ndtri(alpha ** (1 / n)) if alpha > 0 else 0.0
    assert certificate.radius <= max(most, 0.0)


@pytest.mark.parametrize("method", BETS)
def test_alpha_at_its_ends(method: Method) -> None:
    place = world(np.array([[1.0, 0.0], [-1.0, 0.0]]), [0, 1])
    samples = place.draw(np.random.default_rng(0), 1000)
    found = [judged(place, samples, "label", method, alpha=a).radius for a in (1e-300, 1e-12, 0.05, 0.999)]
    assert found == sorted(found)
    assert found[0] < found[1] < found[3]
    assert found[1] > 0


@pytest.mark.parametrize("n", [0, 1])
@every_claim
def test_one_sample_is_refused(method: Method, guarantee: Guarantee, n: int) -> None:
    place = world(np.array([[1.0, 0.0], [-1.0, 0.0]]), [0, 1])
    samples = np.ones((n, 2), np.float32)
    with pytest.raises(ValueError, match="at least 2"):
        certify(samples, {}, place.space, Terms(SIGMA, ALPHA, guarantee, method))
    with pytest.raises(ValueError, match="at least 2"):
        certify_votes({guarantee: np.zeros(n, np.int64)}, {guarantee: 0}, Terms(SIGMA, ALPHA, guarantee))


# --- samples at the ends of what they can be


@seeded
@given(n=counts, share=st.sampled_from([0.0, 0.5, 1.0]), method=methods, guarantee=guarantees)
def test_all_or_none_of_the_samples_at_an_end(
    n: int, share: float, method: Method, guarantee: Guarantee
) -> None:
    """Margins at the top of their range, or at its bottom: each level is passed by all samples or by none."""
    place = world(np.array([[1.0, 0.0], [-1.0, 0.0]]), [0, 1])
    samples = place.embed(np.where(np.arange(n) % 8 < 8 * share, 1.0, -1.0)).astype(np.float32)
    centre = samples[: selection_size(n)].astype(np.float64).mean(axis=0)
    rivals = Rivals.of(place.gallery[:1], place.gallery[1:], centre)
    terms = Terms(SIGMA, 0.05, guarantee, method, horizon=n)
    certificate = certify(samples, {guarantee: rivals}, BALL, terms)
    assert sane(certificate)
    assert share == 1.0 or certificate.radius == 0
    assert share != 1.0 or n < 255 or certificate.radius > 0.1


@every_claim
def test_samples_that_are_all_the_same(method: Method, guarantee: Guarantee) -> None:
    """No spread at all, in a margin strictly inside its range."""
    embed, smoothed = steps([], np.array([[0.3, 0.4]]), SIGMA)
    gallery = np.array([[0.3, 0.3], [-0.5, -0.5], [0.3, 0.9]])
    place = World(embed, smoothed, 0.0, SIGMA, gallery, np.array([0, 1, 2]), BALL)
    certificate = judged(place, place.draw(np.random.default_rng(0), 4000), guarantee, method)
    assert 0 < certificate.radius < np.inf


@every_claim
@pytest.mark.parametrize("space", [BALL, ORTHANT], ids=["ball", "orthant"])
def test_samples_that_are_zero(method: Method, guarantee: Guarantee, space: EmbeddingSpace) -> None:
    samples = np.zeros((1000, 2), np.float32)
    gallery = np.array([[0.0, 0.0], [0.9, 0.0], [0.0, 0.9]])
    rivals = Rivals.of(gallery[:1], gallery[1:], np.zeros(2))
    certificate = certify(samples, {guarantee: rivals}, space, Terms(SIGMA, ALPHA, guarantee, method))
    assert sane(certificate)
    assert 0 < certificate.radius < np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0001, 1.0001, 3e38])
@pytest.mark.parametrize("row", [0, 127, 128, 599])
@every_claim
def test_a_sample_that_no_embedding_can_be_abstains(
    method: Method, guarantee: Guarantee, row: int, value: float
) -> None:
    """Wherever it is; even if the rivals were chosen with it."""
    place = world(np.array([[1.0, 0.0], [-1.0, 0.0]]), [0, 1])
    samples = place.embed(np.ones(600)).astype(np.float32)
    sound = place.field(samples)
    samples[row, 0] = value
    for field in (sound, {}):
        certificate = certify(samples, field, BALL, Terms(SIGMA, ALPHA, guarantee, method))
        assert sane(certificate)
        assert certificate.label_radius == certificate.item_radius == 0


def test_a_negative_zero_is_no_negative_sample() -> None:
    samples = np.full((600, 2), -0.0, np.float32)
    gallery = np.array([[0.0, 0.0], [0.9, 0.0]])
    rivals = Rivals.of(gallery[:1], gallery[1:], np.zeros(2))
    assert certify(samples, {"label": rivals}, ORTHANT, Terms(SIGMA, ALPHA)).radius > 0


# --- extreme terms


@pytest.mark.parametrize("sigma", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@every_claim
def test_any_sigma_gives_the_same_radius_in_its_own_units(
    method: Method, guarantee: Guarantee, sigma: float
) -> None:
    places = [world(np.array([[1.0, 0.0], [-1.0, 0.0]]), [0, 1], sigma=s) for s in (sigma, SIGMA)]
    samples = places[1].draw(np.random.default_rng(0), 2000)
    found, usual = (judged(place, samples, guarantee, method).radius for place in places)
    expected = usual / SIGMA * sigma
    assert found == pytest.approx(expected, rel=3e-5, abs=1e-6)
    # Rounded down at each scale.
    assert found <= expected + 2e-6 * sigma / SIGMA
    assert found == round(found, 6)


@seeded
@given(
    n=counts,
    horizon=st.sampled_from([1, 2, 100, 256, 513, 10**4, 10**7]),
    target=st.sampled_from([None, 5e-324, 1e-300, 1e-9, 1e-6, 0.3, 7.0, 100.0, 1e9, 1e300]),
    blur=st.sampled_from([0.0, 1e-12, 8e-6, 0.2, 1e9]),
    method=st.sampled_from(BETS),
    guarantee=guarantees,
    sigma=st.sampled_from([1e-6, SIGMA, 1e3]),
)
def test_any_horizon_target_and_blur(
    n: int,
    horizon: int,
    target: float | None,
    blur: float,
    method: Method,
    guarantee: Guarantee,
    sigma: float,
) -> None:
    """They say how to bet: no certificate is above what any test could claim of samples that are all 1."""
    place = world(np.array([[1.0, 0.0], [-1.0, 0.0]]), [0, 1], sigma=sigma, deviations=3.0)
    samples = place.draw(np.random.default_rng(n), n)
    certificate = judged(
        place, samples, guarantee, method, horizon=horizon, target=target, blur=blur, alpha=0.05
    )
    bet_on = n - selection_size(n)
    most = sigma * ndtri(0.05 ** (1 / bet_on)) if bet_on else 0.0
    assert certificate.radius <= max(most - blur, 0.0)


@pytest.mark.parametrize("method", BETS)
@pytest.mark.parametrize("horizon", [300, 1000, 4000, 10**6])
def test_a_horizon_that_is_not_the_number_of_samples_costs_a_part(method: Method, horizon: int) -> None:
    place = world(np.array([[1.0, 0.0], [-1.0, 0.0]]), [0, 1])
    samples = place.draw(np.random.default_rng(0), 2000)
    best = judged(place, samples, "label", method).radius
    assert judged(place, samples, "label", method, horizon=horizon).radius < 1.05 * best
    if horizon in (1000, 4000):
        assert judged(place, samples, "label", method, horizon=horizon).radius > 0.8 * best


@seeded
@given(
    shares=st.lists(st.integers(-1, 3), min_size=2, max_size=600),
    alpha=alphas,
    target=st.sampled_from([None, 1e-9, 0.3, 1e9]),
    sigma=st.sampled_from([1e-6, SIGMA, 1e3]),
)
def test_any_votes(shares: list[int], alpha: float, target: float | None, sigma: float) -> None:
    votes = np.array(shares)
    terms = Terms(sigma, alpha, "item", target=target)
    certificate = certify_votes({"item": votes}, {"item": 0}, terms)
    assert sane(certificate)
    assert certificate.radius < 20 * sigma


# --- on the wire


def certificates() -> Iterator[tuple[Certificate, Mapping[Claim, Rivals], NDArray[np.float32], World]]:
    rng = np.random.default_rng(0)
    for seed in range(20):
        gallery = 0.5 * rng.standard_normal((6, 2))
        place = world(gallery, [0, 0, 1, 1, 2, 2], deviations=rng.uniform(0, 3), sigma=rng.uniform(0.01, 3))
        samples = place.draw(np.random.default_rng(seed), 1000)
        for guarantee, method in product(CLAIMS, METHODS):
            certificate = judged(place, samples, guarantee, method, horizon=1000)
            yield certificate, place.field(samples), samples, place


def test_radii_survive_json_and_are_never_above_the_bound() -> None:
    positive = 0
    for certificate, field, samples, place in certificates():
        terms = certificate.terms
        for radius in (certificate.label_radius, certificate.item_radius):
            assert json.loads(json.dumps(radius)) == radius
            assert math.isinf(radius) or radius == round(radius, 6)
        if terms.method not in BETS or terms.guarantee == "label" or "item" not in field:
            continue  # a label radius may be that of the item
        exact = samples.astype(np.float64)
        pairs, crowd, selection = field["item"].divided(exact[:128], place.space)
        test = SequentialTest(
            pairs, CDF if terms.method == "cdf" else MEAN, selection, horizon=1000, alpha=0.9 * ALPHA,
            crowd=crowd,
        )  # fmt: skip
        rho = test.reached(Points.of(exact, field["item"].centre)).rho
        sent = json.loads(json.dumps(certificate.radius))
        assert sent == 0 or terms.sigma * rho - 1.1e-6 < sent < terms.sigma * rho
        positive += sent > 0
    assert positive > 10


@briefly
@given(seed=st.integers(0, 2**32), deviations=st.floats(0.0, 3.0), gap=st.floats(0.0, 1e-3))
def test_at_the_edge_of_a_half_space(seed: int, deviations: float, gap: float) -> None:
    """The margin is as good as 0 at x: whatever is certified is below the true radius."""
    share = float(ndtr(deviations))
    border = 2 * share - 1 - gap
    place = world(
        np.array([[min(border + 0.1, 1.0), 0.0], [2 * border - min(border + 0.1, 1.0), 0.0]]),
        [0, 1],
        deviations=deviations,
    )
    samples = place.draw(np.random.default_rng(seed), 1000)
    true = SIGMA * (deviations - float(ndtri((1 + border) / 2)))
    for method in METHODS:
        chosen = int(place.nearest(samples[:128].astype(np.float64).mean(axis=0)))
        certificate = judged(place, samples, "item", method)
        assert certificate.radius <= (max(true, 0.0) if chosen == 0 else 0.0)

"""What `certify` puts together: the two guarantees, the ledger, the selection, and when it abstains."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

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
    rounds,
    selection_size,
    settled,
)
from certify.cdf import CDF
from certify.mean import MEAN
from certify.points import Points
from certify.sequential import Reached, SequentialTest
from certify.terms import COMPARISONS
from tests.certify.worlds import World, briefly, steps

Array = NDArray[np.float64]
Samples = NDArray[np.float32]
ALPHA = 0.05
SIGMA = 0.5
N = 800
# A search for a radius may end one step of its precision from the other, and so may the rounding.
NOISE = 3e-6
BALL = EmbeddingSpace(norm_bound=1.0)
BETS: tuple[Method, ...] = ("cdf", "mean")
every_claim = pytest.mark.parametrize(
    ("method", "guarantee"), [(method, guarantee) for method in METHODS for guarantee in CLAIMS]
)
every_bet = pytest.mark.parametrize(
    ("method", "guarantee"), [(method, guarantee) for method in BETS for guarantee in CLAIMS]
)


def random_world(seed: int, clusters: int | None = None) -> World:
    """Three values of h, mostly the middle one, among eight items of four labels; one item is near it."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((3, 3))
    values /= np.linalg.norm(values, axis=1, keepdims=True) * 1.01
    gallery = 0.6 * rng.standard_normal((8, 3))
    gallery[0] = values[1] + 0.05 * rng.standard_normal(3)
    gallery[1] = values[1] + 0.4 * rng.standard_normal(3)
    embed, smoothed = steps([-0.9, 1.1], values, SIGMA)
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 3])
    members = None if clusters is None else np.arange(8) % clusters
    return World(embed, smoothed, 0.0, SIGMA, gallery, labels, BALL, members)


# A query that every method can certify, with a label radius that does not rest on the item radius.
CLEAR = random_world(16)


def drawn(world: World, n: int = N, seed: int = 1) -> Samples:
    return world.draw(np.random.default_rng(seed), n)


def issue(
    world: World, guarantee: Guarantee, method: Method, *, n: int = N, seed: int = 1, alpha: float = ALPHA
) -> Certificate:
    return world.certify(drawn(world, n, seed), guarantee, method, alpha)


def judged(
    samples: Samples,
    field: Mapping[Claim, Rivals],
    guarantee: Guarantee,
    method: Method,
    space: EmbeddingSpace = BALL,
    **terms: float | None,
) -> Certificate:
    return certify(samples, field, space, Terms(SIGMA, ALPHA, guarantee, method, **terms))  # type: ignore[arg-type]


def with_item(world: World, vector: Array, label: int) -> World:
    return replace(
        world,
        gallery=np.concatenate([world.gallery, vector[None]]),
        labels=np.append(world.labels, label),
        truths={},
    )


def radii(certificate: Certificate) -> Array:
    return np.array([certificate.label_radius, certificate.item_radius])


def line() -> World:
    """h is one of the two items, by the sign of the first coordinate."""
    ends = np.array([[-1.0, 0.0], [1.0, 0.0]])
    return World(*steps([0.0], ends, SIGMA), 0.0, SIGMA, ends[::-1], np.array([0, 1]), BALL)


# --- radii


@every_claim
def test_clear_query_gets_both_radii(method: Method, guarantee: Guarantee) -> None:
    """The tests below that compare radii compare these: they are not zero."""
    certificate = issue(CLEAR, guarantee, method)
    assert certificate.label_radius >= certificate.item_radius > 0
    assert certificate.radius == (
        certificate.label_radius if guarantee == "label" else certificate.item_radius
    )
    assert certificate.reason is None
    assert certificate.samples == N
    assert certificate.terms == Terms(SIGMA, ALPHA, guarantee, method)


@every_claim
def test_what_is_left_of_alpha_by_the_noise_is_what_is_certified_with(
    method: Method, guarantee: Guarantee
) -> None:
    """Bit for bit: noise that may be .01 from Gaussian, at .05, is Gaussian noise at .04."""
    samples = drawn(CLEAR)
    field = CLEAR.field(samples)
    charged = certify(samples, field, BALL, Terms(SIGMA, 0.05, guarantee, method, noise=0.01))
    left = certify(samples, field, BALL, Terms(SIGMA, 0.05 - 0.01, guarantee, method))

    assert np.array_equal(radii(charged), radii(left))
    assert charged.ledger == {"noise": 0.01} | left.ledger
    assert charged.radius < issue(CLEAR, guarantee, method, alpha=0.05).radius


@every_claim
@briefly
@given(seed=st.integers(0, 2**32))
def test_label_radius_is_never_below_item_radius(method: Method, guarantee: Guarantee, seed: int) -> None:
    certificate = issue(random_world(seed), guarantee, method)
    assert certificate.label_radius >= certificate.item_radius >= 0
    assert (certificate.radius > 0) == (certificate.reason is None)


@every_claim
@briefly
@given(seed=st.integers(0, 2**32), label=st.integers(1, 4))
def test_one_more_rival_never_enlarges_a_radius(
    method: Method, guarantee: Guarantee, seed: int, label: int
) -> None:
    """But for where knots are, which depends on the rivals that look most dangerous."""
    world = random_world(seed)
    far = np.random.default_rng(seed).standard_normal(3)
    more = with_item(world, 2 * far / np.linalg.norm(far), label)
    allowed = 1.0 if method in ("paper", "bisector") else 1.05
    before, after = (radii(issue(one, guarantee, method)) for one in (world, more))
    assert (after <= allowed * before + NOISE).all()


@every_claim
@briefly
@given(seed=st.integers(0, 2**32), factor=st.floats(1, 10))
def test_radius_is_proportional_to_sigma_for_the_same_samples(
    method: Method, guarantee: Guarantee, seed: int, factor: float
) -> None:
    world = random_world(seed)
    samples = drawn(world)
    scaled = replace(world, sigma=factor * world.sigma).certify(samples, guarantee, method, ALPHA)
    expected = factor * radii(world.certify(samples, guarantee, method, ALPHA))
    np.testing.assert_allclose(radii(scaled), expected, atol=1e-6 * (factor + 1))


@pytest.mark.parametrize("guarantee", CLAIMS)
@pytest.mark.parametrize("method", ["bisector", "paper"])
@briefly
@given(seed=st.integers(0, 2**32), alpha=st.floats(1e-6, 0.3), factor=st.floats(1, 3))
def test_more_alpha_never_shrinks_the_ball(
    method: Method, guarantee: Guarantee, seed: int, alpha: float, factor: float
) -> None:
    world = random_world(seed)
    strict, loose = (issue(world, guarantee, method, alpha=a) for a in (alpha, factor * alpha))
    assert (radii(strict) <= radii(loose)).all()


def mean_radius(guarantee: Guarantee, method: Method, n: int, alpha: float) -> float:
    found = [issue(CLEAR, guarantee, method, n=n, seed=s, alpha=alpha).radius for s in range(20)]
    return float(np.mean(found))


@every_claim
def test_more_samples_enlarge_the_radius(method: Method, guarantee: Guarantee) -> None:
    means = [mean_radius(guarantee, method, n, ALPHA) for n in (400, 1600, 6400)]
    assert means[0] < means[1] < means[2] < CLEAR.true_radius(guarantee, 0)


@every_claim
def test_more_alpha_enlarges_the_radius(method: Method, guarantee: Guarantee) -> None:
    means = [mean_radius(guarantee, method, N, alpha) for alpha in (1e-6, 1e-3, 0.3)]
    assert means[0] < means[1] < means[2]


@briefly
@given(seed=st.integers(0, 2**32))
def test_bisector_is_never_below_paper(seed: int) -> None:
    world = random_world(seed)
    assert (radii(issue(world, "item", "bisector")) >= radii(issue(world, "item", "paper"))).all()


@every_claim
@pytest.mark.parametrize("label", [0, 1])
def test_two_identical_nearest_items_have_item_radius_0(
    method: Method, guarantee: Guarantee, label: int
) -> None:
    twins = with_item(CLEAR, CLEAR.gallery[0], label)
    certificate = issue(twins, guarantee, method)
    assert certificate.item_radius == 0
    # A twin of the same label is no rival of the label, one of another label is.
    assert (certificate.label_radius > 0) is (label == 0)
    assert (certificate.reason is None) is (guarantee == "label" and label == 0)


@every_bet
@briefly
@given(seed=st.integers(0, 2**32), clusters=st.sampled_from([None, 3]), blur=st.floats(0, 0.1))
def test_radii_are_those_of_the_tests_rounded_down(
    method: Method, guarantee: Guarantee, seed: int, clusters: int | None, blur: float
) -> None:
    """With 0.9 of alpha for the guarantee that was asked for, 0.1 for the other, and `blur` taken off."""
    world = random_world(seed, clusters)
    samples = drawn(world)
    field = world.field(samples)
    found = judged(samples, field, guarantee, method, horizon=N, blur=blur)
    for claim, rivals in field.items():
        points = samples.astype(np.float64)
        pairs, crowd, selection = rivals.divided(points[:128], BALL)
        test = SequentialTest(
            pairs, CDF if method == "cdf" else MEAN, selection, horizon=N, crowd=crowd,
            comparisons=COMPARISONS, alpha=(0.9 if claim == guarantee else 0.1) * ALPHA,
            thorough=claim == guarantee,
        )  # fmt: skip
        rho = test.reached(Points.of(points, rivals.centre)).rho
        exact = max(SIGMA * rho - blur, 0.0)
        radius = found.item_radius if claim == "item" else found.label_radius
        if radius == exact == 0:
            continue
        assert exact - 1.1e-6 < radius < exact or (claim == "label" and radius == found.item_radius > exact)


@every_claim
def test_blur_is_taken_off_every_radius(method: Method, guarantee: Guarantee) -> None:
    samples, field = drawn(CLEAR), CLEAR.field(drawn(CLEAR))
    sharp = judged(samples, field, guarantee, method)
    blurred = judged(samples, field, guarantee, method, blur=0.01)
    np.testing.assert_allclose(radii(blurred), np.maximum(radii(sharp) - 0.01, 0), atol=1.1e-6)
    assert blurred.expected == pytest.approx(max(sharp.expected - 0.01, 0))
    none_left = judged(samples, field, guarantee, method, blur=100.0)
    assert (*radii(none_left), none_left.expected) == (0, 0, 0)
    assert none_left.reason is not None


@every_claim
@pytest.mark.parametrize("clusters", [None, 3])
def test_slack_of_the_samples_shrinks_radii(
    method: Method, guarantee: Guarantee, clusters: int | None
) -> None:
    """Each sample may be off by so much; if by more than the space is wide, nothing is left."""
    exact, off, lost = (
        radii(issue(replace(random_world(16, clusters), space=replace(BALL, slack=slack)), guarantee, method))
        for slack in (0.0, 0.02, 2.0)
    )
    # But for where knots are, which depends on what is lost, too.
    assert (off < 1.08 * exact).all()
    assert lost.tolist() == [0, 0]


@pytest.mark.parametrize("rho", [0.5, 0.25, 0.375])
def test_a_radius_is_below_its_bound_even_where_that_has_six_digits(
    rho: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The product of σ and ρ is rounded, and so is what led to ρ."""
    monkeypatch.setattr("certify.sequential.SequentialTest.reached", lambda *_: Reached(rho, rho, rho))
    assert SIGMA * rho - 1.1e-6 < issue(CLEAR, "label", "cdf").radius < SIGMA * rho


# --- galleries without rivals


@every_claim
def test_alone_in_the_gallery_is_infinite(method: Method, guarantee: Guarantee) -> None:
    alone = replace(CLEAR, gallery=CLEAR.gallery[:1], labels=CLEAR.labels[:1])
    for n in (2, 3, N):
        assert radii(issue(alone, guarantee, method, n=n)).tolist() == [np.inf, np.inf]


@every_claim
def test_one_label_in_the_gallery_is_infinite_for_the_label_alone(
    method: Method, guarantee: Guarantee
) -> None:
    one_label = replace(CLEAR, labels=np.zeros(len(CLEAR.labels), dtype=np.int64))
    certificate = issue(one_label, guarantee, method)
    assert certificate.label_radius == np.inf
    assert 0 < certificate.item_radius < np.inf


# --- abstentions


@every_claim
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.5])
def test_a_sample_that_is_no_embedding_abstains(method: Method, guarantee: Guarantee, value: float) -> None:
    samples = drawn(CLEAR)
    field = CLEAR.field(samples)
    samples[700, 1] = value
    certificate = judged(samples, field, guarantee, method)
    assert (*radii(certificate), certificate.expected) == (0, 0, 0)
    assert certificate.ledger == {}
    assert certificate.reason is not None
    assert "not finite" in certificate.reason


def test_a_negative_sample_of_a_nonnegative_embedding_abstains() -> None:
    samples = np.array([[0.9, 0.1], [0.9, -1e-6]] * 100, dtype=np.float32)
    item = np.array([[0.9, 0.1]])
    rivals = Rivals.of(item, item[:0], samples.astype(np.float64)[:100].mean(axis=0))
    answers = [
        judged(samples, {"label": rivals}, "label", "paper", EmbeddingSpace(nonnegative)).radius
        for nonnegative in (False, True)
    ]
    assert answers == [np.inf, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("broken", ["rivals", "winners"])
def test_a_gallery_with_nan_certifies_nothing(method: Method, broken: str) -> None:
    samples = np.tile(np.array([1, 0], dtype=np.float32), (N, 1))
    near, far = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    nan = np.array([[np.nan, 0.0]])
    sound = Rivals.of(near, far, near[0])
    rivals = {
        "rivals": Rivals.of(near, np.concatenate([far, nan]), near[0]),
        "winners": replace(sound, winners=nan),
    }[broken]
    assert judged(samples, {"label": sound}, "label", method).radius > 0
    certificate = judged(samples, {"label": rivals}, "label", method)
    assert certificate.radius == 0
    assert certificate.reason == "the gallery holds a vector that is not finite"


@every_claim
@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_samples_are_refused(method: Method, guarantee: Guarantee, n: int) -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        judged(np.zeros((n, 3), np.float32), {}, guarantee, method)


@every_claim
@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_handful_of_samples_certifies_nothing(method: Method, guarantee: Guarantee, n: int) -> None:
    certificate = issue(CLEAR, guarantee, method, n=n)
    assert certificate.radius == 0
    too_few = "the first 128 samples only choose what to certify: raise max_samples, to 256 at least"
    too_close = f"a rival is too close to tell at alpha = 0.05 from {n} samples: raise max_samples"
    assert str(certificate.reason).startswith(too_few if certificate.terms.anytime else too_close)


@every_claim
def test_an_answer_that_the_selection_did_not_choose_abstains(method: Method, guarantee: Guarantee) -> None:
    """The selection sees the first value alone, all samples together the second."""
    world = line()
    samples = world.embed(np.repeat([-1.0, 1.0], [128, 472])).astype(np.float32)
    assert world.field(samples) == {}
    certificate = world.certify(samples, guarantee, method, ALPHA)
    assert (*radii(certificate), certificate.expected) == (0, 0, 0)
    assert certificate.reason == (
        f"the first 128 samples and all 600 disagree on the {guarantee} of the answer"
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("missing", CLAIMS)
def test_missing_rivals_cost_the_other_guarantee_nothing(method: Method, missing: Claim) -> None:
    asked: Guarantee = "item" if missing == "label" else "label"
    samples = drawn(CLEAR)
    field = CLEAR.field(samples)
    del field[missing]
    certificate = judged(samples, field, asked, method)
    assert certificate.radius == issue(CLEAR, asked, method).radius > 0
    # The same item has the same label; the other way round nothing follows.
    assert certificate.label_radius == certificate.radius
    assert certificate.item_radius == (certificate.radius if missing == "label" else 0)


@every_claim
@pytest.mark.parametrize("centre", ["one bit away", "of all samples"])
def test_rivals_around_another_point_are_refused(method: Method, guarantee: Guarantee, centre: str) -> None:
    samples = drawn(CLEAR)
    field = CLEAR.field(samples)
    point = np.nextafter(field["item"].centre, 1)
    if centre == "of all samples":
        point = samples.astype(np.float64).mean(axis=0)
    moved = replace(field["item"], centre=point)
    with pytest.raises(ValueError, match="centred"):
        judged(samples, {**field, "item": moved}, guarantee, method)


# --- terms


@pytest.mark.parametrize("sigma", [0.0, -0.5, np.inf, np.nan])
def test_sigma_is_positive_and_finite(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be"):
        Terms(sigma, ALPHA)


@pytest.mark.parametrize("target", [0.0, -0.5, np.inf, np.nan])
def test_a_target_is_positive_and_finite(target: float) -> None:
    with pytest.raises(ValueError, match="target radius must be"):
        Terms(SIGMA, ALPHA, target=target)


@every_claim
@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.5, np.nan])
def test_alpha_is_a_probability(method: Method, guarantee: Guarantee, alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must lie"):
        issue(CLEAR, guarantee, method, alpha=alpha)


@every_claim
@pytest.mark.parametrize("alpha", [0.05, 1e-9])
def test_the_ledger_sums_to_at_most_alpha(method: Method, guarantee: Guarantee, alpha: float) -> None:
    ledger = issue(CLEAR, guarantee, method, alpha=alpha).ledger
    assert sum(ledger.values()) <= alpha * (1 + 1e-12)
    if method in ("paper", "bisector"):  # one ball serves both
        assert ledger == {"ball around the mean embedding": alpha}
    else:
        other = "item" if guarantee == "label" else "label"
        assert ledger[f"{guarantee} guarantee"] == pytest.approx(0.9 * alpha)
        assert ledger[f"{other} guarantee"] == pytest.approx(0.1 * alpha)


@pytest.mark.parametrize("method", BETS)
def test_asking_for_a_guarantee_enlarges_its_radius(method: Method) -> None:
    label, item = issue(CLEAR, "label", method), issue(CLEAR, "item", method)
    assert label.label_radius > item.label_radius > 0
    assert item.item_radius > label.item_radius > 0


@every_bet
def test_a_target_is_reached_with_fewer_samples(method: Method, guarantee: Guarantee) -> None:
    """It is what bets aim at: radii beyond it are given up for it. The blur comes on top of it."""
    most, blur = issue(CLEAR, guarantee, method, n=10_000).radius, 0.01
    samples = drawn(CLEAR, 10_000)
    found = {}
    for target in (None, 0.7 * most):
        for n in rounds(10_000):
            horizon = 10_000 if target is None else 1000
            certificate = judged(
                samples[:n], CLEAR.field(samples[:n]), guarantee, method,
                horizon=horizon, target=target, blur=blur,
            )  # fmt: skip
            if certificate.radius >= 0.7 * most:
                break
        found[target] = n
        assert settled(certificate) is (target is not None)
    assert found[0.7 * most] < found[None]


@every_bet
def test_blur_comes_on_top_of_a_target(method: Method, guarantee: Guarantee) -> None:
    samples, target, blur = drawn(CLEAR), 0.05, 0.2
    field = CLEAR.field(samples)
    with_blur = judged(samples, field, guarantee, method, target=target, blur=blur)
    without = judged(samples, field, guarantee, method, target=target + blur)
    assert with_blur.expected == pytest.approx(max(without.expected - blur, 0), abs=1e-9)
    np.testing.assert_allclose(radii(with_blur), np.maximum(radii(without) - blur, 0), atol=1.1e-6)


@every_bet
def test_a_target_far_beyond_reach_is_given_up(method: Method, guarantee: Guarantee) -> None:
    samples = drawn(CLEAR, 512)
    target = 2 * CLEAR.true_radius(guarantee, 0)
    certificate = judged(samples, CLEAR.field(samples), guarantee, method, horizon=1000, target=target)
    assert certificate.radius < target
    assert certificate.expected < target
    assert settled(certificate)


# --- what may be expected


@every_bet
def test_the_expected_radius_is_about_what_more_samples_bring(method: Method, guarantee: Guarantee) -> None:
    samples = drawn(CLEAR, 6000)
    early = judged(samples[:600], CLEAR.field(samples[:600]), guarantee, method, horizon=6000)
    late = judged(samples, CLEAR.field(samples), guarantee, method, horizon=6000)
    assert early.expected == pytest.approx(late.radius, rel=0.25)
    assert early.radius < late.radius


@pytest.mark.parametrize("guarantee", CLAIMS)
def test_what_is_expected_is_of_the_guarantee_that_was_asked_for(guarantee: Guarantee) -> None:
    found = issue(CLEAR, guarantee, "cdf", n=4000)
    assert found.expected == pytest.approx(found.radius, rel=0.1)
    assert found.label_radius > 1.3 * found.item_radius


@every_bet
def test_what_is_expected_is_never_claimed(method: Method, guarantee: Guarantee) -> None:
    """Too few samples for alpha: nothing is certified of what looks clear."""
    found = issue(CLEAR, guarantee, method, n=256, alpha=1e-40)
    assert found.expected > 0
    assert radii(found).tolist() == [0, 0]
    assert found.reason is not None


@every_bet
def test_what_was_certified_after_a_block_stays_certified(method: Method, guarantee: Guarantee) -> None:
    samples = drawn(CLEAR, 2048)
    found = [
        radii(judged(samples[:n], CLEAR.field(samples[:n]), guarantee, method, horizon=4000))
        for n in (256, 512, 1024, 2048)
    ]
    assert all((later >= earlier - NOISE).all() for earlier, later in pairwise(found))
    assert (found[3] > 0).all()


# --- the selection


@pytest.mark.parametrize(
    ("n", "selected"),
    [(2, 2), (50, 50), (127, 127), (128, 128), (129, 128), (255, 128), (256, 128), (1000, 128), (10**6, 128)],
)
def test_selection_size(n: int, selected: int) -> None:
    assert selection_size(n) == selected

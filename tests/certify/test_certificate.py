"""What `certify` puts together: the two guarantees, the ledger, the selection, and when it abstains."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify import (
    GUARANTEES,
    METHODS,
    Certificate,
    EmbeddingSpace,
    Guarantee,
    Listing,
    Method,
    certify,
    selection_size,
)
from certify.certificate import chosen_margins
from tests.certify.worlds import World, briefly, steps

Array = NDArray[np.float64]
ALPHA = 0.05
BALL = EmbeddingSpace(norm_bound=1.0)
every_claim = pytest.mark.parametrize(
    ("method", "guarantee"), [(method, guarantee) for method in METHODS for guarantee in GUARANTEES]
)


def random_world(seed: int, listed: int = 100) -> World:
    """Three values of h, the middle one most of the time, among ten items of four labels; one is near it."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((3, 3))
    values /= np.linalg.norm(values, axis=1, keepdims=True) * 1.01
    gallery = 0.6 * rng.standard_normal((10, 3))
    gallery[0] = values[1] + 0.05 * rng.standard_normal(3)
    gallery[1] = values[1] + 0.4 * rng.standard_normal(3)
    embed, smoothed = steps([-0.9, 1.1], values, 0.5)
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3])
    return World(embed, smoothed, 0.0, 0.5, gallery, labels, BALL, listed)


def issue(
    world: World, guarantee: Guarantee, method: Method, *, n: int = 800, alpha: float = ALPHA
) -> Certificate:
    return world.certify(world.draw(np.random.default_rng(1), n), guarantee, method, alpha)


def with_item(world: World, vector: Array, label: int) -> World:
    return replace(
        world,
        gallery=np.concatenate([world.gallery, vector[None]]),
        labels=np.append(world.labels, label),
        truths={},
    )


# A query that every method can certify, with a label radius that does not rest on the item radius.
CLEAR = random_world(265)


def gathered(samples: Array, selected: int, listing: Listing) -> Array:
    """The rows of all blocks (K, n), sorted by their first value, at the samples that all of them have."""
    blocks = list(chosen_margins(samples, selected, listing, BALL))
    common = min(block.values.shape[1] for block in blocks)
    rows = np.concatenate([block.values[:, :common] for block in blocks])
    return np.asarray(rows[np.argsort(rows[:, 0])])


def radii(certificate: Certificate) -> Array:
    return np.array([certificate.label_radius, certificate.item_radius])


@every_claim
def test_clear_query_gets_both_radii(method: Method, guarantee: Guarantee) -> None:
    """The tests below that compare radii compare these: they are not zero."""
    certificate = issue(CLEAR, guarantee, method)
    assert certificate.label_radius >= certificate.item_radius > 0
    assert certificate.radius == (
        certificate.label_radius if guarantee == "label" else certificate.item_radius
    )
    assert certificate.reason is None
    assert (certificate.samples, certificate.sigma, certificate.alpha) == (800, 0.5, ALPHA)
    assert (certificate.method, certificate.guarantee) == (method, guarantee)


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
    world = random_world(seed)
    far = np.random.default_rng(seed).standard_normal(3)
    more = with_item(world, 2 * far / np.linalg.norm(far), label)
    assert (radii(issue(more, guarantee, method)) <= radii(issue(world, guarantee, method))).all()


@every_claim
@briefly
@given(seed=st.integers(0, 2**32), factor=st.floats(1, 10))
def test_radius_is_proportional_to_sigma_for_the_same_samples(
    method: Method, guarantee: Guarantee, seed: int, factor: float
) -> None:
    world = random_world(seed)
    samples = world.draw(np.random.default_rng(1), 800)
    scaled = replace(world, sigma=factor * world.sigma).certify(samples, guarantee, method, ALPHA)
    expected = factor * radii(world.certify(samples, guarantee, method, ALPHA))
    np.testing.assert_allclose(radii(scaled), expected, atol=1e-6 * (factor + 1))


@every_claim
@briefly
@given(seed=st.integers(0, 2**32), alpha=st.floats(1e-6, 0.3), factor=st.floats(1, 3))
def test_more_alpha_never_shrinks_a_radius(
    method: Method, guarantee: Guarantee, seed: int, alpha: float, factor: float
) -> None:
    world = random_world(seed)
    strict, loose = (issue(world, guarantee, method, alpha=a) for a in (alpha, factor * alpha))
    assert (radii(strict) <= radii(loose)).all()


@every_claim
def test_more_samples_enlarge_the_radius(method: Method, guarantee: Guarantee) -> None:
    means = [
        np.mean(
            [
                CLEAR.certify(CLEAR.draw(np.random.default_rng(s), n), guarantee, method, ALPHA).radius
                for s in range(20)
            ]
        )
        for n in (400, 1600, 6400)
    ]
    assert means[0] < means[1] < means[2] < CLEAR.true_radius(guarantee, 0)


@briefly
@given(seed=st.integers(0, 2**32), listed=st.integers(0, 9))
def test_bisector_is_never_below_paper(seed: int, listed: int) -> None:
    world = random_world(seed, listed)
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


@every_claim
@briefly
@given(seed=st.integers(0, 2**32), listed=st.integers(0, 9))
def test_unlisted_rivals_limit_the_radius(
    method: Method, guarantee: Guarantee, seed: int, listed: int
) -> None:
    """What is not listed may be right behind its bound: as near as the winner, it leaves nothing."""
    world = random_world(seed, listed)
    samples = world.draw(np.random.default_rng(1), 800)
    claims = {
        claim: replace(listing, outside=float(np.linalg.norm(listing.winners[0] - listing.centre)))
        for claim, listing in world.listings(samples).items()
    }
    certificate = certify(
        samples, claims, sigma=0.5, alpha=ALPHA, guarantee=guarantee, method=method, space=BALL
    )
    assert radii(certificate).tolist() == [0, 0]


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("method", ["bisector", "paper"])
@briefly
@given(seed=st.integers(0, 2**32), listed=st.integers(0, 9))
def test_a_complete_listing_is_never_worse_for_the_ball(
    method: Method, guarantee: Guarantee, seed: int, listed: int
) -> None:
    """Methods `mean` and `cdf` promise no such order: fewer margins share alpha. See the soundness tests."""
    complete, partial = (issue(random_world(seed, some), guarantee, method) for some in (100, listed))
    assert (radii(partial) <= radii(complete)).all()


@every_claim
def test_alone_in_the_gallery_is_infinite(method: Method, guarantee: Guarantee) -> None:
    alone = replace(CLEAR, gallery=CLEAR.gallery[:1], labels=CLEAR.labels[:1])
    for n in (2, 3, 800):
        assert radii(issue(alone, guarantee, method, n=n)).tolist() == [np.inf, np.inf]


@every_claim
def test_one_label_in_the_gallery_is_infinite_for_the_label_alone(
    method: Method, guarantee: Guarantee
) -> None:
    one_label = replace(CLEAR, labels=np.zeros(10, dtype=np.int64))
    certificate = issue(one_label, guarantee, method)
    assert certificate.label_radius == np.inf
    assert 0 < certificate.item_radius < np.inf


@every_claim
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.5])
def test_a_sample_that_is_no_embedding_abstains(method: Method, guarantee: Guarantee, value: float) -> None:
    samples = CLEAR.draw(np.random.default_rng(0), 800)
    listings = CLEAR.listings(samples)
    samples[700, 1] = value
    certificate = certify(
        samples, listings, sigma=0.5, alpha=ALPHA, guarantee=guarantee, method=method, space=BALL
    )
    assert radii(certificate).tolist() == [0, 0]
    assert certificate.ledger == {}
    assert certificate.reason is not None
    assert "not finite" in certificate.reason


def test_a_negative_sample_of_a_nonnegative_embedding_abstains() -> None:
    samples = np.array([[0.9, 0.1], [0.9, -1e-6]] * 100, dtype=np.float32)
    item = np.array([[0.9, 0.1]])
    listing = Listing(item, item[:0], samples.astype(np.float64)[:50].mean(axis=0), np.inf)
    answers = [
        certify(
            samples,
            {"label": listing},
            sigma=0.5,
            alpha=ALPHA,
            guarantee="label",
            method="paper",
            space=EmbeddingSpace(nonnegative),
        ).radius
        for nonnegative in (False, True)
    ]
    assert answers == [np.inf, 0]


@every_claim
@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_samples_are_refused(method: Method, guarantee: Guarantee, n: int) -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        certify(
            np.zeros((n, 3), np.float32),
            {},
            sigma=0.5,
            alpha=ALPHA,
            guarantee=guarantee,
            method=method,
            space=BALL,
        )


@every_claim
@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_handful_of_samples_certifies_nothing(method: Method, guarantee: Guarantee, n: int) -> None:
    certificate = issue(CLEAR, guarantee, method, n=n)
    assert certificate.radius == 0
    assert certificate.reason is not None


@every_claim
def test_an_answer_that_the_selection_did_not_choose_abstains(method: Method, guarantee: Guarantee) -> None:
    """The selection sees the first value alone, all samples together the second."""
    embed, smoothed = steps([0.0], np.array([[-1.0, 0.0], [1.0, 0.0]]), 0.5)
    world = World(embed, smoothed, 0.0, 0.5, np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([0, 1]))
    samples = world.embed(np.repeat([-1.0, 1.0], [50, 350])).astype(np.float32)
    assert world.listings(samples) == {}
    certificate = world.certify(samples, guarantee, method, ALPHA)
    assert radii(certificate).tolist() == [0, 0]
    assert certificate.ledger == {}
    assert certificate.reason == f"the first 50 samples and all 400 disagree on the {guarantee} of the answer"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("missing", GUARANTEES)
def test_a_missing_listing_costs_the_other_guarantee_nothing(method: Method, missing: Guarantee) -> None:
    asked: Guarantee = "item" if missing == "label" else "label"
    samples = CLEAR.draw(np.random.default_rng(1), 800)
    listings = CLEAR.listings(samples)
    del listings[missing]
    certificate = certify(
        samples, listings, sigma=0.5, alpha=ALPHA, guarantee=asked, method=method, space=BALL
    )
    assert certificate.radius == issue(CLEAR, asked, method).radius > 0
    # The same item has the same label; the other way round nothing follows.
    assert certificate.label_radius == certificate.radius
    assert certificate.item_radius == (certificate.radius if missing == "label" else 0)


@every_claim
def test_a_listing_around_another_point_is_refused(method: Method, guarantee: Guarantee) -> None:
    samples = CLEAR.draw(np.random.default_rng(1), 800)
    listings = CLEAR.listings(samples)
    moved = replace(listings["item"], centre=np.nextafter(listings["item"].centre, 1))
    with pytest.raises(ValueError, match="centred"):
        certify(
            samples,
            {**listings, "item": moved},
            sigma=0.5,
            alpha=ALPHA,
            guarantee=guarantee,
            method=method,
            space=BALL,
        )


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


@pytest.mark.parametrize("method", ["cdf", "mean"])
def test_asking_for_a_guarantee_enlarges_its_radius(method: Method) -> None:
    label, item = issue(CLEAR, "label", method), issue(CLEAR, "item", method)
    assert label.label_radius > item.label_radius > 0
    assert item.item_radius > label.item_radius > 0


@pytest.mark.parametrize("method", ["cdf", "mean"])
@pytest.mark.parametrize("listed", [2, 100])
def test_the_selection_chooses_and_does_not_certify(method: Method, listed: int) -> None:
    """One candidate, so nothing to choose: other selection samples must leave the radius as it is."""
    samples = CLEAR.draw(np.random.default_rng(1), 800)
    selected = selection_size(800)
    listing = replace(CLEAR, listed=listed).listings(samples)["item"]
    found = []
    for shift in (0.0, 0.3):
        samples[:selected] = np.array([shift, 0.2, 0.1], dtype=np.float32)
        centre = samples.astype(np.float64)[:selected].mean(axis=0)
        if not listing.complete:
            # The same items outside, seen from the new centre.
            listing = replace(listing, outside=3.0)
        moved = replace(listing, centre=centre)
        found.append(gathered(samples.astype(np.float64), selected, moved))
        margins = list(chosen_margins(samples.astype(np.float64), selected, moved, BALL))
        assert sum(len(block.values) for block in margins) == len(listing.rivals) + (not listing.complete)
    exact = samples.astype(np.float64)[selected:]
    to_winner = ((exact - listing.winners[0]) ** 2).sum(axis=1)
    to_rivals = ((exact[None] - listing.rivals[:, None]) ** 2).sum(axis=2)
    pairs = (to_rivals - to_winner) / 2
    for rows in found:
        for pair in pairs:
            assert np.isclose(rows, pair[: rows.shape[1]], atol=1e-12).all(axis=1).any()


@briefly
@given(seed=st.integers(0, 2**32), listed=st.integers(0, 9))
def test_the_certification_samples_do_not_choose(seed: int, listed: int) -> None:
    """A pair shows in the range of its margin: other certification samples, the same pairs."""
    world = random_world(seed, listed)
    samples = world.draw(np.random.default_rng(seed), 400)
    selected = selection_size(400)
    listing = world.listings(samples).get("label")
    if listing is None:
        return
    exact = samples.astype(np.float64)
    other = exact.copy()
    other[selected:] = -other[selected:]
    blocks = (list(chosen_margins(some, selected, listing, BALL)) for some in (exact, other))
    for one, two in zip(*blocks, strict=True):
        np.testing.assert_array_equal(one.lower, two.lower)
        np.testing.assert_array_equal(one.upper, two.upper)


@pytest.mark.parametrize(
    ("n", "selected"),
    [(2, 1), (3, 1), (50, 25), (100, 50), (1000, 50), (1020, 51), (10_000, 500), (10**6, 500)],
)
def test_selection_size(n: int, selected: int) -> None:
    assert selection_size(n) == selected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("broken", ["rivals", "winners", "outside"])
def test_a_listing_with_nan_certifies_nothing(method: Method, broken: str) -> None:
    samples = np.tile(np.array([1, 0], dtype=np.float32), (800, 1))
    near, far = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    nan = np.array([[np.nan, 0.0]])
    sound = Listing(near, far, near[0], np.inf)
    listing = {
        "rivals": replace(sound, rivals=np.concatenate([far, nan])),
        "winners": replace(sound, winners=nan),
        "outside": replace(sound, outside=np.nan),
    }[broken]
    claim: dict[Guarantee, Listing] = {"label": listing}
    certificate = certify(
        samples, claim, sigma=0.5, alpha=ALPHA, guarantee="label", method=method, space=BALL
    )
    assert certificate.radius == 0
    assert certificate.reason == "the gallery holds a vector that is not finite"


@every_claim
@pytest.mark.parametrize("sigma", [0.0, -0.5, np.inf, np.nan])
def test_sigma_is_positive_and_finite(method: Method, guarantee: Guarantee, sigma: float) -> None:
    samples = CLEAR.draw(np.random.default_rng(1), 800)
    with pytest.raises(ValueError, match="sigma must be"):
        replace(CLEAR, sigma=sigma).certify(samples, guarantee, method, ALPHA)


@pytest.mark.parametrize("method", ["cdf", "mean"])
@pytest.mark.parametrize("listed", [4, 100])
def test_margins_in_blocks_are_all_margins(
    method: Method, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = replace(CLEAR, listed=listed)
    whole = radii(issue(world, "label", method))
    for rows in (1, 3):
        monkeypatch.setattr("certify.certificate.BLOCK", rows * (800 - selection_size(800)))
        assert radii(issue(world, "label", method)).tolist() == whole.tolist()

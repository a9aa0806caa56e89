"""Looks: whatever came before, each gives the certificate that it would give alone, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify import CLAIMS, Certifier, Claim, Guarantee, Method, Rivals, Terms, certify, horizon_for, rounds
from certify.playbook import Playbook
from certify.rounds import TARGET_HORIZON
from certify.sequential import SequentialTest
from tests.certify.soundness import ALPHA, Case, simulate
from tests.certify.worlds import BALL, SIGMA, WORLDS, World, briefly, world_of

Array = NDArray[np.float64]
Samples = NDArray[np.float32]
BETS: tuple[Method, ...] = ("cdf", "mean")
MOST = 2600


def many(seed: int) -> tuple[Samples, dict[Claim, Rivals]]:
    """A contest of many rivals in clusters, some of which have to be opened.

    Samples (n, 70) are near one of four twins, but for short runs near one of the rivals.
    """
    rng = np.random.default_rng(seed)
    gallery = rng.standard_normal((150, 70))
    gallery *= rng.uniform(0.5, 0.9, (150, 1)) / np.linalg.norm(gallery, axis=1, keepdims=True)
    gallery[:4] = gallery[0] + 0.02 * rng.standard_normal((4, 70))
    gallery[4:12] = 0.9 * gallery[0] + 0.05 * rng.standard_normal((8, 70))
    samples = 0.85 * gallery[rng.choice(4, MOST)] + 0.01 * rng.standard_normal((MOST, 70))
    for first in rng.integers(256, MOST, 8):
        samples[first : first + rng.integers(1, 6)] = 0.9 * gallery[rng.integers(12, 150)]
    samples /= np.maximum(1.01 * np.linalg.norm(samples, axis=1, keepdims=True), 1)
    drawn = samples.astype(np.float32)
    place = World(
        lambda u: u, lambda u: u, 0.0, SIGMA, gallery, (np.arange(150) > 3).astype(np.int64), BALL,
        np.append([0] * 12, 1 + np.arange(138) % 20),
    )  # fmt: skip
    return drawn, place.field(np.concatenate([drawn[:128], drawn[:128]]))


def counts_of(rng: np.random.Generator, most: int) -> list[int]:
    """Some numbers of samples, at the borders of blocks and between, in rising order, one of them twice."""
    found = rng.integers(256, most + 1, rng.integers(1, 6)).tolist()
    found += rng.choice([256, 384, 512, 640, 1024, 2048], 2).tolist()
    return sorted([*found, found[0]])


# --- each look is what it would be alone


@pytest.mark.parametrize("method", BETS)
@pytest.mark.parametrize("guarantee", CLAIMS)
@pytest.mark.parametrize("horizon", [None, 1000, MOST])
@pytest.mark.parametrize("target", [None, 0.1])
def test_a_look_is_the_same_whatever_looks_came_before(
    method: Method, guarantee: Guarantee, horizon: int | None, target: float | None
) -> None:
    """With any claims withheld at some of them, and samples in other arrays of another precision."""
    terms = Terms(SIGMA, ALPHA, guarantee, method, horizon, target, blur=0.001)
    positive = 0
    for seed in (3, 5):
        rng = np.random.default_rng(seed)
        samples, field = many(seed)
        certifier = Certifier(field, BALL, terms)
        for count in counts_of(rng, MOST):
            claims = [claim for claim in CLAIMS if rng.random() < 0.8]
            some = samples[:count].astype(np.float64 if rng.random() < 0.5 else np.float32)
            found = certifier.certificate(some, claims)
            kept = {claim: rivals for claim, rivals in field.items() if claim in claims}
            assert found == certify(samples[:count], kept, BALL, terms)
            positive += found.radius > 0
    assert positive > 3


@pytest.mark.parametrize("number", range(len(WORLDS)), ids=WORLDS)
@pytest.mark.parametrize("horizon", [None, TARGET_HORIZON])
def test_looks_in_every_world_are_those_from_scratch(number: int, horizon: int | None) -> None:
    """After every round; claims are what the answer that is served at that look allows.

    Guarantees take turns: all are asked for in a third of the worlds each, `many` has them in every one.
    """
    world = world_of(list(WORLDS)[number])
    guarantee = CLAIMS[(number + (horizon is None)) % len(CLAIMS)]
    samples = world.draw(np.random.default_rng(number), 1500)
    certifier = Certifier(
        world.rivals(samples),
        world.space,
        Terms(world.sigma, ALPHA, guarantee, horizon=horizon, comparisons=world.comparisons),
    )
    for count in rounds(1500):
        allowed = world.field(samples[:count])
        found = certifier.certificate(samples[:count], allowed.keys())
        assert found == world.certify(samples[:count], guarantee, "cdf", ALPHA, horizon)


@pytest.mark.parametrize("method", BETS)
def test_every_number_of_samples_up_to_1000_is_a_reading_of_one_test(method: Method) -> None:
    """As the service plans: whoever asks with all of them has asked once."""
    world = world_of("staircase")
    samples = world.draw(np.random.default_rng(0), 1000)
    terms = Terms(world.sigma, ALPHA, method=method, horizon=horizon_for(1000, None))
    certifier, radii = Certifier(world.rivals(samples), world.space, terms), []
    for count in (*range(2, 400, 31), 500, 777, 1000):
        alone = world.certify(samples[:count], "label", method, ALPHA, horizon_for(count, None))
        if count <= 128:
            assert alone.radius == 0
            assert "only choose" in str(alone.reason)
        else:
            assert alone == certifier.certificate(samples[:count], world.field(samples[:count]).keys())
        radii.append(alone.radius)
    assert radii[-1] > 0


@briefly
@given(n=st.integers(2, 300))
def test_few_samples_in_one_look_or_two(n: int) -> None:
    samples = world_of("staircase").draw(np.random.default_rng(n), n)
    field = world_of("staircase").field(samples)
    terms = Terms(SIGMA, 0.5, horizon=n)
    certifier = Certifier(field, BALL, terms)
    first = certifier.certificate(samples)
    assert first == certifier.certificate(samples) == certify(samples, field, BALL, terms)


def test_a_later_look_plans_no_block_of_an_earlier_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[int] = []
    playbook = SequentialTest._playbook

    def counted(test: SequentialTest, seen: Array, unseen: Array, first: int) -> Playbook:
        planned.append(first)
        return playbook(test, seen, unseen, first)

    samples, field = many(1)
    certifier = Certifier({"label": field["label"]}, BALL, Terms(SIGMA, ALPHA))
    certifier.certificate(samples[:2048])
    monkeypatch.setattr(SequentialTest, "_playbook", counted)
    certifier.certificate(samples[:2048])
    certifier.certificate(samples[:2176])
    certifier.certificate(samples[:2304])
    assert planned == [2048]  # the next block, once


# --- what looks refuse, and what they withhold


@pytest.mark.parametrize("withheld", CLAIMS)
@pytest.mark.parametrize("guarantee", CLAIMS)
def test_a_guarantee_that_is_withheld_is_as_if_it_had_no_listing(
    guarantee: Guarantee, withheld: Claim
) -> None:
    samples = world_of("crowd").draw(np.random.default_rng(0), 2000)
    field, terms = world_of("crowd").field(samples), Terms(SIGMA, ALPHA, guarantee)
    certifier = Certifier(field, BALL, terms)
    before = certifier.certificate(samples[:1024])
    assert before.label_radius > before.item_radius > 0
    others: list[Claim] = [claim for claim in CLAIMS if claim != withheld]
    found = certifier.certificate(samples[:1500], others)
    assert found == certify(samples[:1500], {claim: field[claim] for claim in others}, BALL, terms)
    # An answer that stays the same item keeps its label; the other way round nothing follows.
    assert (found.item_radius == 0) is (withheld == "item")
    assert found.ledger.keys() == {f"{claim} guarantee" for claim in others}
    assert (found.expected == 0) is (withheld == guarantee)
    nothing = certifier.certificate(samples[:1501], ())
    assert nothing.label_radius == nothing.item_radius == 0
    assert nothing.reason == f"the first 128 samples and all 1501 disagree on the {guarantee} of the answer"
    # What was withheld once may be claimed again.
    assert certifier.certificate(samples) == certify(samples, field, BALL, terms)


@pytest.mark.parametrize("method", ["paper", "bisector"])
def test_methods_for_one_number_of_samples_have_no_looks(method: Method) -> None:
    with pytest.raises(ValueError, match="one number of samples"):
        Certifier({}, BALL, Terms(SIGMA, ALPHA, method=method))


def test_looks_only_grow() -> None:
    samples, field = many(0)
    certifier = Certifier(field, BALL, Terms(SIGMA, ALPHA))
    certifier.certificate(samples[:600])
    with pytest.raises(ValueError, match="looks only grow"):
        certifier.certificate(samples[:599])


def test_other_samples_are_refused() -> None:
    """Those whose selection is another one: rivals are around the first."""
    samples, field = many(0)
    certifier = Certifier(field, BALL, Terms(SIGMA, ALPHA))
    certifier.certificate(samples[:600])
    with pytest.raises(ValueError, match="centred"):
        certifier.certificate(samples[::-1][:1000])


def test_a_sample_that_is_no_embedding_voids_this_look_and_all_later_ones() -> None:
    samples, field = many(2)
    certifier = Certifier(field, BALL, Terms(SIGMA, ALPHA))
    assert certifier.certificate(samples[:1024]).radius > 0
    broken = samples.copy()
    broken[1100, 3] = np.nan
    for count in (1200, 1200, 2000):
        found = certifier.certificate(broken[:count])
        assert found.radius == 0
        assert found.ledger == {}
        assert found == certify(broken[:count], field, BALL, Terms(SIGMA, ALPHA))


# --- without a horizon


@pytest.mark.parametrize("name", ["staircase", "herd", "mixture"])
def test_without_a_horizon_every_reading_holds(name: str) -> None:
    """A false claim at any look of a sequence counts. Controls that fail this are in `soundness`."""
    for case in (Case(n=1152, anytime=True), Case(method="mean", guarantee="item", n=640, anytime=True)):
        outcome = simulate(world_of(name), case, repetitions=20)
        assert not outcome.refutes(ALPHA)


@pytest.mark.parametrize("target", [0.9, 1.001])
def test_without_a_horizon_a_target_at_the_truth_does_not_tempt(target: float) -> None:
    world = world_of("staircase")
    truth = world.true_radius("label", int(world.nearest(world.smoothed(np.array([world.position])))[0]))
    case = Case(n=1152, anytime=True, target=target * truth)
    assert not simulate(world, case, repetitions=20).refutes(ALPHA)

"""Rule `vote`: the certificate of Cohen et al. 2019; doubt and the unknown count against the answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import beta

from certify import Certificate, Claim, Guarantee, Terms, certify_votes, selection_size
from certify.votes import vote_pairs
from tests.certify.worlds import briefly, seeded

Votes = NDArray[np.int64]
SIGMA = 0.5
ALPHA = 0.05
# What the guarantee that was asked for has to spend.
SPENT = 0.9 * ALPHA
seeds = st.integers(0, 2**32)


def cast(seed: int, n: int, shares: list[float]) -> Votes:
    """Votes (n,) for 0, 1, ... in these shares, up to rounding, in random order; what is left is in doubt.

    In the selection as in the rest.
    """
    rng = np.random.default_rng(seed)
    edges = np.append(np.cumsum(shares), 1.0)
    parts = []
    for size in (selection_size(n), n - selection_size(n)):
        found = np.searchsorted(edges, (np.arange(size) + 0.5) / max(size, 1), side="right")
        parts.append(rng.permutation(np.where(found < len(shares), found, -1)))
    return np.concatenate(parts)


def items(votes: Votes, answer: int = 0, **terms: float) -> Certificate:
    """With bets for just these votes, if no horizon is given."""
    known = {"horizon": max(len(votes), 1), **terms}
    return certify_votes({"item": votes}, {"item": answer}, Terms(SIGMA, ALPHA, "item", **known))  # type: ignore[arg-type]


def both(labels: Votes, rows: Votes, label: int = 0, item: int = 0) -> Certificate:
    return certify_votes({"label": labels, "item": rows}, {"label": label, "item": item}, Terms(SIGMA, ALPHA))


def last_block_changed(votes: Votes, change: NDArray[np.bool_], to: int) -> Votes:
    """The bets on the last block of 600 to 1023 votes are made before it."""
    changed = votes.copy()
    changed[512:][change[512:]] = to
    return changed


# --- the radius of Cohen et al.


@pytest.mark.parametrize("n", [256, 300, 1000, 10_000])
def test_a_unanimous_vote_is_just_below_what_any_test_could_claim(n: int) -> None:
    """If the share of the answer were p, all would vote for it with probability p^n: so p >= alpha^(1/n)."""
    radius = items(np.zeros(n, np.int64)).radius
    largest = SIGMA * ndtri(SPENT ** (1 / (n - selection_size(n))))
    assert 0.95 * largest < radius <= largest


@seeded
@given(n=st.integers(2, 3000), alpha=st.floats(1e-9, 0.9))
def test_a_unanimous_vote_never_claims_more(n: int, alpha: float) -> None:
    certificate = certify_votes({"item": np.ones(n, np.int64)}, {"item": 1}, Terms(SIGMA, alpha, "item"))
    bet_on = n - selection_size(n)
    share = (0.9 * alpha) ** (1 / bet_on) if bet_on else 0.5
    assert certificate.radius <= max(SIGMA * ndtri(share), 0.0)


@pytest.mark.parametrize("share", [0.7, 0.9, 0.98])
@pytest.mark.parametrize("seed", range(3))
def test_two_labels_get_about_the_radius_of_cohen(share: float, seed: int) -> None:
    """σ Φ⁻¹ of the Clopper-Pearson bound, for one n; a bet that may be read at any time costs a little."""
    votes = cast(seed, 4000, [share, 1 - share])
    counted, against = np.count_nonzero(votes[128:] == 0), np.count_nonzero(votes[128:] == 1)
    clopper_pearson = SIGMA * ndtri(beta.ppf(SPENT, counted, against + 1))
    frequency = SIGMA * ndtri(counted / (counted + against))
    assert 0.92 * clopper_pearson < items(votes).radius < frequency


@seeded
@given(votes=st.lists(st.integers(0, 1), min_size=256, max_size=400), answer=st.integers(0, 1))
def test_only_one_of_two_labels_gets_a_radius(votes: list[int], answer: int) -> None:
    chosen = int(np.bincount(votes[:128], minlength=2).argmax())
    certificate = items(np.array(votes), answer)
    assert certificate.radius == 0 or answer == chosen


def test_a_tie_among_the_first_votes_goes_to_the_smallest_number() -> None:
    tied = np.tile([1, 0], 64)
    assert items(np.append(tied, np.zeros(800, np.int64)), 0).radius > 0
    assert items(np.append(tied, np.ones(800, np.int64)), 1).radius == 0


@pytest.mark.parametrize("answer", [0, 1])
def test_half_of_the_votes_is_not_enough(answer: int) -> None:
    assert items(cast(0, 5000, [0.5, 0.5]), answer).radius == 0


def test_most_votes_are_enough_without_a_majority() -> None:
    """The margin over each rival counts: 0.45 against 0.2 + 0.2 + 0.15, all known from the first votes."""
    assert items(cast(0, 5000, [0.45, 0.2, 0.2, 0.15])).radius > 0.05


# --- what counts against


@seeded
@given(
    st.lists(st.integers(-1, 4), min_size=8, max_size=60),
    st.lists(st.integers(0, 6), min_size=60, max_size=60),
)
def test_no_margin_is_larger_than_any_truth_behind_a_doubt(votes: list[int], truths: list[int]) -> None:
    """Whatever the votes in doubt are for, the margin of each rival is at most vote for - vote against."""
    seen = np.array(votes)
    selected = len(seen) // 2
    first = seen[:selected][seen[:selected] >= 0]
    if not len(first):
        assert vote_pairs(seen, selected, 0) is None
        return
    answer = int(np.bincount(first).argmax())
    chosen = vote_pairs(seen, selected, answer)
    assert chosen is not None
    pairs, indicators = chosen
    values = pairs.weights @ indicators.T - pairs.offsets[:, None]
    assert (values >= pairs.lower[:, None]).all()
    assert (values <= pairs.upper[:, None]).all()
    named = sorted(set(first.tolist()) - {answer})
    assert len(pairs) == len(named) + 1
    true = np.where(seen < 0, np.array(truths)[: len(seen)], seen)
    for rival in sorted({*range(7)} - {answer}):
        row = named.index(rival) if rival in named else -1
        exact = 1.0 * (true == answer) - (true == rival)
        assert (values[row] <= exact).all()
        if rival in named:
            assert (values[row][seen >= 0] == exact[seen >= 0]).all()


@briefly
@given(seed=seeds, n=st.integers(600, 1023), share=st.floats(0.02, 0.3), to=st.sampled_from([-1, 1, 2, 9]))
def test_votes_lost_to_doubt_or_rivals_never_enlarge(seed: int, n: int, share: float, to: int) -> None:
    votes = cast(seed, n, [0.8, 0.15, 0.05])
    change = (np.random.default_rng(seed).random(n) < share) & (votes == 0)
    assert items(last_block_changed(votes, change, to)).radius <= items(votes).radius + 2e-6


@pytest.mark.parametrize("to", [-1, 1, 9])
def test_each_vote_lost_to_doubt_or_rivals_counts(to: int) -> None:
    """To the rival that is known, or to one that is not; what was certified after 512 votes is not lost."""
    votes = cast(0, 1000, [0.8, 0.2] if to == 1 else [1.0])
    radii = []
    for lost in (0, 1, 2, 100):
        change = np.zeros(1000, np.bool_)
        change[600 + np.flatnonzero(votes[600:] == 0)[:lost]] = True
        radii.append(items(last_block_changed(votes, change, to)).radius)
    assert radii[0] > radii[1] > radii[2] >= radii[3]
    assert radii[3] == pytest.approx(items(votes[:512], horizon=1000).radius, abs=2e-6)


@briefly
@given(seed=seeds, n=st.integers(600, 1023))
def test_doubt_is_no_better_than_a_vote_for_the_rival(seed: int, n: int) -> None:
    votes = cast(seed, n, [0.8, 0.2])
    doubtful = last_block_changed(votes, votes == 1, -1)
    assert 0 < items(doubtful).radius <= items(votes).radius + 2e-6


def test_labels_that_the_first_votes_do_not_name_count_together() -> None:
    """Each of 100 has a share of 0.4 %, all of them as much as one that has 40 %."""
    votes = cast(0, 4000, [1.0])
    spread, one = votes.copy(), votes.copy()
    late = 128 + np.flatnonzero(np.random.default_rng(0).random(4000 - 128) < 0.4)
    spread[late], one[late] = 1 + np.arange(len(late)) % 100, 1
    assert items(spread).radius == items(one).radius
    assert 0 <= items(one).radius < SIGMA * ndtri(0.7)


def test_copies_that_vote_for_nobody_choose_nobody() -> None:
    votes = np.append(np.full(128, -1), np.zeros(800, np.int64))
    certificate = items(votes)
    assert certificate.radius == 0
    assert certificate.reason == "the first 128 samples and all 928 disagree on the item of the answer"
    assert certificate.ledger == {}


# --- guarantees


def item_of_a_sure_label(rows: Votes, item: int = 0) -> float:
    """The radius of `item` when the label was asked for and gets every vote."""
    return both(np.zeros(len(rows), np.int64), rows, item=item).item_radius


@briefly
@given(seed=seeds, label=st.floats(0.55, 0.99), item=st.floats(0.5, 1.0))
def test_an_item_keeps_its_place_while_it_and_its_label_keep_most_votes(
    seed: int, label: float, item: float
) -> None:
    """Guarantee `label`: the item is served that has most votes in the label that has most."""
    labels = cast(seed, 1500, [label, 1 - label])
    rows = np.where(labels == 0, cast(seed + 1, 1500, [item, 1 - item]), 2)
    answer = int(np.bincount(rows[labels == 0]).argmax())
    found = both(labels, rows, item=answer)
    assert found.item_radius == min(found.label_radius, item_of_a_sure_label(rows, answer))


def test_an_item_of_a_label_in_doubt_is_in_doubt() -> None:
    """Its votes are far ahead of each other item's, those of its label just ahead of another label's."""
    rows = cast(0, 3000, [0.52, 0.12, 0.12, 0.12, 0.12])
    labels = np.where(rows == 0, 0, 1)
    found = both(labels, rows)
    assert found.item_radius == found.label_radius < item_of_a_sure_label(rows)
    assert item_of_a_sure_label(rows) > 0.1


def test_the_other_guarantee_is_reported_beside_the_one_that_was_asked_for() -> None:
    labels, rows = cast(0, 2000, [0.95, 0.05]), cast(0, 2000, [0.8, 0.15, 0.05])
    found = both(labels, rows)
    assert found.radius == found.label_radius > found.item_radius > 0
    assert found.reason is None
    assert found.ledger == pytest.approx({"label guarantee": SPENT, "item guarantee": 0.1 * ALPHA})


def test_guarantee_item_needs_no_votes_for_labels() -> None:
    found = items(cast(0, 2000, [0.8, 0.2]))
    # The same item has the same label.
    assert found.label_radius == found.item_radius == found.radius > 0
    assert found.ledger == pytest.approx({"item guarantee": SPENT})


def test_guarantee_item_claims_no_more_of_the_label_than_of_the_item() -> None:
    """The label with most votes may stay while the item with most votes, and so its label, changes.

    Here: items 0 and 1 of label 0 have 40 % and 25 %, item 2 of label 1 has 35 %. A little less for item 0
    and a little more for item 2, and item 2 is the answer, while label 0 is far ahead.
    """
    rows = cast(0, 5000, [0.4, 0.25, 0.35])
    labels = np.where(rows == 2, 1, 0)
    votes: dict[Claim, Votes] = {"item": rows, "label": labels}
    found = certify_votes(votes, {"item": 0, "label": 0}, Terms(SIGMA, ALPHA, "item"))
    assert found.label_radius == found.item_radius


@pytest.mark.parametrize("guarantee", ["label", "item"])
def test_an_answer_that_the_first_votes_did_not_choose_gets_no_radius(guarantee: Guarantee) -> None:
    votes = np.append(np.ones(128, np.int64), np.zeros(800, np.int64))
    found = certify_votes({guarantee: votes}, {guarantee: 0}, Terms(SIGMA, ALPHA, guarantee))
    assert (found.label_radius, found.item_radius, found.expected) == (0, 0, 0)
    assert found.reason == f"the first 128 samples and all 928 disagree on the {guarantee} of the answer"
    assert found.ledger == {}


def test_an_item_that_the_first_votes_did_not_choose_costs_the_label_nothing() -> None:
    labels = cast(0, 1000, [0.9, 0.1])
    rows = np.append(np.ones(128, np.int64), np.zeros(872, np.int64))
    found = both(labels, rows)
    assert found.item_radius == 0 < found.label_radius
    assert found.reason is None


def test_votes_that_leave_nothing_say_why() -> None:
    found = items(cast(0, 600, [0.5, 0.5]))
    assert found.radius == 0
    assert found.reason == "a rival is too close to tell at alpha = 0.05 from 600 samples: raise max_samples"


# --- refusals


@pytest.mark.parametrize("method", ["mean", "paper", "bisector"])
def test_methods_other_than_cdf_are_refused(method: str) -> None:
    with pytest.raises(ValueError, match="cdf only"):
        items(np.zeros(300, np.int64), method=method)  # type: ignore[arg-type]


def test_the_votes_of_the_guarantee_are_needed() -> None:
    with pytest.raises(ValueError, match="label"):
        certify_votes({"item": np.zeros(300, np.int64)}, {"item": 0}, Terms(SIGMA, ALPHA, "label"))


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_votes_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        items(np.zeros(n, np.int64))


# --- terms


def test_blur_is_taken_off() -> None:
    votes = cast(0, 1000, [0.9, 0.1])
    assert items(votes, blur=0.05).radius == pytest.approx(items(votes).radius - 0.05, abs=1.1e-6)
    assert items(votes, blur=5.0).radius == 0


def test_a_target_is_reached_with_few_votes() -> None:
    votes = cast(0, 256, [0.97, 0.03])
    target = 0.4 * SIGMA
    assert items(votes, target=target, horizon=1000).radius >= target
    assert items(votes, horizon=10_000).radius < target

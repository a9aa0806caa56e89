"""Rule `vote`: each noisy copy votes for the label (item) of its nearest neighbour (docs/certificate.md §3).

Cohen, Rosenfeld & Kolter 2019. The vote for a label is an indicator, the smoothed vote its mean, and "this
label has more votes than that" a margin with values -1, 0 and 1: the bounds of rule `embedding` apply.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from certify.certificate import Certificate, too_many, void
from certify.claims import claimed, sequential_test
from certify.ledger import AlphaLedger
from certify.pairs import Pairs
from certify.points import Points
from certify.selection import selection_size
from certify.sequential import Reached
from certify.terms import Claim, Terms


def certify_votes(
    votes: Mapping[Claim, NDArray[np.int64]], answers: Mapping[Claim, int], terms: Terms
) -> Certificate:
    """Certify rule `vote` (Cohen et al. 2019): that most noisy copies of the query vote as before.

    votes    for each claim the label (item) for which each of n >= 2 noisy copies votes, (n,) numbers
             >= 0, or -1 for a copy whose vote is in doubt and counts against the answer
    answers  the label (item) that is served. A claim gets radius 0 when the first samples chose another
             one.

    With guarantee `label` the answer is an item of the label with most votes: it stays the same while both
    keep most votes. With guarantee `item` it is the item with most votes, whatever the label with most votes
    is, and labels need no votes. The smoothed share of a label is the mean of its indicator: this is
    `certify` on vectors of indicators, with the method `cdf`.
    """
    if terms.method != "cdf":
        raise ValueError(f"rule vote has the method cdf only, got {terms.method}")
    if terms.guarantee == "within":
        raise ValueError("rule vote has the guarantees label and item only: what was not named has no rank")
    if terms.guarantee not in votes:
        raise ValueError(f"no votes were given for the guarantee {terms.guarantee}")
    n = len(votes[terms.guarantee])
    if n < 2:
        raise ValueError(f"a certificate needs at least 2 samples, got {n}: raise max_samples")
    fault = too_many(n)
    if fault is not None:
        return void(terms, n, fault)
    selected = selection_size(n)
    ledger = AlphaLedger(terms.alpha, terms.noise)
    reached: dict[Claim, Reached] = {}
    for claim, cast in votes.items():
        if terms.guarantee == "item" and claim == "label":
            continue  # the item with most votes need not be of this label
        chosen = vote_pairs(cast, selected, answers[claim])
        if chosen is not None:
            pairs, indicators = chosen
            nowhere = np.zeros(indicators.shape[1])
            selection = Points.of(indicators[:selected], nowhere)
            test = sequential_test(claim, pairs, selection, terms, ledger)
            reached[claim] = test.reached(Points.of(indicators, nowhere))
    if terms.guarantee == "label" and "item" in reached:
        # The item is that with most votes in the label with most votes.
        reached["item"] = min(
            reached["item"], reached.get("label", Reached(0.0, 0.0, 0.0)), key=lambda r: r.rho
        )
    return claimed(terms, n, reached, ledger)


def vote_pairs(
    votes: NDArray[np.int64], selected: int, answer: int
) -> tuple[Pairs, NDArray[np.float32]] | None:
    """Margins of `answer` over everything else that copies vote for, or None if it was not chosen.

    With them the indicators (n, d) at which they are taken.

    `votes` (n,): numbers >= 0, or -1 for a vote in doubt. The first `selected` votes choose: the answer has
    to have most of them (of equals the smallest number). Rivals that these votes name have a margin each; all
    others share one, in which a vote for any of them counts against the answer. A vote in doubt may be for
    any rival, so it counts against the answer in every margin.
    """
    named, counts = np.unique(votes[:selected], return_counts=True)
    named, counts = named[named >= 0], counts[named >= 0]
    if not len(named) or named[counts.argmax()] != answer:
        return None
    others = named[named != answer]
    # Columns: the answer, each rival, all that was not named, doubt.
    indicators = np.zeros((len(votes), len(others) + 3), np.float32)
    indicators[:, 0] = votes == answer
    indicators[:, 1:-2] = votes[:, None] == others
    indicators[:, -2] = ~np.isin(votes, named) & (votes >= 0)
    indicators[:, -1] = votes < 0
    weights = np.zeros((len(others) + 1, indicators.shape[1]), np.float32)
    weights[:, 1:-1] = -np.eye(len(weights))
    weights[:, 0], weights[:, -1] = 1, -1
    nothing, ones = np.zeros(len(weights)), np.ones(len(weights))
    return Pairs(weights, nothing, -ones, ones, nothing, ones, nothing), indicators

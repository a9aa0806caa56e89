"""Rule `vote`: each noisy copy votes for the label (item) of its own nearest neighbour (certificates §3.5).

Cohen, Rosenfeld & Kolter 2019. The vote for a label is an indicator, the smoothed vote its mean, and "this
label has more votes than that" a margin with values -1, 0 and 1: the bounds of rule `embedding` apply.
"""

import numpy as np
from numpy.typing import NDArray

from certify.margins import Margins


def vote_margins(votes: NDArray[np.int64], selected: int, answer: int) -> Margins | None:
    """Margins of `answer` over everything else that copies vote for, or None if it was not chosen.

    `votes` (n,): numbers >= 0, or -1 for a vote in doubt. The first `selected` votes choose: the answer has
    to have most of them (of equals the smallest number). Rivals that these votes name have a margin each; all
    others share one, in which a vote for any of them counts against the answer. A vote in doubt may be for
    any rival, so it counts against the answer in every margin.
    """
    named, counts = np.unique(votes[:selected], return_counts=True)
    named, counts = named[named >= 0], counts[named >= 0]
    if not len(named) or named[counts.argmax()] != answer:
        return None
    rivals = named[named != answer]
    # Columns: the answer, each rival, all that was not named, doubt.
    indicators = np.zeros((len(votes), len(rivals) + 3))
    indicators[:, 0] = votes == answer
    indicators[:, 1:-2] = votes[:, None] == rivals
    indicators[:, -2] = ~np.isin(votes, named) & (votes >= 0)
    indicators[:, -1] = votes < 0
    weights = np.zeros((len(rivals) + 1, len(rivals) + 3))
    weights[:, 1:-1] = -np.eye(len(weights))
    weights[:, 0], weights[:, -1] = 1, -1
    ends = np.ones(len(weights))
    return Margins(indicators, weights, np.zeros(len(weights)), None, -ends, ends)

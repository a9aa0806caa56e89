"""Rule `vote`: each noisy copy votes for the label (item) of its own nearest neighbour (certificates §3.5).

Cohen, Rosenfeld & Kolter 2019. The vote for a label is an indicator, the smoothed vote its mean, and "this
label has more votes than that" a margin with values -1, 0 and 1: the bounds of rule `embedding` apply.
"""

import numpy as np
from numpy.typing import NDArray

from certify.margins import Margins


def vote_margins(votes: NDArray[np.int64], selected: int, answer: int) -> Margins | None:
    """Margins of `answer` over everything else that copies vote for, or None if it was not chosen.

    `votes` (n,): numbers >= 0, or -1 for nobody. The first `selected` votes choose: the answer has to have
    most of them (of equals the smallest number). Rivals that these votes name have a margin each; all others
    share one, in which a vote for any of them, or for nobody, counts against the answer.
    """
    named, counts = np.unique(votes[:selected], return_counts=True)
    named, counts = named[named >= 0], counts[named >= 0]
    if not len(named) or named[counts.argmax()] != answer:
        return None
    rivals = named[named != answer]
    # One column a rival, one for the answer and one for all that was not named.
    indicators = np.zeros((len(votes), len(rivals) + 2))
    indicators[:, 0] = votes == answer
    indicators[:, 1:-1] = votes[:, None] == rivals
    indicators[:, -1] = ~np.isin(votes, named)
    against = -np.eye(len(rivals) + 2)[1:]
    against[:, 0] = 1
    ends = np.ones(len(against))
    return Margins(indicators, against, np.zeros(len(against)), None, -ends, ends)

"""Plans to choose from: made for a few margins on every block, and picked by each of the others."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from certify.betting import UNSEEN, Plan
from certify.kernels import best_plans

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# The radii at which plans are compared, over the one that the most dangerous margins aim at: whoever has to
# get there should, and a little farther, as that is a guess.
RADII = (1.15, 0.95, 0.75, 0.5)
# A plan is good enough at one of them if it is expected to win this share of what is needed per sample.
ENOUGH = 0.3


@dataclass(frozen=True)
class Playbook:
    """The plans (Q,) for one block, chosen from samples before it.

    aim        the ρ that the most dangerous margins aim at
    horizon    on how many samples bets are planned to be made
    threshold  ln(1/α)
    """

    plan: Plan
    aim: float
    horizon: int
    threshold: float

    def picks(self, seen: Array) -> Rows:
        """The plan that each of K margins bets by; `seen` (K, BINS + 1) are its masses before the block.

        The one that is expected to win most at the largest of RADII at which any wins enough. Any pick is
        valid.
        """
        if not len(seen):
            return np.empty(0, np.int64)
        feared = UNSEEN / (UNSEEN + self.horizon)
        shares = seen * ((1 - feared) / seen.sum(axis=1, keepdims=True))
        shares[:, 0] += feared
        found = np.empty(len(seen), np.int64)
        best_plans(shares, self._compared, ENOUGH * self.threshold / self.horizon, found)
        return found

    @cached_property
    def _compared(self) -> Array:
        """The log factors (R, BINS + 1, Q) at each of RADII."""
        every = np.stack([self.plan.log_factors(radius * self.aim) for radius in RADII])
        return np.ascontiguousarray(every.swapaxes(1, 2))

"""What bets have won, and the largest ρ at which that is enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from certify.betting import SMALLEST, Plan

Array = NDArray[np.float64]
Rows = NDArray[np.bool_] | NDArray[np.int64]

# How finely ρ is searched for.
PRECISION = 1e-6
# A margin that has this much more than it needs, in logs, is not looked at again while ρ falls a little.
CLEAR = 2.0
# Wealth below this, in logs, is as good as none; a root is sought between finite numbers.
BROKE = -1e3


@dataclass(frozen=True)
class Bets:
    """What K margins bet on B blocks, and what they met.

    plans   (B) of Q plans each
    picks   (B) of (K,): by which of the plans a margin bets
    masses  (B) of (K, BINS + 1): the samples bet on, drawn after plans and picks were chosen
    needed  (K,) the log of the wealth with which a margin passes
    counts  (K,) for how many rivals a margin stands
    """

    plans: Sequence[Plan]
    picks: Sequence[NDArray[np.int64]]
    masses: Sequence[Array]
    needed: Array
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.needed)

    def of(self, rows: Rows) -> Self:
        """The bets of some of the margins."""
        return type(self)(
            self.plans,
            [picks[rows] for picks in self.picks],
            [masses[rows] for masses in self.masses],
            self.needed[rows],
            self.counts[rows],
        )

    def beside(self, other: "Bets") -> "Bets":
        """These bets and others, by the same plans or by other ones, on the same blocks."""
        plans = list(self.plans)
        picks = list(other.picks)
        for block, (mine, yours) in enumerate(zip(self.plans, other.plans, strict=True)):
            if yours is not mine:
                plans[block] = Plan.joined([mine, yours])
                picks[block] = picks[block] + len(mine.rho)
        return Bets(
            plans,
            [np.concatenate(both) for both in zip(self.picks, picks, strict=True)],
            [np.concatenate(both) for both in zip(self.masses, other.masses, strict=True)],
            np.concatenate([self.needed, other.needed]),
            np.concatenate([self.counts, other.counts]),
        )

    def surplus(self, rho: float) -> Array:
        """By how much the best wealth that tests `rho` exceeds what is needed, in logs (K,), or less."""
        best, wealth = np.full(len(self), -np.inf), np.zeros(len(self))
        for plan, picks, masses in zip(self.plans, self.picks, self.masses, strict=True):
            wealth += won(plan, picks, masses, rho)
            np.maximum(best, wealth, out=best)
        found: Array = best - self.needed
        return found

    def failing(self, rho: float) -> Self:
        """The bets of those that have not passed at `rho`."""
        return self.of(self.surplus(rho) < 0)

    def largest(self, high: float, lost: int = 0) -> float:
        """The largest ρ <= `high` at which all have passed, or all but `lost` rivals; 0 if there is none.

        The worst is brought to pass by itself, and then everybody is asked again.
        """
        if lost:
            return self._but_for(lost, high)
        rest, rho = self, high
        while True:
            surplus = rest.surplus(rho)
            if surplus.min(initial=np.inf) >= 0:
                return rho
            worst = int(surplus.argmin())
            rho = rest.of(np.array([worst]))._alone(rho)
            if rho == 0:
                return 0.0
            rest = rest.of(surplus < CLEAR)

    def _but_for(self, lost: int, high: float) -> float:
        """The largest ρ <= `high` at which all but `lost` rivals have passed, from below, by halving."""

        def enough(rho: float) -> bool:
            return int(self.counts[self.surplus(rho) < 0].sum()) <= lost

        if enough(high):
            return high
        if not enough(SMALLEST):
            return 0.0
        low = SMALLEST
        while high - low > PRECISION:
            middle = (low + high) / 2
            low, high = (middle, high) if enough(middle) else (low, middle)
        return low

    def _alone(self, high: float) -> float:
        """The largest ρ below `high` at which a single margin passes, from below; 0 if there is none."""
        plans = Plan.joined([plan.of(picks) for plan, picks in zip(self.plans, self.picks, strict=True)])
        masses = np.concatenate(self.masses)

        @cache  # the search asks again where it begins and where it ends
        def surplus(rho: float) -> float:
            wealth = np.cumsum(np.einsum("bj,bj->b", masses, plans.log_factors(rho)))
            return max(float(wealth.max() - self.needed[0]), BROKE)

        if surplus(SMALLEST) < 0:
            return 0.0
        rho = float(brentq(surplus, SMALLEST, high, xtol=PRECISION))
        while surplus(rho) < 0:  # the root from below: what is returned has passed
            rho -= PRECISION
        return rho


def won(plan: Plan, picks: NDArray[np.int64], masses: Array, rho: float) -> Array:
    """The log of the factor (K,) by which the wealth of testing `rho` grew, or less."""
    few = len(picks) < len(plan.rho)
    factors = plan.of(picks).log_factors(rho) if few else plan.log_factors(rho)[picks]
    found: Array = np.einsum("kj,kj->k", masses, factors)
    return found

"""Betting: a test of "the mean of this payoff is at most 0" that may be read at any time.

Waudby-Smith & Ramdas 2024 (Estimating means of bounded random variables by betting). Stake the share λ of
one's wealth on each sample: E (1 + λψ) <= 1 if E ψ <= 0. When λ and ψ are chosen before the sample is seen
and 1 + λψ is never negative, the wealth is a non-negative supermartingale that starts at 1, and by Ville's
inequality it *ever* reaches 1/α with probability at most α.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from certify.payoffs import Bound, Payoffs, joined

Array = NDArray[np.float64]
Rows = NDArray[np.bool_] | NDArray[np.int64]

# Stakes are chosen as if this many samples of the whole budget had been at the lower end of the range.
UNSEEN = 0.2
# The smallest ρ that is tested; a margin that fails there has radius 0.
SMALLEST = 1e-4
# What float64 rounds in a factor 1 + λψ, in units of the larger of it and 1; and in the weighted sum of the
# logs of up to LARGEST_HORIZON factors, as a share of their absolute values (docs/certificate.md, Numbers).
FACTOR_ROUNDING, SUM_ROUNDING = 1e-15, 1e-11
# A stake that could lose everything is cut so that this share is left.
LEFT = 1e-3
# The log of a factor 0, which ends all hope; finite, so that no mass at all may be multiplied by it.
NOTHING = -1e300
# Halvings of the interval in which a stake is sought: any stake is valid, the best need not be exact.
STEPS = 12


@dataclass(frozen=True)
class Plan:
    """How to bet on the next samples of K margins, chosen from those seen so far.

    rho       (K,) the radii at which the bets should win
    payoffs   one a margin
    stakes    (K,) shares of the wealth
    unseen    (K,) share of the samples that the next plan sets aside in its guess at `rho`
    """

    rho: Array
    payoffs: Payoffs
    stakes: Array
    unseen: Array

    def of(self, rows: Rows) -> Self:
        """The plan for some of the margins."""
        return type(self)(self.rho[rows], self.payoffs.of(rows), self.stakes[rows], self.unseen[rows])

    @classmethod
    def joined(cls, several: Sequence["Plan"]) -> "Plan":
        """Plans, one after another."""
        rho, stakes, unseen = (
            np.concatenate([getattr(plan, name) for plan in several]) for name in ("rho", "stakes", "unseen")
        )
        return cls(rho, joined([plan.payoffs for plan in several]), stakes, unseen)

    def log_factors(self, rho: float) -> Array:
        """ln(1 + λψ_ρ) at the knots (K, BINS + 1), or a little less: never more.

        Where the payoff could take more than all but LEFT of the wealth, less is staked: 1 + λψ is then
        LEFT + (1 - LEFT) gain / -constant. In exact arithmetic both fall when ρ grows. All that float64 may
        add is taken off, here and in the sum of up to LARGEST_HORIZON of these: wealth is then at most that
        of testing `rho` in exact arithmetic, or any smaller ρ.
        """
        constant = self.payoffs.constant(rho)
        most = np.where(constant < 0, (1 - LEFT) / np.maximum(-constant, 1e-300), np.inf)
        # A lower constant cuts the stake as well, so that the rounding has to be taken off what is met, too.
        factors = self.payoffs.gains + (constant - self.payoffs.rounding)[:, None]
        factors *= np.minimum(self.stakes, most)[:, None]
        factors += 1
        spare = np.maximum(factors, 1.0)
        spare *= FACTOR_ROUNDING
        factors -= spare
        logs = np.log(np.maximum(factors, 1e-300, out=spare), out=spare)
        logs[~(factors > 0)] = NOTHING  # so written, what is no number is lost, too
        rounded = np.abs(logs, out=factors)
        rounded *= SUM_ROUNDING
        logs -= rounded
        return logs


def plan(
    bound: Bound,
    masses: Array,
    lower: Array,
    upper: Array,
    *,
    unseen: Array | None,
    most: float,
    horizon: int,
    threshold: float,
) -> Plan:
    """The plan after `masses` (K, BINS + 1) of margins in [lower, upper] (K,).

    It aims at the ρ, up to `most`, where wealth should just reach exp(`threshold`) after bets on `horizon`
    samples. That ρ is guessed by setting the share `unseen` aside; what wealth would then grow to says how
    much the next plan should set aside instead.
    """
    if unseen is None:
        unseen = np.full(len(lower), threshold / horizon)
    unseen = set_aside(unseen, horizon)
    rho = aimed(bound, masses, lower, upper, unseen=unseen, most=most)
    payoffs = bound.choose(masses, lower, upper, unseen, rho)
    feared = UNSEEN / (UNSEEN + horizon)
    shares = (1 - feared) * masses / masses.sum(axis=1, keepdims=True)
    shares[:, 0] += feared
    constant = payoffs.constant(rho)
    values = payoffs.gains + constant[:, None]
    stakes = best_stakes(shares, values)
    growth = (shares * np.log1p(stakes[:, None] * values)).sum(axis=1)
    ratio = (threshold / np.maximum(growth * horizon, 1e-300)).clip(1 / 3, 3)
    return Plan(rho, payoffs, stakes, unseen * ratio)


def set_aside(unseen: Array, horizon: int) -> Array:
    """`unseen` (K,), as far as bets on `horizon` samples may set samples aside."""
    return unseen.clip(1 / (1 + horizon), 0.5)


def aimed(bound: Bound, masses: Array, lower: Array, upper: Array, *, unseen: Array, most: float) -> Array:
    """The ρ (K,), up to `most`, that a plan aims at which sets aside the share `unseen`."""
    found: Array = np.maximum(bound.estimate(masses, lower, upper, unseen, most), SMALLEST)
    return found


def best_stakes(shares: Array, values: Array) -> Array:
    """The stakes (K,) for which wealth grows most on payoffs `values` (K, J) with probabilities `shares`.

    0 where even a small stake would lose. 1 + stake * value stays positive.
    """
    low, high = np.zeros(len(values)), 1 / np.maximum(-values[:, 0], 1e-300)
    weighed, won = shares * values, np.empty_like(values)
    for _ in range(STEPS):
        middle = (low + high) / 2
        np.multiply(middle[:, None], values, out=won)
        won += 1
        rising = np.divide(weighed, won, out=won).sum(axis=1) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return low

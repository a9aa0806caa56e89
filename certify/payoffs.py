"""Payoffs: functions of a margin that nobody can expect to win on, unless the radius is as large as tested.

Let f be a margin with values in [lower, upper], and W_ρ a lower bound of E f(x + δ + Z) over ||δ|| = ρσ that
depends on the distribution of f(x + Z) alone. A payoff is a function ψ_ρ with E ψ_ρ(f(x + Z)) <= 0 for
*every* distribution for which W_ρ <= 0. So where f does not stay positive within ρ, the mean of ψ_ρ is at
most 0: a test of that is a test of the radius, on one bounded scalar. All payoffs here have the form

    ψ_ρ(f) = gain(f) + constant(ρ),      gain increasing, constant decreasing in ρ,              (payoff)

so that what is won falls when ρ grows, and the radii that pass a test form an interval.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from certify.histogram import BINS

Array = NDArray[np.float64]
Rows = NDArray[np.bool_] | NDArray[np.int64]

# A payoff is lowered by this and by this share of its margin's range, and by a hundredth of that for each
# unit of its slope: more than float64 rounds on the way (docs/certificate.md, Numbers).
ROUNDING, SLOPE_ROUNDING = 1e-9, 1e-11
# The largest ρ that is looked at; no number of samples that fits a machine gets near it.
LARGEST = 16.0

P = TypeVar("P", bound="Payoffs")


@dataclass(frozen=True)
class Payoffs(ABC):
    """One payoff for each of K margins.

    lower, upper  (K,) the range of the margins
    gains         (K, BINS + 1) gain at the knots, linear between them, 0 at `lower`
    """

    lower: Array
    upper: Array
    gains: Array

    @abstractmethod
    def level(self, rho: Array | float) -> Array:
        """constant(ρ) (K,) in exact arithmetic; `rho` > 0, one for all or one each (K,)."""

    def constant(self, rho: Array | float) -> Array:
        """constant(ρ) (K,), with the rounding taken off: with gains, never above the exact payoff.

        A margin that is off by e moves its payoff by up to e times the steepest slope, and gains and level
        are sums of slopes. Slopes grow with the number of samples that bets are planned for.
        """
        return self.level(rho) - self.rounding

    @cached_property
    def rounding(self) -> Array:
        """What is taken off (K,)."""
        width = self.upper - self.lower
        steepest = np.diff(self.gains, axis=1).max(axis=1) * (BINS / width)
        taken: Array = (ROUNDING + SLOPE_ROUNDING * steepest) * (1 + width)
        return taken

    def of(self, rows: Rows) -> Self:
        """The payoffs of some of the margins."""
        found = replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})
        vars(found)["rounding"] = self.rounding[rows]  # each row's own: not to be computed again
        return found


def joined(several: Sequence[P]) -> P:
    """Payoffs of one kind, one after another."""
    names = [field.name for field in fields(several[0])]
    found = replace(
        several[0], **{name: np.concatenate([getattr(p, name) for p in several]) for name in names}
    )
    vars(found)["rounding"] = np.concatenate([p.rounding for p in several])
    return found


@dataclass(frozen=True)
class Bound:
    """A way to bound W_ρ, from masses (K, BINS + 1) seen so far.

    estimate(masses, lower, upper, unseen, most)  the radii ρ (K,), up to `most`, at which the bound would be
                                                  0 if the shares `unseen` (K,) of the margins lay at `lower`;
                                                  a guess that claims nothing
    choose(masses, lower, upper, unseen, rho)     payoffs that win most near `rho` (K,) on such margins
    cap(reached)                                  up to where margins should be counted if the most dangerous,
                                                  in their order, mostly reach `reached` (K,), in units of
                                                  their lower ends
    """

    estimate: Callable[[Array, Array, Array, Array, float], Array]
    choose: Callable[[Array, Array, Array, Array, Array], Payoffs]
    cap: Callable[[Array], float]

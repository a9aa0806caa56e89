"""From margins to a radius that may be read after every round: bet in blocks, drop rivals that are safe.

Let R_k be the true radius of margin k and k* the margin with the smallest, all fixed before the samples are
drawn. `certified_rho` is wrong only if it exceeds R_k*, for which margin k* itself has to have reached 1/α
at some ρ > R_k*: as wealth falls with ρ, at all ρ between, and its limit at R_k* is a supermartingale that
does so with probability at most α. So neither the number of rivals nor that of readings costs anything (an
intersection-union test; Ville's inequality), and each margin may be bet on in its own way, as long as every
bet is chosen from earlier samples.

Most rivals are far from binding. They are bet on in groups: the smallest margin of a group is below that of
each member, and so is what a bet on it wins, as payoffs rise with the margin.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from certify.betting import SMALLEST, Bets, Plan, plan
from certify.histogram import BINS, linear_binning
from certify.margins import Margins
from certify.payoffs import LARGEST, Bound

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Rivals that look most dangerous on the selection samples: they set the radius, the others confirm it.
NEAREST = 8
# Rivals bet on together.
GROUP = 16
# A margin above this needs no bound, one that is never above twice this has radius 0.
TINY = 1e-8
# After so many samples a rival that leaves nothing to expect ends the contest.
PATIENCE = 1024
# Bets aim no further than this above the radius that the most dangerous rivals seem to allow.
AIM = 1.2
# A group whose own guess falls below this share of the aim is split up.
SAFE = 0.85
# Margins computed at a time: 0.5 MB, which a core's cache holds.
BLOCK = 2**18
# How finely ρ is searched for.
PRECISION = 1e-6


@dataclass(frozen=True)
class Reached:
    """The certified ρ, and the ρ (at most `target`) that one may expect after `horizon` samples."""

    rho: float
    expected: float


def blocks(selected: int, n: int) -> list[tuple[int, int]]:
    """Where bets are chosen anew: each block is as long as all before it. n only cuts the last one short.

    So the bets on the first samples are the same however many follow: what was certified stays certified.
    """
    found = []
    first = selected
    while first < n:
        found.append((first, min(2 * first, n)))
        first *= 2
    return found


def certified_rho(
    margins: Margins,
    bound: Bound,
    *,
    selected: int,
    horizon: int,
    alpha: float,
    target: float | None = None,
) -> Reached:
    """The largest ρ = ||δ||/σ within which every margin stays positive, with probability >= 1 - `alpha`.

    The first `selected` samples of `margins` chose them; bets are made on the others. `horizon`: the number
    of samples at which the radius should be best. `target`: the only ρ that matters, if there is one. 0 when
    nothing is certified, infinity when no margin is in doubt.
    """
    if np.any(margins.upper <= 2 * TINY):
        return Reached(0.0, 0.0)
    doubtful = np.flatnonzero(margins.lower <= TINY)
    if not len(doubtful):
        return Reached(np.inf, np.inf)
    race = _Race(margins, bound, selected, horizon, alpha, target)
    order = doubtful[np.argsort(race.clarity(doubtful), kind="stable")]
    reached, expected = race.nearest(order[:NEAREST])
    return Reached(race.others(order[NEAREST:], reached), expected)


class _Race:
    """What the two parts of a contest share: the most dangerous rivals, and all others.

    A unit is a row of `units` (U, w): the w margins whose smallest is bet on.
    """

    def __init__(
        self,
        margins: Margins,
        bound: Bound,
        selected: int,
        horizon: int,
        alpha: float,
        target: float | None,
    ) -> None:
        self.margins, self.bound, self.target, self.horizon = margins, bound, target, horizon
        self.selected = selected
        self.threshold = float(np.log(1 / alpha))
        self.spans = blocks(selected, len(margins.samples))
        # What the most dangerous rivals let expect before each block: known to all bets on that block.
        self.aims: list[float] = []

    def clarity(self, rows: Rows) -> Array:
        """Mean over standard deviation of margins: about the radius of each over σ, if it were Gaussian."""
        values = self.margins.at(rows, 0, self.selected)
        clarity: Array = values.mean(axis=1) / (values.std(axis=1) + 1e-6)
        return clarity

    def nearest(self, rows: Rows) -> tuple[float, float]:
        """The certified and the expected ρ of `rows`, by their bets on all samples."""
        units = rows[:, None]
        seen = self._masses(units, 0, self.selected)
        most = self.target or LARGEST
        now = self._plan(units, seen, self._plan(units, seen, None, most), most)
        history: list[Bets] = []
        for first, last in self.spans:
            if first >= PATIENCE and now.rho.min() <= SMALLEST:
                break  # nothing is expected of the samples that are left: saves the time
            self.aims.append(self.target or AIM * float(now.rho.min()))
            history.append(Bets(now.payoffs, now.stakes, self._masses(units, first, last)))
            seen = seen + history[-1].masses
            now = self._plan(units, seen, now, most)
        self.aims += self.aims[-1:] * (len(self.spans) - len(self.aims))
        return self._largest(history, LARGEST), float(now.rho.min())

    def others(self, rows: Rows, reached: float) -> float:
        """`reached`, or less if one of `rows` does not get there."""
        if not len(rows):
            return reached
        # The last group is filled up with its own last member.
        groups = np.append(rows, np.repeat(rows[-1:], -len(rows) % GROUP)).reshape(-1, GROUP)
        return self._confirm(groups, [], reached)

    def _confirm(self, units: Rows, history: list[Bets], reached: float) -> float:
        """`reached`, or less if one of `units`, with bets on some blocks already, does not get there."""
        if reached == 0:
            return 0.0
        past = len(history)
        seen = self._masses(units, 0, self.spans[past][0] if past else self.selected)
        wealth = sum((bets.log_growth(reached) for bets in history), np.zeros(len(units)))
        apart: list[tuple[Rows, list[Bets]]] = []
        now = None
        for (first, last), aim in zip(self.spans[past:], self.aims[past:], strict=True):
            now = self._plan(units, seen, now, aim)
            slow = now.rho < SAFE * aim
            if units.shape[1] > 1 and slow.any():
                # Each member goes on by itself, with what its group has won.
                parents = np.repeat(np.flatnonzero(slow), units.shape[1])
                apart.append((units[slow].reshape(-1, 1), [bets.of(parents) for bets in history]))
                units, seen, wealth, now = units[~slow], seen[~slow], wealth[~slow], now.of(~slow)
                history = [bets.of(~slow) for bets in history]
            bets = Bets(now.payoffs, now.stakes, self._masses(units, first, last))
            history = [*history, bets]
            wealth = wealth + bets.log_growth(reached)
            alive = wealth < self.threshold
            units, wealth, now = units[alive], wealth[alive], now.of(alive)
            seen = (seen + bets.masses)[alive]
            history = [bets.of(alive) for bets in history]
            if not len(units):
                break
        if len(units):
            reached = self._largest(history, reached)
        for members, inherited in apart:
            reached = self._confirm(members, inherited, reached)
        return reached

    def _masses(self, units: Rows, first: int, last: int) -> Array:
        """Where the smallest margin of each unit lies at samples `first` to `last` - 1."""
        lower, upper = self._range(units)
        step = max(1, BLOCK // (units.shape[1] * (last - first)))
        found = [np.zeros((0, BINS + 1))]
        for start in range(0, len(units), step):
            some = units[start : start + step]
            values = self.margins.at(some.ravel(), first, last).reshape(*some.shape, -1).min(axis=1)
            found.append(linear_binning(values, lower[start : start + step], upper[start : start + step]))
        return np.concatenate(found)

    def _range(self, units: Rows) -> tuple[Array, Array]:
        lower: Array = self.margins.lower[units].min(axis=1)
        upper: Array = self.margins.upper[units].min(axis=1)
        return lower, upper

    def _plan(self, units: Rows, seen: Array, before: Plan | None, most: float) -> Plan:
        lower, upper = self._range(units)
        return plan(
            self.bound, seen, lower, upper, unseen=None if before is None else before.unseen,
            most=most, horizon=self.horizon, threshold=self.threshold,
        )  # fmt: skip

    def _largest(self, history: list[Bets], high: float) -> float:
        """The largest ρ <= `high` at which every margin has reached the threshold after some block."""
        if not history:
            return 0.0
        bets = Bets.all(history)

        def surplus(rho: float) -> float:
            wealth = np.cumsum(bets.log_growth(rho).reshape(len(history), -1), axis=0)
            return max(float((wealth.max(axis=0) - self.threshold).min()), -1e3)

        if surplus(high) >= 0:
            return high
        if surplus(SMALLEST) < 0:
            return 0.0
        rho = brentq(surplus, SMALLEST, high, xtol=PRECISION)
        while surplus(rho) < 0:  # the root from below: what is returned has passed
            rho -= PRECISION
        return float(rho)

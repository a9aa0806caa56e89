"""From margins to a radius that may be read after every round: bet in blocks, drop rivals that are safe.

Let R_k be the true radius of margin k and k* the margin with the smallest, all fixed before the samples are
drawn. `SequentialTest.reached` is wrong, at some look, only if it exceeds R_k*, for which margin k* itself
has to have reached 1/α at some ρ > R_k*: as wealth falls with ρ, at all ρ between, and its limit at R_k* is a
supermartingale that does so with probability at most α. So neither the number of rivals nor that of looks
costs anything (an intersection-union test; Ville's inequality), and each margin may be bet on in its own way,
as long as every bet is chosen from earlier samples. Which rivals a look has to look at depends on what the
nearest ones reached by then; how each of them is bet on does not.

Most rivals are far from binding. They are bet on in groups: the smallest margin of a group is below that of
each member, and so is what a bet on it wins, as payoffs rise with the margin.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from certify.betting import SMALLEST, Bets
from certify.blocks import blocks, planned_for
from certify.book import Book, Units
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
# After so many samples a rival that leaves nothing to expect ends the test.
HOPELESS_AFTER = 1024
# Bets aim no further than this above the radius that the most dangerous rivals seem to allow.
AIM = 1.2
# A group whose own guess falls below this share of the aim is split up.
SAFE = 0.85
# How finely ρ is searched for.
PRECISION = 1e-6


@dataclass(frozen=True)
class Reached:
    """The certified ρ, and the ρ (at most the target) to expect after as many samples as planned."""

    rho: float
    expected: float


class SequentialTest:
    """The margins of one guarantee, and all bets on them: asked again, with more samples, it goes on.

    `selection` holds the samples that chose the margins, which are the first of all. `horizon`: the number of
    samples at which the radius should be best, or None. `target`: the only ρ that matters, if there is one.
    """

    def __init__(
        self,
        margins: Margins,
        bound: Bound,
        selection: Array,
        *,
        horizon: int | None,
        alpha: float,
        target: float | None = None,
    ) -> None:
        self.lost = bool(np.any(margins.upper <= 2 * TINY))
        self.target = target
        self.threshold = float(np.log(1 / alpha))
        self.book = Book(margins, bound, len(selection), horizon, self.threshold)
        doubtful = np.flatnonzero(margins.lower <= TINY)
        # Mean over standard deviation: about the radius of each over σ, if it were Gaussian.
        values = margins.at(doubtful, selection)
        clarity = values.mean(axis=1) / (values.std(axis=1) + 1e-6)
        order = doubtful[np.argsort(clarity, kind="stable")]
        others = order[NEAREST:]
        # The last group is filled up with its own last member.
        groups = np.append(others, np.repeat(others[-1:], -len(others) % GROUP)).reshape(-1, GROUP)
        unseen = self.threshold / planned_for(len(selection), len(selection), horizon)
        self.nearest, self.groups, self.members = (
            Units(rows, margins, unseen) for rows in (order[:NEAREST, None], groups, groups.reshape(-1, 1))
        )
        if len(doubtful) and not self.lost:
            self.book.rehearse(self.nearest, selection, target or LARGEST)

    def reached(self, samples: Array) -> Reached:
        """The largest ρ = ||δ||/σ within which every margin stays positive, with probability >= 1 - `alpha`.

        `samples` (n, d) begin with the selection, and with those of all earlier calls; bets are made on those
        after the selection. 0 when nothing is certified, infinity when no margin is in doubt. All calls
        together are wrong with probability at most `alpha`, and each gives what it would give alone.
        """
        if self.lost:
            return Reached(0.0, 0.0)
        if not len(self.nearest.rows):
            return Reached(np.inf, np.inf)
        history, aims, expected = self._nearest(samples)
        reached = self._largest(history, LARGEST)
        if reached == 0:
            return Reached(0.0, expected)
        return Reached(self._others(samples, aims, reached), expected)

    def _nearest(self, samples: Array) -> tuple[list[Bets], list[float], float]:
        """The bets on the most dangerous rivals, what all others aim at, and the ρ that is to be expected."""
        everyone = np.arange(len(self.nearest.rows))
        most = self.target or LARGEST
        spans = blocks(self.book.selected, len(samples))
        history: list[Bets] = []
        aims: list[float] = []
        for block, (first, _) in enumerate(spans):
            rho = float(self.book.choose(self.nearest, everyone, block, most, samples).min())
            if first >= HOPELESS_AFTER and rho <= SMALLEST:
                # Nothing is expected of the samples that are left: saves the time.
                return history, aims + aims[-1:] * (len(spans) - block), rho
            aims.append(self.target or AIM * rho)
            history.append(self.book.bets(self.nearest, everyone, block, samples))
        if not history:
            return history, aims, float(self.book.choose(self.nearest, everyone, 0, most, samples).min())
        expected = self.book.outlook(self.nearest, len(spans) - 1, history[-1].masses, len(samples), most)
        return history, aims, float(expected.min())

    def _others(self, samples: Array, aims: list[float], reached: float) -> float:
        """`reached`, or less if one of the other rivals does not get there.

        A unit that gets there is not looked at any further. A slow group is split: its members go on with
        what it has won.
        """
        grouped, alone = np.arange(len(self.groups.rows)), np.arange(0)
        won, won_alone = np.zeros(len(self.groups.rows)), np.zeros(len(self.members.rows))
        for block, aim in enumerate(aims):
            if len(grouped):
                slow = self.book.choose(self.groups, grouped, block, aim, samples) < SAFE * aim
                parents = np.repeat(grouped[slow], GROUP)
                split = (grouped[slow][:, None] * GROUP + np.arange(GROUP)).ravel()
                self._split(split, parents, block)
                won_alone[split] = won[parents]
                grouped, alone = grouped[~slow], np.append(alone, split)
            self.book.choose(self.members, alone, block, aim, samples)
            won[grouped] += self.book.bets(self.groups, grouped, block, samples).log_growth(reached)
            won_alone[alone] += self.book.bets(self.members, alone, block, samples).log_growth(reached)
            grouped = grouped[won[grouped] < self.threshold]
            alone = alone[won_alone[alone] < self.threshold]
            if not len(grouped) + len(alone):
                return reached
        slowest = [
            Bets.all(
                [
                    self.book.bets(self.groups, grouped, block, samples),
                    self.book.bets(self.members, alone, block, samples),
                ]
            )
            for block in range(len(aims))
        ]
        return self._largest(slowest, reached)

    def _split(self, members: Rows, parents: Rows, block: int) -> None:
        """Let `members` go on by themselves from `block` on, with the earlier bets of their `parents`."""
        page = self.book.pages[block]
        self.members.start[members] = block
        self.members.unseen[members] = page.plan.unseen[self.groups.at(block)[parents]]
        for earlier in range(block):
            self.members.at(earlier)[members] = self.groups.at(earlier)[parents]

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

"""The book of a sequential test: every bet on every unit, chosen once and kept; a later look only adds to it.

The bets on a block are chosen from the samples before it, and what they met in a piece of samples never
changes either. Margins are computed piece by piece, all pieces as long as the selection, and summed in their
order: the book is the same, to the last bit, whichever looks were taken on the way.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certify.betting import Bets, Plan, plan
from certify.blocks import planned_for
from certify.histogram import BINS, linear_binning
from certify.margins import Margins
from certify.payoffs import Bound

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Margins computed at a time: 2 MB, which a core's cache holds.
BLOCK = 2**18


class Units:
    """What is bet on: the smallest of w margins for each row of `rows` (U, w).

    lower, upper  (U,) the range of that
    start         (U,) the first block on which a unit is bet on by itself
    unseen        (U,) the share to set aside in its first plan
    lines         for each block, where the bets of the units (U,) stand on its page; -1: nowhere yet
    """

    def __init__(self, rows: Rows, margins: Margins, unseen: float) -> None:
        self.rows = rows
        self.lower: Array = margins.lower[rows].min(axis=1)
        self.upper: Array = margins.upper[rows].min(axis=1)
        self.start = np.zeros(len(rows), np.int64)
        self.unseen = np.full(len(rows), unseen)
        self.lines: list[Rows] = []

    def at(self, block: int) -> Rows:
        """The lines on the page of `block`."""
        while len(self.lines) <= block:
            self.lines.append(np.full(len(self.rows), -1))
        return self.lines[block]


@dataclass
class Page:
    """All bets on one block, a line each.

    plan    how is bet
    seen    (L, BINS + 1) masses of the samples before the block, from which that was chosen
    masses  (L, BINS + 1) of the first `pieces` (L,) pieces of the block
    """

    plan: Plan
    seen: Array
    masses: Array
    pieces: Rows

    def write(self, plan: Plan, seen: Array) -> None:
        """Add lines."""
        self.plan = self.plan.joined(plan)
        self.seen = np.concatenate([self.seen, seen])
        self.masses = np.concatenate([self.masses, np.zeros_like(seen)])
        self.pieces = np.concatenate([self.pieces, np.zeros(len(seen), np.int64)])


class Book:
    """The bets of a sequential test so far. `samples` (n, d) always begin with those of earlier calls."""

    def __init__(
        self, margins: Margins, bound: Bound, selected: int, horizon: int | None, threshold: float
    ) -> None:
        self.margins, self.bound, self.selected = margins, bound, selected
        self.horizon, self.threshold = horizon, threshold
        self.pages: list[Page] = []

    def first(self, block: int) -> int:
        """The sample with which `block` starts."""
        return self.selected << block

    def rehearse(self, units: Units, selection: Array, most: float) -> None:
        """Let a first plan, that nobody bets on, say how much the plans of `units` should set aside."""
        everyone = np.arange(len(units.rows))
        seen = self._seen(units, everyone, selection)
        units.unseen = self._plan(units, everyone, seen, units.unseen, most, len(selection)).unseen

    def choose(self, units: Units, some: Rows, block: int, most: float, samples: Array) -> Array:
        """The ρ (len(some),), up to `most`, at which the bets of units `some` on `block` aim.

        Bets that are not in the book yet are chosen, from the samples before the block.
        """
        fresh = some[units.at(block)[some] < 0]
        begins = units.start[fresh] == block
        self._begin(units, fresh[begins], block, most, samples)
        self._go_on(units, fresh[~begins], block, most)
        return self.pages[block].plan.rho[units.at(block)[some]]

    def bets(self, units: Units, some: Rows, block: int, samples: Array) -> Bets:
        """The bets of units `some` on `block`, and what they met in as much of it as there is."""
        first, lines, page = self.first(block), units.at(block)[some], self.pages[block]
        last = min(2 * first, len(samples))
        whole = (last - first) // self.selected
        for known in np.unique(page.pieces[lines]):
            late = page.pieces[lines] == known
            if known < whole:
                start, end = first + known * self.selected, first + whole * self.selected
                for masses in self._pieces(units, some[late], samples[start:end]):
                    page.masses[lines[late]] += masses
                page.pieces[lines[late]] = whole
        bets, rest = page.plan.of(lines), first + whole * self.selected
        masses = page.masses[lines]
        if rest < last:
            masses += self._pieces(units, some, samples[rest:last])[0]
        return Bets(bets.payoffs, bets.stakes, masses)

    def outlook(self, units: Units, block: int, met: Array, n: int, most: float) -> Array:
        """The ρ (U,) at which the next bets would aim, if `block` ended at sample `n` after masses `met`."""
        page, lines = self.pages[block], units.at(block)
        return self._plan(
            units, np.arange(len(lines)), page.seen[lines] + met, page.plan.unseen[lines], most, n
        ).rho

    def _begin(self, units: Units, some: Rows, block: int, most: float, samples: Array) -> None:
        """Choose the first bets of units `some`."""
        if not len(some):
            return
        first = self.first(block)
        seen = self._seen(units, some, samples[:first])
        self._write(units, some, block, self._plan(units, some, seen, units.unseen[some], most, first), seen)

    def _go_on(self, units: Units, some: Rows, block: int, most: float) -> None:
        """Choose the next bets of units `some`."""
        if not len(some):
            return
        page, lines = self.pages[block - 1], units.at(block - 1)[some]
        seen = page.seen[lines] + page.masses[lines]
        chosen = self._plan(units, some, seen, page.plan.unseen[lines], most, self.first(block))
        self._write(units, some, block, chosen, seen)

    def _seen(self, units: Units, some: Rows, samples: Array) -> Array:
        """Masses (len(some), BINS + 1) of units `some` in all `samples`, some whole pieces."""
        seen = np.zeros((len(some), BINS + 1))
        for masses in self._pieces(units, some, samples):
            seen += masses
        return seen

    def _plan(self, units: Units, some: Rows, seen: Array, unseen: Array, most: float, first: int) -> Plan:
        return plan(
            self.bound, seen, units.lower[some], units.upper[some], unseen=unseen,
            most=most, horizon=planned_for(first, self.selected, self.horizon), threshold=self.threshold,
        )  # fmt: skip

    def _write(self, units: Units, some: Rows, block: int, chosen: Plan, seen: Array) -> None:
        if block == len(self.pages):
            nothing = np.arange(0)
            self.pages.append(
                Page(chosen.of(nothing), seen[:0], np.zeros((0, BINS + 1)), np.zeros(0, np.int64))
            )
        page = self.pages[block]
        units.at(block)[some] = np.arange(len(page.pieces), len(page.pieces) + len(some))
        page.write(chosen, seen)

    def _pieces(self, units: Units, some: Rows, samples: Array) -> Array:
        """Masses (B, len(some), BINS + 1) of units `some` in each piece of `samples`, or in less than one."""
        pieces = samples.reshape(-1, min(self.selected, len(samples)), samples.shape[1])
        step = max(1, BLOCK // (units.rows.shape[1] * len(samples)))
        found = np.empty((len(pieces), len(some), BINS + 1))
        for start in range(0, len(some), step):
            part = some[start : start + step]
            values = self.margins.smallest(units.rows[part], pieces)
            lower, upper = (np.repeat(end[part], len(pieces)) for end in (units.lower, units.upper))
            masses = linear_binning(values.reshape(-1, values.shape[2]), lower, upper)
            found[:, start : start + step] = masses.reshape(len(part), len(pieces), -1).swapaxes(0, 1)
        return found

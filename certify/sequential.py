"""From margins to a radius that may be read after every round: bet in blocks, drop rivals that are safe.

Let R_k be the true radius of margin k and k* the margin with the smallest, all fixed before the samples are
drawn. `SequentialTest.reached` is wrong, at some look, only if it exceeds R_k*, for which margin k* itself
has to have reached 1/α at some ρ > R_k*: as wealth falls with ρ, at all ρ between, and its limit at R_k* is a
supermartingale that does so with probability at most α. So neither the number of rivals nor that of looks
costs anything (an intersection-union test; Ville's inequality), and each margin may be bet on in its own way,
as long as every bet is chosen from earlier samples. Which margins are looked at, how closely and at which ρ,
may depend on anything: it decides how much is known of wealth that the samples have fixed.

Those that look most dangerous, the leaders, have plans of their own. Everybody else picks one of these, but
for the share OWN of its wealth, which it stakes by plans of its own: these are looked at if the picks do not
pass. A mixture of supermartingales is one, and has reached 1/α once a part has reached 1/α over its share.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from certify.betting import SMALLEST, Plan, aimed, plan, set_aside
from certify.blocks import blocks, planned_for
from certify.crowd import GROUPED, TOGETHER, Closed, Crowd
from certify.histogram import BINS
from certify.pairs import Pairs
from certify.payoffs import LARGEST, Bound
from certify.playbook import Playbook
from certify.points import Points
from certify.positions import Positions
from certify.selection import SEEN_TO, danger
from certify.wealth import Bets, won

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Margins that have plans of their own, and others whose samples look least like those of any of these.
LEADERS, ODD = 24, 16
# Where little trouble should be taken so many have, and nobody else.
FEW_LEADERS = 8
# Margins among which the odd are sought; two are alike if their tails differ by less than this, in knots.
SOUGHT, ALIKE = 1024, 0.02
# The leaders whose guesses say what everybody aims at.
NEAREST = 8
# Margins are counted up to a few times what the leaders reach with MOST of the selection, in units of their
# lower end, but at least up to NARROWEST and at most up to SEEN_TO: a narrower range has finer knots.
MOST, NARROWEST = 0.9, 0.25
# Margins that a plan is made for in any case: means as shares of what is counted, and standard deviations as
# shares of the range.
SHAPES = ((2.0, 0.1), (1.0, 0.02), (1.0, 0.2), (0.7, 0.02), (0.7, 0.1), (0.7, 0.25), (0.4, 0.05), (0.4, 0.15))
# The share of its wealth that a margin stakes by plans of its own, and for how many margins these are made.
OWN, OWNED = 0.1, 256
# Where it is compared whose bets come nearer, over the ρ at which neither passes.
NEARBY = 0.8
# Rivals of the crowd that are looked at one by one at a time.
BATCH = 8192
# After so many samples a rival that leaves nothing to expect ends the test.
HOPELESS_AFTER = 1024


@dataclass(frozen=True)
class Reached:
    """What is certified, and what is to be expected.

    rho       the certified ρ
    first     the ρ within which not one rival is lost: the same if none may be
    expected  the ρ (at most the target) to expect after as many samples as planned
    """

    rho: float
    first: float
    expected: float


@dataclass(frozen=True)
class Race:
    """The samples of one look, the blocks (first, last) that are bet on, and a playbook for each."""

    points: Points
    spans: list[tuple[int, int]]
    books: list[Playbook]


class SequentialTest:
    """The margins of one claim, and all bets on them: asked again, with more samples, it goes on.

    pairs      margins that are bet on one by one
    selection  the samples that chose the margins, which are the first of all
    horizon    the number of samples at which the radius should be best, or None
    target     the only ρ that matters, if there is one
    crowd      all other margins, in clusters, or None; about `comparisons` of a rival of it with a sample may
               be made, one by one
    lost       how many rivals need not stay behind
    thorough   whether to make all plans that help; few are cheaper, and often certify a little less
    """

    def __init__(
        self,
        pairs: Pairs,
        bound: Bound,
        selection: Points,
        *,
        horizon: int | None,
        alpha: float,
        target: float | None = None,
        crowd: Crowd | None = None,
        comparisons: int = 0,
        lost: int = 0,
        thorough: bool = True,
    ) -> None:
        self.bound, self.horizon, self.target, self.crowd = bound, horizon, target, crowd
        self.comparisons = comparisons
        self.threshold = float(np.log(1 / alpha))  # each margin's
        self.selected = len(selection)
        pairs = pairs.of(pairs.doubtful)
        if crowd is not None and len(pairs) <= lost:
            # Nobody would set ρ: then all of the crowd is bet on one by one.
            crowd = crowd.scattered(np.arange(len(crowd.groups)))
            opened = crowd.opened(crowd.members(crowd.clusters))
            pairs, self.crowd = pairs.beside(opened.of(opened.doubtful)), None
        self.doubtful = len(pairs) > 0
        if not self.doubtful:
            return
        # If all of them may be lost, only the ρ within which not one is matters.
        self.spared = lost >= len(pairs)
        self.lost = lost = 0 if self.spared else lost
        everyone = np.arange(len(pairs))
        unseen = self.threshold / planned_for(self.selected, self.selected, horizon)
        wide = Positions(pairs, SEEN_TO).masses(everyone, selection, 0, self.selected)
        order = np.argsort(danger(wide, unseen), kind="stable")
        leading = (LEADERS if thorough else FEW_LEADERS) + lost
        most = order[:leading]
        self.positions = Positions(pairs, _cap(pairs.of(most), wide[most], bound))
        self.seen = self.positions.masses(everyone, selection, 0, self.selected)
        self.leaders = order[:leading]
        self.others = np.sort(order[leading:])
        self.nearest = min(NEAREST + lost, len(self.leaders))
        self.planned = np.concatenate([self.leaders, self._odd(order)]) if thorough else self.leaders
        self.shapes = _shapes(self.positions.cap)[: None if thorough else 0]
        first = np.concatenate([self.seen[self.planned], self.selected * self.shapes])
        # What the bets on the first block are planned from.
        self._first = first, self._rehearsed(first)
        # Playbooks of blocks that earlier looks saw, and what was met on those that they saw to their end.
        self._books: list[Playbook] = []
        self._met: list[Array] = []

    def reached(self, points: Points) -> Reached:
        """The largest ρ = ||δ||/σ within which every margin stays positive, with probability >= 1 - `alpha`.

        If k - 1 rivals may be `lost`: all but these, and within `first` all, both with probability >=
        1 - k `alpha`. `points` begin with the selection, and with those of all earlier calls; bets are made
        on those after the selection. 0 when nothing is certified, infinity when no margin is in doubt. All
        calls together are wrong with no larger probability, and each gives what it would give alone.
        """
        if not self.doubtful:
            return Reached(np.inf, np.inf, np.inf)
        race, met, expected = self._lead(points)
        rho, slow = self._raced(race, met)
        first = slow.largest(rho) if self.lost and rho > 0 else rho
        return Reached(np.inf, first, np.inf) if self.spared else Reached(rho, first, expected)

    def _raced(self, race: Race, met: list[Array]) -> tuple[float, Bets]:
        """The certified ρ, and the bets of all that have not passed at it, or above it.

        The leaders `met` these masses in each block.
        """
        every = [book.plan for book in race.books]
        mine = np.arange(len(self.leaders))
        led = Bets(every, [mine] * len(every), met, np.full(len(mine), self.threshold), np.ones_like(mine))
        rho = led.largest(LARGEST, self.lost) if race.books else 0.0
        if rho == 0:
            return 0.0, led
        needed = self.threshold - np.log(1 - OWN)
        others = self._mended(
            self.positions, race, rho, *self._slow(self.positions, self.others, race, rho, needed)
        )
        slow = led.failing(rho).beside(others)
        rho = slow.largest(rho, self.lost)
        if self.crowd is not None and rho > 0:
            slow = self._crowded(self.crowd, race, slow.failing(rho), rho)
            rho = slow.largest(rho, self.lost)
        return rho, slow

    def _lead(self, points: Points) -> tuple[Race, list[Array], float]:
        """How everybody bets, what the leaders met, and the ρ that is to be expected."""
        seen, unseen = self._first
        spans: list[tuple[int, int]] = []
        books: list[Playbook] = []
        met: list[Array] = []
        for block, (first, last) in enumerate(blocks(self.selected, len(points))):
            if block == len(self._books):
                self._books.append(self._playbook(seen, unseen, first))
            book = self._books[block]
            if block < len(self._met):
                masses = self._met[block]
            else:
                met_here = self.positions.masses(self.planned, points, first, last)
                masses = np.concatenate([met_here, (last - first) * self.shapes])
                if last == 2 * first:
                    self._met.append(masses)
            if first >= HOPELESS_AFTER and book.aim <= SMALLEST:
                # Nothing is expected of the samples that are left: saves the time.
                return Race(points, spans, books), met, book.aim
            spans.append((first, last))
            books.append(book)
            met.append(masses[: len(self.leaders)])
            seen, unseen = seen + masses, book.plan.unseen
        return Race(points, spans, books), met, self._expected(seen, unseen, len(points))

    def _playbook(self, seen: Array, unseen: Array, first: int) -> Playbook:
        """The plans for the block that starts at sample `first`, after masses `seen` (Q, BINS + 1)."""
        plans = self._plan(seen, unseen, first)
        aim = float(np.sort(plans.rho[: self.nearest])[self.lost])
        return Playbook(plans, aim, planned_for(first, self.selected, self.horizon), self.threshold)

    def _expected(self, seen: Array, unseen: Array, first: int) -> float:
        """What a playbook for the block that starts at sample `first` would aim at."""
        nearest = seen[: self.nearest]
        ones = np.ones(len(nearest))
        aims = aimed(
            self.bound, nearest, -ones, self.positions.cap * ones,
            unseen=set_aside(unseen[: len(nearest)], planned_for(first, self.selected, self.horizon)),
            most=self.target or LARGEST,
        )  # fmt: skip
        return float(np.sort(aims)[self.lost])

    def _rehearsed(self, seen: Array) -> Array:
        """How much the first plans after `seen` should set aside, as a plan says that nobody bets by."""
        return self._plan(seen, None, self.selected).unseen

    def _plan(self, seen: Array, unseen: Array | None, first: int) -> Plan:
        ones = np.ones(len(seen))
        return plan(
            self.bound, seen, -ones, self.positions.cap * ones, unseen=unseen, most=self.target or LARGEST,
            horizon=planned_for(first, self.selected, self.horizon), threshold=self.threshold,
        )  # fmt: skip

    def _crowded(self, crowd: Crowd, race: Race, slow: Bets, rho: float) -> Bets:
        """The bets `slow` at `rho`, and of the crowd those that have not passed there.

        Groups that have not are divided into their clusters. Clusters that have not are opened, those first
        that have least, while `comparisons` last. A cluster that stays closed stands for all its rivals.
        """
        grouped, together = self.threshold - np.log(GROUPED), self.threshold - np.log(TOGETHER)
        alone = self.threshold - np.log(1 - OWN - TOGETHER - GROUPED)
        crowd = crowd.scattered(self._closed(crowd.groups, race, rho, grouped)[0])
        places, closed = self._closed(crowd.clusters, race, rho, together)
        surplus, spent = closed.surplus(rho), 0
        while len(places) and spent < self.comparisons:
            order = np.argsort(surplus, kind="stable")
            batch = order[: 1 + int(np.searchsorted(np.cumsum(closed.counts[order]), BATCH))]
            members = crowd.opened(crowd.members(crowd.clusters.of(places[batch])))
            spent += len(members) * len(race.points)
            members = members.of(members.doubtful)
            opened = Positions(members, self.positions.cap)
            slow_ones = self._slow(opened, np.arange(len(members)), race, rho, alone)
            found = self._mended(opened, race, rho, *slow_ones)
            if len(found):
                slow = slow.beside(found)
                rho = slow.largest(rho, self.lost)
                if rho == 0:
                    break
            rest = np.ones(len(places), np.bool_)
            rest[batch] = False
            surplus = closed.surplus(rho)
            rest &= surplus < 0
            places, closed, surplus = places[rest], closed.of(rest), surplus[rest]
        return slow.beside(closed)

    def _closed(self, closed: Closed, race: Race, rho: float, needed: float) -> tuple[Rows, Bets]:
        """Those of `closed` that have not reached `needed` at `rho`, and their bets, for all their rivals."""
        positions = Positions(closed.pairs, self.positions.cap)
        places, bets = self._slow(positions, np.flatnonzero(closed.pairs.doubtful), race, rho, needed)
        return places, replace(bets, counts=closed.counts[places])

    def _slow(
        self, positions: Positions, rows: Rows, race: Race, rho: float, needed: float
    ) -> tuple[Rows, Bets]:
        """Those margins among `rows` of `positions` that have not reached `needed` at `rho`, and their bets.

        One that has passed is not looked at any further.
        """
        seen = positions.masses(rows, race.points, 0, self.selected)
        wealth = np.zeros(len(rows))
        picks: list[Rows] = []
        masses: list[Array] = []
        for span, book in zip(race.spans, race.books, strict=True):
            picks.append(book.picks(seen))
            masses.append(positions.masses(rows, race.points, *span))
            wealth += won(book.plan, picks[-1], masses[-1], rho)
            slow = wealth < needed
            rows, wealth, seen = rows[slow], wealth[slow], seen[slow] + masses[-1][slow]
            picks, masses = [each[slow] for each in picks], [each[slow] for each in masses]
        return rows, Bets(
            [book.plan for book in race.books], picks, masses,
            np.full(len(rows), needed), np.ones(len(rows), np.int64),
        )  # fmt: skip

    def _mended(self, positions: Positions, race: Race, rho: float, rows: Rows, picked: Bets) -> Bets:
        """The bets of those of `rows` that have not passed at `rho` by plans of their own either.

        By these plans or by what they `picked`, whichever comes nearer.
        """
        if not len(rows):
            return picked
        few = np.argsort(picked.surplus(rho), kind="stable")[:OWNED]
        own = self._own(positions, rows[few], race)
        failed = own.surplus(rho) < 0
        better = own.surplus(NEARBY * rho) > picked.of(few).surplus(NEARBY * rho)
        kept = np.ones(len(rows), np.bool_)
        kept[few] = failed & ~better
        return picked.of(kept).beside(own.of(failed & better))

    def _own(self, positions: Positions, rows: Rows, race: Race) -> Bets:
        """The bets of `rows` by plans of their own."""
        seen = positions.masses(rows, race.points, 0, self.selected)
        unseen = self._rehearsed(seen)
        plans: list[Plan] = []
        masses: list[Array] = []
        for first, last in race.spans:
            plans.append(self._plan(seen, unseen, first))
            masses.append(positions.masses(rows, race.points, first, last))
            seen, unseen = seen + masses[-1], plans[-1].unseen
        everyone = np.arange(len(rows))
        return Bets(
            plans, [everyone] * len(plans), masses,
            np.full(len(rows), self.threshold - np.log(OWN)), np.ones_like(everyone),
        )  # fmt: skip

    def _odd(self, order: Rows) -> Rows:
        """Margins unlike the leaders, and unlike each other: somebody may find a plan there."""
        above = np.cumsum(self.seen[:, :0:-1], axis=1) / self.selected
        sought = order[len(self.leaders) :: max(1, len(order) // SOUGHT)]
        gaps = cdist(above[sought], above[self.leaders], "cityblock").min(axis=1, initial=np.inf)
        odd: list[int] = []
        while len(odd) < ODD and gaps.max(initial=0.0) >= ALIKE:
            odd.append(int(sought[gaps.argmax()]))
            np.minimum(gaps, cdist(above[sought], above[odd[-1:]], "cityblock")[:, 0], out=gaps)
        return np.array(odd, np.int64)


def _cap(leaders: Pairs, masses: Array, bound: Bound) -> float:
    """Up to where margins should be counted; `masses` (K, BINS + 1) of leaders are over [-1, SEEN_TO]."""
    below = np.cumsum(masses, axis=1) < MOST * masses.sum(axis=1, keepdims=True)
    reached = np.linspace(-1.0, SEEN_TO, BINS + 1)[below.sum(axis=1)]
    highest = float((leaders.upper / leaders.scale).max())
    return float(np.clip(min(bound.cap(reached), highest), NARROWEST, SEEN_TO))


def _shapes(cap: float) -> Array:
    """Masses (S, BINS + 1) of margins that nobody need have: normal ones, counted up to `cap`."""
    knots = np.linspace(-1.0, cap, BINS + 1)
    between = (knots[1:] + knots[:-1]) / 2
    found = []
    for share, spread in SHAPES:
        below = ndtr((between - share * cap) / (spread * (1 + cap)))
        found.append(np.diff(below, prepend=0.0, append=1.0))
    return np.array(found)

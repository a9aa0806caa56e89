"""How often certificates claim too much: what is simulated and enumerated, and what has to be caught.

`rows` are drawn again and again, what can become of `enumerations` is counted exactly, and the unsound
variants in `controls` have to be seen. `test_soundness` does so briefly, `tests.certify.study` at length.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import binom, binomtest

import certify.cdf
from certify import GUARANTEES, Certificate, Guarantee, Method, rounds, selection_size, settled
from certify.betting import Plan
from certify.blocks import blocks
from certify.crowd import Closed, Crowd
from certify.pairs import Pairs, pairs
from certify.playbook import Playbook
from certify.points import Points
from certify.positions import Positions
from certify.rounds import TARGET_HORIZON
from certify.selection import danger
from certify.sequential import Race, SequentialTest
from certify.vectors import Balls
from certify.votes import vote_pairs
from certify.wealth import Bets
from tests.certify.worlds import Array, Begun, Rule, World, world_of

ALPHA = 0.05
# Numbers of samples that are asked for by who fishes for the largest radius.
FISHED = 49

# --- certificates in a world


@dataclass(frozen=True)
class Case:
    """What is asked for, and when certificates are read: after every round up to `n`, or once, at `n`.

    With a `target`, until it is settled. Methods `paper` and `bisector` are read once in any case. With
    several `attempts` on fresh noise, the largest radius is believed. `anytime`: no horizon is fixed.
    `fished`: by an asker who tries FISHED numbers of samples up to `n`, each planned as the service does.
    """

    rule: Rule = "embedding"
    method: Method = "cdf"
    guarantee: Guarantee = "label"
    n: int = 512
    alpha: float = 0.05
    once: bool = False
    target: float | None = None
    attempts: int = 1
    within_k: int = 1
    anytime: bool = False
    fished: bool = False

    @property
    def reading(self) -> str:
        if self.fished:
            return "every max_samples"
        if self.once or self.method in ("paper", "bisector"):
            return "one"
        reading = "every round" if self.target is None else "until settled"
        return f"{reading}, no horizon" if self.anytime else reading

    def horizon(self, samples: int) -> int | None:
        """None is fixed if the case is `anytime`."""
        if self.fished:
            return planned(samples, self.target)
        if self.anytime:
            return None
        return self.n if self.target is None else TARGET_HORIZON

    def counts(self) -> list[int]:
        if self.fished:
            return np.unique(np.geomspace(8, self.n, FISHED).astype(int)).tolist()
        return [self.n] if self.reading == "one" else list(rounds(self.n))

    def read(
        self, world: World, samples: NDArray[np.float32], begun: Begun | None = None
    ) -> tuple[Certificate, bool]:
        """A certificate, and whether it claims what is false; `begun` by earlier looks at these samples."""
        return world.read(
            samples,
            self.rule,
            self.guarantee,
            self.method,
            self.alpha,
            self.horizon(len(samples)),
            self.target,
            self.within_k,
            begun,
        )


@dataclass
class Outcome:
    """What a simulation saw: repetitions, those with a false claim, and those with a positive radius."""

    repetitions: int = 0
    violations: int = 0
    positive: int = 0

    def refutes(self, alpha: float) -> bool:
        """Whether a violation probability of at most `alpha` is out of the question (level 1e-4)."""
        return bool(binomtest(self.violations, self.repetitions, alpha, "greater").pvalue < 1e-4)

    def upper(self, level: float = 0.99) -> float:
        """Clopper-Pearson: the violation probability is below this with confidence `level`."""
        test = binomtest(self.violations, self.repetitions, alternative="less")
        return float(test.proportion_ci(level).high)


def planned(most: int, target: float | None) -> int | None:
    """`certify.horizon_for`, as it is or as a control broke it."""
    horizon: int | None = sys.modules["certify.rounds"].horizon_for(most, target)
    return horizon


def simulate(world: World, case: Case, *, repetitions: int, seed: int | list[int] = 0) -> Outcome:
    """Certify the same query again and again, on fresh noise. A false claim at any reading is a violation.

    What only chooses is not read: nothing is claimed there (`tests/certify/test_certifier.py`).
    """
    outcome = Outcome()
    rng, counts = np.random.default_rng(seed), case.counts()
    for _ in range(repetitions):
        false = positive = False
        for _ in range(case.attempts):
            samples, begun = world.draw(rng, case.n), Begun()
            for count in counts:
                if selection_size(count) == count:
                    continue
                certificate, wrong = case.read(world, samples[:count], begun)
                false, positive = false or wrong, positive or certificate.radius > 0
                if settled(certificate):
                    break
        outcome.repetitions += 1
        outcome.violations += false
        outcome.positive += positive
    return outcome


@dataclass(frozen=True)
class Exact:
    """Probabilities of a false claim and of a positive radius at any reading, each up to `neglected`."""

    violation: float
    positive: float
    neglected: float


# How many samples of the selection, and of each block so far, take the first value; any positive radius?
State = tuple[tuple[int, ...], bool]


def exactly(world: World, case: Case, counts: Sequence[int] = (), negligible: float = 1e-6) -> Exact:
    """Probabilities in a half-space: all that two-valued samples can do is enumerated, none is drawn.

    Only the number of samples on either side counts within the selection, and within each block of bets: so
    that is what a state is, and every state is certified at every reading. States less probable than
    `negligible` are left out. `counts`: when certificates are read, if not when the case says.
    """
    readings = counts or case.counts()
    borders = block_borders(readings[0], readings[-1])
    share = float(ndtr(-world.position / world.sigma))
    values = world.embed(np.array([-1.0, 1.0])).astype(np.float32)
    states: dict[State, float] = {((0,), False): 1.0}
    violation = neglected = 0.0
    for first, last in pairwise(sorted({*borders, *readings})):
        fresh = binom.pmf(np.arange(last - first + 1), last - first, share).tolist()
        after: dict[State, float] = defaultdict(float)
        for (low, positive), mass in states.items():
            begun = (*low, 0) if first in borders[1:] else low
            for more, probability in enumerate(fresh):
                after[(*begun[:-1], begun[-1] + more), positive] += mass * probability
        neglected += sum(mass for mass in after.values() if mass < negligible)
        states = {state: mass for state, mass in after.items() if mass >= negligible}
        if last in readings:
            sizes = np.diff([border for border in borders if border < last] + [last]).tolist()
            after = defaultdict(float)
            for (low, positive), mass in states.items():
                certificate, wrong = case.read(world, two_valued(values, low, sizes))
                if wrong:
                    violation += mass
                else:
                    after[low, positive or certificate.radius > 0] += mass
            states = after
    positive = sum(mass for (_, positive), mass in states.items() if positive)
    return Exact(violation, violation + positive, neglected)


def block_borders(first: int, last: int) -> list[int]:
    """Where the selection and the blocks of bets begin and end, for readings from `first` to `last`."""
    selected = selection_size(first)
    return [0, selected, *(end for _, end in blocks(selected, last))]


def two_valued(values: NDArray[np.float32], low: Sequence[int], sizes: Sequence[int]) -> NDArray[np.float32]:
    """Samples in blocks of `sizes`: the first `low` of each are values[0], the others values[1]."""
    runs = [run for some, size in zip(low, sizes, strict=True) for run in (some, size - some)]
    return np.repeat(np.tile(values, (len(sizes), 1)), runs, axis=0)


# --- what is looked at


@dataclass(frozen=True)
class Row:
    """A case in a world."""

    world: str
    case: Case

    @property
    def names(self) -> dict[str, str | int]:
        case = self.case
        guarantee = f"within {case.within_k}" if case.guarantee == "within" else case.guarantee
        return {"world": self.world, "rule": case.rule, "method": case.method, "guarantee": guarantee,
                "n": case.n, "reading": case.reading}  # fmt: skip

    @property
    def seed(self) -> int:
        return crc32(repr(self).encode())

    def block(self, number: int, repetitions: int) -> list[int]:
        """Repetitions with a seed of their own: how many, those with a false claim, those with any radius."""
        found = simulate(world_of(self.world), self.case, repetitions=repetitions, seed=[self.seed, number])
        return [found.repetitions, found.violations, found.positive]


def rows() -> Iterator[Row]:
    for world, n in {
        "half-space, values inside the range": 384,
        "half-space in the orthant": 384,
        "half-space, rival in a cluster": 384,
        "staircase": 512,
        "staircase, near the border": 512,
        "crowd": 384,
        "trap": 384,
        "ramp": 512,
        "arc": 384,
        "band": 384,
        "ball": 384,
        "shells": 384,
        "mixture": 384,
        "mixture in the orthant, in clusters": 384,
        "mixture, clusters closed": 384,
        "herd": 384,
        "herd of members alike": 384,
        "herd in groups": 384,
        "herd of members alike, in groups": 384,
        "herd, members far apart": 384,
        "herd, comparisons spent": 384,
        "ambush": 384,
        "ambush by a group": 384,
        "ambush, comparisons spent": 384,
    }.items():
        yield Row(world, Case(n=n))
    for world in ("staircase", "ramp", "ball", "mixture in the orthant, in clusters", "herd"):
        yield Row(world, Case(guarantee="item", n=384))
    for world, k in {
        "podium": 6,
        "staircase": 2,
        "herd, comparisons spent": 4,
        "mixture": 2,
        "trap": 3,
    }.items():
        yield Row(world, Case(guarantee="within", n=384, within_k=k))
    for world in ("half-space in the orthant", "staircase", "mixture"):
        yield Row(world, Case(method="mean", n=384))
    yield Row("ball", Case(method="mean", guarantee="item", n=384))
    for world in ("staircase", "crowd", "ball", "mixture"):
        yield Row(world, Case("vote", n=384))
    for world in ("staircase", "shells"):
        yield Row(world, Case("vote", guarantee="item", n=384))
    for world in ("staircase", "crowd", "herd", "herd of members alike"):
        yield Row(world, towards_the_truth(world, Case(n=640)))
    yield Row("staircase", towards_the_truth("staircase", Case("vote", n=640)))
    # Bets are planned in three ways up to 640 samples, and once more beyond 1,024.
    for world, n in {
        "half-space in the orthant": 640,
        "staircase": 1152,
        "crowd": 640,
        "mixture": 640,
        "herd": 640,
    }.items():
        yield Row(world, Case(n=n, anytime=True))
    yield Row("ball", Case(method="mean", guarantee="item", n=640, anytime=True))
    yield Row("staircase", Case("vote", n=1152, anytime=True))
    yield Row("staircase", towards_the_truth("staircase", Case(n=1152, anytime=True)))
    yield Row("half-space, few samples", Case(method="mean", guarantee="item", n=1000, fished=True))
    yield Row("staircase", Case(n=1000, fished=True))
    for guarantee in GUARANTEES:
        k = 2 if guarantee == "within" else 1
        yield Row(
            "half-space, few samples", Case(method="mean", guarantee=guarantee, n=152, once=True, within_k=k)
        )
        yield Row("staircase", Case(guarantee=guarantee, n=200, once=True, within_k=k))
        for world in ("half-space, rival in a cluster", "staircase", "ball", "mixture"):
            for method in ("paper", "bisector"):
                yield Row(world, Case(method=method, guarantee=guarantee, within_k=k))


def towards_the_truth(world: str, case: Case) -> Case:
    """The case with a target just above the true radius: what can tempt most to claim too much."""
    place = world_of(world)
    here = np.array([place.position])
    answer = int(place.nearest(place.smoothed(here))[0])
    if case.rule == "embedding":
        truth = place.true_radius(case.guarantee, answer)
    else:
        assert place.shares is not None
        truth = place.true_vote_radius(
            case.guarantee, int(place.voted(place.shares(here), case.guarantee)[0])
        )
    return replace(case, target=1.0001 * truth)


@dataclass(frozen=True)
class Enumeration:
    """A case in a half-space, read at `counts`, with the first bets after `selection` samples."""

    world: str
    case: Case
    selection: int = 128
    counts: tuple[int, ...] = ()

    def block(self, *_: int) -> list[float]:
        """All of it: the probabilities of a false claim, of a positive radius, and what was neglected."""
        with pytest.MonkeyPatch.context() as patch:
            first_bets_after(patch, self.selection)
            found = exactly(world_of(self.world), self.case, self.counts)
        return [found.violation, found.positive, found.neglected]


def enumerations() -> Iterator[Enumeration]:
    for method in ("cdf", "mean"):
        for world in ("half-space", "half-space, rival in a cluster"):
            yield Enumeration(world, Case(method=method, guarantee="item"))
    yield Enumeration("half-space", Case("vote", guarantee="item"))
    yield Enumeration("half-space, values inside the range", Case(guarantee="item"))
    yield Enumeration("half-space in the orthant, hardly ever left", Case(guarantee="item"))
    # At every number of samples, and at a confidence that leaves more room for mistakes to show.
    for alpha in (0.05, 0.5):
        for world, case in (
            ("half-space, few samples", Case()),
            ("half-space, few samples", Case(method="mean")),
            ("half-space, few samples", Case("vote")),
            ("half-space, radius 0", Case()),
        ):
            asked = replace(case, guarantee="item", n=32, alpha=alpha)
            yield Enumeration(world, asked, 8, tuple(range(16, 33)))


def first_bets_after(patch: pytest.MonkeyPatch, samples: int) -> None:
    """Let so many samples choose what to certify, and margins be counted up to the end of their range.

    Then a half-space leaves no slack that could hide a mistake.
    """

    def highest(leaders: Pairs, *_: Any) -> float:
        return float((leaders.upper / leaders.scale).max())

    patch.setattr("certify.sequential._cap", highest)
    patch.setattr(sys.modules["certify.selection"], "SELECTION", samples)
    patch.setattr(sys.modules["certify.rounds"], "SELECTION", samples)  # the name is a function as well


# --- unsound variants, each of which has to be caught


def no_confidence(patch: pytest.MonkeyPatch) -> None:
    """Any wealth above 1 counts as proof."""

    def credulous(*margins: Any, alpha: float, **options: Any) -> SequentialTest:
        return SequentialTest(*margins, alpha=1.0, **options)

    patch.setattr("certify.claims.SequentialTest", credulous)


def one_more_rival_lost(patch: pytest.MonkeyPatch) -> None:
    """One more rival may be ahead than was said."""

    def lax(*margins: Any, lost: int = 0, **options: Any) -> SequentialTest:
        return SequentialTest(*margins, lost=lost + 1, **options)

    patch.setattr("certify.claims.SequentialTest", lax)


def bets_see_their_samples(patch: pytest.MonkeyPatch) -> None:
    """Payoffs and stakes are chosen from the samples on which they bet."""
    lead, playbook = SequentialTest._lead, SequentialTest._playbook
    ahead: dict[SequentialTest, Points] = {}

    def looking(test: SequentialTest, points: Points) -> tuple[Race, list[Array], float]:
        ahead[test] = points
        return lead(test, points)

    def peeking(test: SequentialTest, seen: Array, unseen: Array, first: int) -> Playbook:
        last = min(2 * first, len(ahead[test]))
        if last > first:
            met = test.positions.masses(test.planned, ahead[test], first, last)
            seen = np.concatenate([met, seen[len(met) :]])
        return playbook(test, seen, unseen, first)

    patch.setattr(SequentialTest, "_lead", looking)
    patch.setattr(SequentialTest, "_playbook", peeking)


def curve_with_the_wrong_sign(patch: pytest.MonkeyPatch) -> None:
    """T_ρ(p) = Φ(Φ⁻¹(p) + ρ): what a perturbation can win, not what it can lose."""
    for name in ("shifted", "log_slope", "intercept"):
        curve = getattr(certify.cdf, name)
        patch.setattr(certify.cdf, name, lambda at, rho, curve=curve: curve(at, -rho))


def stake_not_capped(patch: pytest.MonkeyPatch) -> None:
    """More may be lost than there is; what is left is then called nothing."""

    def factors(plan: Plan, rho: float) -> Array:
        values = plan.payoffs.gains + plan.payoffs.constant(rho)[:, None]
        return np.log(np.maximum(1 + plan.stakes[:, None] * values, 1e-300))

    patch.setattr(Plan, "log_factors", factors)


def half_the_lower_end(patch: pytest.MonkeyPatch) -> None:
    """A margin is taken to lose half of what it can lose."""
    patch.setattr(Pairs, "scale", property(lambda pairs: np.maximum(-pairs.lower / 2, 1e-4)))


def other_rivals_on_trust(patch: pytest.MonkeyPatch) -> None:
    """Only a few rivals are bet on, and not those that look most dangerous."""
    patch.setattr("certify.sequential.danger", lambda *known: -danger(*known))
    slow = SequentialTest._slow

    def trusting(
        test: SequentialTest, positions: Positions, rows: Any, look: Race, rho: float, needed: float
    ) -> Any:
        return slow(test, positions, rows[:0], look, rho, needed)

    patch.setattr(SequentialTest, "_slow", trusting)


def clusters_as_their_centres(patch: pytest.MonkeyPatch) -> None:
    """What holds of the centre of a cluster is taken to hold of its members."""
    closed = Crowd._closed

    def partial(crowd: Crowd, balls: Balls, numbers: Any, counts: Any, leads: Any) -> Closed:
        found = closed(crowd, balls, numbers, counts, leads)
        return replace(found, pairs=pairs(crowd.winners, balls.centres[numbers], found.chosen, crowd.space))

    patch.setattr(Crowd, "_closed", partial)


def groups_as_their_centres(patch: pytest.MonkeyPatch) -> None:
    """What holds of the centre of a group is taken to hold of its clusters."""
    closed = Crowd._closed

    def partial(crowd: Crowd, balls: Balls, numbers: Any, counts: Any, leads: Any) -> Closed:
        found = closed(crowd, balls, numbers, counts, leads)
        if balls is not crowd.vectors.grouped:
            return found
        return replace(found, pairs=pairs(crowd.winners, balls.centres[numbers], found.chosen, crowd.space))

    patch.setattr(Crowd, "_closed", partial)


def reach_of_clusters_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Members are taken to be as far from the centre of the samples as they are, but in no direction."""
    closed = Crowd._closed

    def partial(*known: Any) -> Closed:
        found = closed(*known)
        return replace(found, pairs=replace(found.pairs, reach=0 * found.pairs.reach))

    patch.setattr(Crowd, "_closed", partial)


def closed_clusters_forgotten(patch: pytest.MonkeyPatch) -> None:
    """When no more comparisons may be made, whoever was not compared is let go."""

    def forgetting(test: SequentialTest, crowd: Crowd, look: Race, slow: Bets, rho: float) -> Bets:
        return slow

    patch.setattr(SequentialTest, "_crowded", forgetting)


def unnamed_votes_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Only those that the first votes named may win."""

    def named(*votes: Any) -> tuple[Pairs, Any] | None:
        chosen = vote_pairs(*votes)
        if chosen is None:
            return None
        pairs, indicators = chosen
        return pairs.of(np.arange(len(pairs) - 1)), indicators

    patch.setattr("certify.votes.vote_pairs", named)


def no_ball(patch: pytest.MonkeyPatch) -> None:
    """The mean of the samples is taken for the mean embedding."""
    patch.setattr("certify.certifier.mean_ball", lambda *_: 0.0)


def rounded_up(patch: pytest.MonkeyPatch) -> None:
    """Radii are rounded to the next decimal above."""
    patch.setattr("certify.certificate.round_down", lambda radius: math.ceil(max(radius, 0.0) * 1e6) / 1e6)


def best_of_many(patch: pytest.MonkeyPatch) -> None:
    """The code as it is, and the largest radius of several repetitions."""


def a_horizon_for_each(patch: pytest.MonkeyPatch) -> None:
    """Every number of samples is a claim of its own, with half of fewer than 256 to select."""
    patch.setattr(sys.modules["certify.rounds"], "horizon_for", lambda most, target: most)
    for module in [module for name, module in sys.modules.items() if name.startswith(("certify.", "tests."))]:
        if hasattr(module, "selection_size"):
            patch.setattr(module, "selection_size", lambda samples: min(128, samples // 2))


@dataclass(frozen=True)
class Control:
    """What is broken, and a case that shows it. `enough` repetitions, as a rule, to see it."""

    broken: Callable[[pytest.MonkeyPatch], None]
    row: Row
    selection: int = 128
    enough: int = 40

    @property
    def name(self) -> str:
        return self.broken.__name__.replace("_", " ")

    def run(self, repetitions: int, seed: int | list[int] = 0, *, whole: bool = False) -> Outcome:
        """What the broken code does; the `whole` one for comparison."""
        with pytest.MonkeyPatch.context() as patch:
            first_bets_after(patch, self.selection)
            case = self.row.case
            if whole:
                case = replace(case, attempts=1)
            else:
                self.broken(patch)
            return simulate(world_of(self.row.world), case, repetitions=repetitions, seed=seed)

    def caught(self, part: int = 8) -> bool:
        """Whether alpha is refuted, looked at after every `part` repetitions until there are `enough`.

        What is sound is taken for broken with a probability of 1e-4 at each look.
        """
        seen = Outcome()
        for number in range(0, self.enough, part):
            found = self.run(part, seed=[1, number])
            seen.repetitions += found.repetitions
            seen.violations += found.violations
            if seen.refutes(ALPHA):
                return True
        return False

    def block(self, number: int, repetitions: int) -> list[int]:
        """Repetitions with a seed of their own: how many, and false claims if broken, and if whole."""
        seed = [self.row.seed, number]
        broken, whole = self.run(repetitions, seed), self.run(repetitions, seed, whole=True)
        return [repetitions, broken.violations, whole.violations]


def controls() -> Iterator[Control]:
    yield Control(no_confidence, Row("staircase", Case()))
    yield Control(no_confidence, Row("half-space, radius 0", Case(method="mean")))
    yield Control(no_confidence, Row("half-space", Case("vote")))
    peeked = towards_the_truth("staircase, near the border", Case(n=4096, once=True))
    yield Control(bets_see_their_samples, Row("staircase, near the border", peeked), 4, 400)
    yield Control(no_confidence, Row("staircase", Case(anytime=True)))
    anytime = replace(peeked, anytime=True)
    yield Control(bets_see_their_samples, Row("staircase, near the border", anytime), 4, 400)
    yield Control(curve_with_the_wrong_sign, Row("staircase", Case()))
    lopsided = "half-space in the orthant, hardly ever left"
    yield Control(stake_not_capped, Row(lopsided, Case(method="mean", target=0.15)), enough=100)
    yield Control(one_more_rival_lost, Row("staircase", Case(guarantee="within", within_k=2)))
    yield Control(half_the_lower_end, Row("half-space", Case()))
    yield Control(other_rivals_on_trust, Row("trap", Case()))
    yield Control(clusters_as_their_centres, Row("ambush, comparisons spent", Case()))
    yield Control(groups_as_their_centres, Row("ambush by a group", Case()))
    yield Control(reach_of_clusters_forgotten, Row("ambush, comparisons spent", Case()))
    yield Control(closed_clusters_forgotten, Row("ambush, comparisons spent", Case()))
    yield Control(unnamed_votes_forgotten, Row("half-space, hardly ever left", Case("vote")))
    yield Control(no_ball, Row("half-space, radius 0", Case(method="bisector")))
    few = Case(method="mean", guarantee="item", n=24, once=True, attempts=20)
    yield Control(best_of_many, Row("half-space, few samples", few), 12, 150)
    fished = Case(method="mean", guarantee="item", n=1000, fished=True)
    yield Control(a_horizon_for_each, Row("half-space, few samples", fished), enough=200)
    yield Control(rounded_up, Row("half-space, radius below 2e-6", Case()))

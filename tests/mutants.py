"""Break what certificates rest on in every way that would make one false or void; see which test notices.

`python -m tests.mutants OUTPUT.json [--minutes M] [--workers N]`: each mutant is a copy of the tree with one
line changed, on which tests are run until the first failure. Verdicts are kept as they are reached: the same
command goes on where an earlier run was stopped. A verdict stands as long as the sources and the test that
noticed are what they were; that nothing notices stands as long as no test changes. Exits with 1 if a mutant
survives.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from grimp import ImportGraph, build_graph

from models.code import meaning_digest
from tests.resumable import Kept, finish

ROOT = Path(__file__).parents[1]
# In the repository, as that of the study: nobody has the time for all of it at once.
STATE = ROOT / "docs" / "mutants.jsonl"
COPIED = (
    "certify",
    "tests",
    "retrievalguard",
    "models",
    "index",
    "service",
    "evaluation",
    "bench",
    "pyproject.toml",
)
# Which tests have to notice what goes wrong in a room, and the sources that decide whether they do.
JUDGES = {
    "certify": (("tests/certify",), ("certify",)),
    "index": (("tests/service/retrieval/test_contest.py", "tests/index"), ("certify", "index", "service")),
    "service": (("tests/service/retrieval/test_contest.py",), ("certify", "index", "service")),
    "models": (("tests/models/noise",), ("models/noise",)),
}
# Tests that come first, of modules that have none of their own name.
FIRST = {
    "certify/blocks.py": "tests/certify/test_sequential.py",
    "certify/claims.py": "tests/certify/test_certifier.py",
    "certify/kernels.py": "tests/certify/test_positions.py",
    "certify/rivals.py": "tests/certify/test_crowd.py",
    "certify/terms.py": "tests/certify/test_certifier.py",
    "certify/vectors.py": "tests/certify/test_crowd.py",
    "index/hits.py": "tests/index/test_snapshot.py",
    "index/search.py": "tests/index/test_snapshot.py",
    "index/shards/coordinator.py": "tests/index/test_shards.py",
    "index/shards/copies.py": "tests/index/test_shards.py",
    "index/shards/shard.py": "tests/index/test_shards.py",
}
# Tests that take long, and come last.
LONG = ("test_soundness.py", "test_study.py")
# Seconds after which tests that go on and on have noticed.
ENDLESS = 3600

# Whether a test noticed, and which; once it is kept, also a digest of the tests that it rests on.
Verdict = dict[str, str | bool]


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in `file`, which is `what` goes wrong."""

    file: str
    what: str
    old: str
    new: str

    @property
    def tests(self) -> list[str]:
        """All that may notice: those of the module itself come first, those that take long last."""
        room = self.file.split("/")[0]
        found = [ROOT / FIRST.get(self.file, f"tests/{room}/test_{Path(self.file).stem}.py")]
        for place in JUDGES[room][0]:
            found += sorted((ROOT / place).rglob("test_*.py")) or [ROOT / place]
        known = dict.fromkeys(path for path in found if path.exists())
        return [str(path.relative_to(ROOT)) for path in sorted(known, key=lambda path: path.name in LONG)]

    @property
    def key(self) -> str:
        """The mutant and the digest of the sources that decide its verdict."""
        read = f"{sources(self.file.split('/')[0])} {astuple(self)}"
        return f"{hashlib.sha256(read.encode()).hexdigest()[:16]} {self.file}: {self.what}"

    def rests_on(self, found: Mapping[str, Any]) -> str:
        """The digest of the tests behind a verdict: the module that noticed, or all that did not."""
        by = str(found["by"]).split("::")[0]
        return meaning(*([by] if found["caught"] and by in self.tests else self.tests))


@cache
def sources(room: str) -> str:
    """The digest of what decides, besides tests, whether a mutant of `room` is noticed."""
    return meaning_digest(ROOT, JUDGES[room][1])


@cache
def meaning(*tests: str) -> str:
    """The digest of what test modules mean, what they import of tests/, and the fixtures around them."""
    names = {test.removesuffix(".py").replace("/", ".") for test in tests}
    read = names.union(*(imports().find_upstream_modules(name) for name in names))
    files = [
        file
        for name in read
        for file in (f"{name.replace('.', '/')}{end}" for end in (".py", "/__init__.py"))
    ]
    files += [f"{folder}/conftest.py" for test in tests for folder in Path(test).parents]
    return meaning_digest(ROOT, sorted({file for file in files if (ROOT / file).exists()}))[:16]


@cache
def imports() -> ImportGraph:
    """Which modules of tests/ import which."""
    return build_graph("tests", cache_dir=None)


MUTANTS = [
    # the Neyman-Pearson curve and its tangents
    Mutant(
        "certify/neyman_pearson.py", "sign of the shift", "ndtr(quantiles - rho)", "ndtr(quantiles + rho)"
    ),
    Mutant("certify/neyman_pearson.py", "slope without its ρ²/2", " - np.square(rho) / 2", ""),
    Mutant(
        "certify/neyman_pearson.py",
        "tangent of a smaller ρ",
        "middle = log_slopes / rho",
        "middle = log_slopes / rho * 1.01",
    ),
    Mutant(
        "certify/neyman_pearson.py",
        "intercept: signs of ρ/2 swapped",
        "ndtr(middle - rho / 2) -",
        "ndtr(middle + rho / 2) -",
    ),
    Mutant(
        "certify/neyman_pearson.py",
        "intercept without its second half",
        " - np.exp(log_slopes) * ndtr(middle + rho / 2)",
        "",
    ),
    # payoffs
    Mutant(
        "certify/payoffs.py",
        "rounding is added",
        "self.level(rho) - self.rounding",
        "self.level(rho) + self.rounding",
    ),
    Mutant(
        "certify/payoffs.py",
        "slopes are not paid for",
        "ROUNDING + SLOPE_ROUNDING * steepest",
        "ROUNDING + 0 * steepest",
    ),
    Mutant(
        "certify/cdf.py", "upper instead of lower end", "self.lower + (self.upper", "self.upper + (self.upper"
    ),
    Mutant("certify/cdf.py", "gain one interval too early", "out=gains[:, 1:])", "out=gains[:, :-1])"),
    Mutant("certify/cdf.py", "intercepts of half the range", "/ BINS * each.sum", "/ (2 * BINS) * each.sum"),
    Mutant("certify/mean.py", "ρ subtracted from the level", "width) + rho)", "width) - rho)"),
    Mutant("certify/mean.py", "level without Φ⁻¹(q₀)", "ndtr(_zero(self.lower, width) + rho)", "ndtr(rho)"),
    # bets
    Mutant(
        "certify/betting.py",
        "stake not cut where wealth could turn negative",
        "np.minimum(self.stakes, most)",
        "self.stakes",
    ),
    Mutant(
        "certify/betting.py",
        "twice the stake, without its cap",
        "np.minimum(self.stakes, most)",
        "2 * self.stakes",
    ),
    Mutant(
        "certify/betting.py",
        "constant forgotten in the payoff",
        "factors = self.payoffs.gains + (constant - self.payoffs.rounding)[:, None]",
        "factors = self.payoffs.gains + 0.0",
    ),
    Mutant(
        "certify/betting.py",
        "rounding not taken off where the stake is cut",
        "(constant - self.payoffs.rounding)[",
        "constant[",
    ),
    Mutant("certify/betting.py", "what is no number wins", "~(factors > 0)", "factors <= 0"),
    Mutant("certify/betting.py", "factors may be rounded up", "1e-15, 1e-11", "0.0, 1e-11"),
    Mutant("certify/betting.py", "sums may be rounded up", "1e-15, 1e-11", "1e-15, 0.0"),
    Mutant(
        "certify/terms.py",
        "any horizon",
        "self.horizon > LARGEST_HORIZON",
        "self.horizon > 10 * LARGEST_HORIZON",
    ),
    Mutant(
        "certify/certificate.py",
        "any number of samples",
        "if n <= LARGEST_HORIZON:",
        "if n <= 10 * LARGEST_HORIZON:",
    ),
    Mutant(
        "certify/blocks.py",
        "selection samples are bet on as well",
        "first = selected\n",
        "first = 0\n    found.append((0, selected))\n    first = selected\n",
    ),
    Mutant("certify/sequential.py", "threshold ln(1/α) forgotten", "float(np.log(1 / alpha))", "0.0"),
    Mutant(
        "certify/sequential.py",
        "threshold of α²'s root",
        "float(np.log(1 / alpha))",
        "float(np.log(1 / alpha)) / 2",
    ),
    Mutant(
        "certify/certifier.py",
        "samples of later looks are not checked",
        "_fault(samples[self._known :]",
        "_fault(samples[n:]",
    ),
    Mutant("certify/certifier.py", "claims are not withheld", "if claim not in claims:", "if False:"),
    # Either line alone keeps NaN out.
    Mutant(
        "certify/space.py",
        "NaN lies in the set",
        """if not np.isfinite(samples).all():
            return False
        if self.nonnegative and samples.min(initial=0.0) < 0:
            return False
        if self.padded and samples[:, -1].any():
            return False
        squares = np.einsum("nd,nd->n", samples, samples, dtype=np.float64)
        return bool(squares.max(initial=0.0) <= self.norm_bound**2)""",
        """if self.nonnegative and samples.min(initial=0.0) < 0:
            return False
        if self.padded and samples[:, -1].any():
            return False
        squares = np.einsum("nd,nd->n", samples, samples, dtype=np.float64)
        return not squares.max(initial=0.0) > self.norm_bound**2""",
    ),
    Mutant(
        "certify/space.py",
        "negative samples in the orthant",
        "if self.nonnegative and samples.min(initial=0.0) < 0:",
        "if False:",
    ),
    Mutant(
        "certify/space.py",
        "padding is not checked",
        "if self.padded and samples[:, -1].any():",
        "if False:",
    ),
    Mutant(
        "certify/space.py",
        "norms are not checked",
        "squares.max(initial=0.0) <=",
        "squares.min(initial=0.0) <=",
    ),
    # the ball
    Mutant("certify/ball.py", "ball without ln(1/α)", " + np.sqrt(2 * np.log(1 / alpha) / n)", ""),
    Mutant("certify/paper.py", "ball added to the gap", "- 2 * epsilon", "+ 2 * epsilon"),
    Mutant("certify/paper.py", "half gap not halved", "gap / (2 * lipschitz)", "gap / lipschitz"),
    Mutant("certify/paper.py", "Lipschitz constant too small", "np.sqrt(2 / np.pi)", "np.sqrt(1 / np.pi)"),
    Mutant(
        "certify/bisector.py", "ball added to the depth", "(depths[lost] - epsilon", "(depths[lost] + epsilon"
    ),
    # votes
    Mutant(
        "certify/votes.py",
        "doubt counts for nobody",
        "weights[:, 0], weights[:, -1] = 1, -1",
        "weights[:, 0] = 1",
    ),
    Mutant(
        "certify/votes.py",
        "votes for what was not named are free",
        "~np.isin(votes, named) & (votes >= 0)",
        "False",
    ),
    Mutant(
        "certify/votes.py",
        "an answer that was not chosen",
        "if not len(named) or named[counts.argmax()] != answer:",
        "if not len(named):",
    ),
    # the certificate
    Mutant(
        "certify/claims.py",
        "all of α for both guarantees",
        "if claim == terms.claim else 1 - SHARE_ASKED",
        "if claim == terms.claim else SHARE_ASKED",
    ),
    Mutant(
        "certify/selection.py",
        "selection on all samples",
        "return min(SELECTION, samples)",
        "return samples",
    ),
    Mutant(
        "certify/selection.py",
        "another selection for each number of samples",
        "return min(SELECTION, samples)",
        "return min(SELECTION, samples // 2)",
    ),
    Mutant(
        "certify/space.py",
        "norm bound of 330 dimensions for all",
        "lost = dimension * UNIT",
        "lost = min(dimension, 330) * UNIT",
    ),
    Mutant(
        "certify/certificate.py",
        "blur added",
        "of_label.first - terms.blur",
        "of_label.first + terms.blur",
    ),
    Mutant(
        "certify/certificate.py",
        "blur added to a rank's radius",
        "of_item.within - terms.blur",
        "of_item.within + terms.blur",
    ),
    Mutant(
        "certify/certifier.py",
        "slack of the ball forgotten",
        "space.norm_bound) + space.slack",
        "space.norm_bound)",
    ),
    Mutant(
        "certify/votes.py",
        "item radius above the label's, by vote",
        'if terms.guarantee == "label" and "item" in reached:',
        "if False:",
    ),
    Mutant("certify/certifier.py", "samples are not checked", "if not space.holds(samples):", "if False:"),
    Mutant(
        "certify/ledger.py",
        "noise taken from nobody",
        "share * (self.total - self.noise)",
        "share * self.total",
    ),
    Mutant(
        "index/history.py",
        "another history with the same number",
        "found is not None and found[0] == known.name",
        "found is not None",
    ),
    Mutant("models/noise/distance.py", "one border of a point", "least = 2 * tail_off", "least = tail_off"),
    Mutant(
        "models/noise/distance.py", "numbers without error", "cell + error * _density", "cell + 0 * _density"
    ),
    Mutant("models/noise/distance.py", "one sign", "points = 2 * (", "points = ("),
    Mutant("models/noise/distance.py", "no tails", " / 2 + numbers * tail[1:]", " / 2"),
    Mutant(
        "models/noise/normal.py",
        "sixteenths that overlap",
        "(y[i] - 1.0) * 32.0 - 1.0",
        "(y[i] - 1.0) * 32.0 - 1.5",
    ),
    Mutant("models/noise/normal.py", "nobody refined", "if v < 1 << REFINED_BITS:", "if v < 0:"),
    Mutant("certify/ledger.py", "overdraft", "> self.total * (1 + 1e-12)", "> self.total * 2"),
    Mutant(
        "certify/rounding.py",
        "rounding up where the float is above",
        "while units > 0 and units / scale > radius:\n        units -= 1\n",
        "",
    ),
    Mutant("certify/rounds.py", "a horizon for each number of samples", "return FEW_HORIZON", "return most"),
    Mutant("certify/rounds.py", "gives up without a look", "n >= HOPELESS_AFTER and", ""),
    # pairs, and where they stand
    Mutant(
        "certify/pairs.py",
        "sign of the weights",
        "weights = ahead[chosen[some]] - behind",
        "weights = behind - ahead[chosen[some]]",
    ),
    Mutant(
        "certify/pairs.py",
        "sign of the offsets",
        "offsets[some] = own - others",
        "offsets[some] = own + others",
    ),
    Mutant(
        "certify/pairs.py",
        "offsets not halved",
        'np.einsum("kd,kd->k", behind, behind) / 2',
        'np.einsum("kd,kd->k", behind, behind)',
    ),
    Mutant(
        "certify/pairs.py",
        "slack is not taken off",
        "loss[some] = space.slack * lengths[some] + rounded",
        "loss[some] = rounded",
    ),
    Mutant("certify/pairs.py", "margins in doubt are skipped", "self.lower <= TINY", "self.lower <= -1"),
    Mutant(
        "certify/pairs.py",
        "half the scale",
        "np.maximum(-self.lower, NARROW)",
        "np.maximum(-self.lower / 2, NARROW)",
    ),
    Mutant(
        "certify/positions.py",
        "slack is added to margins",
        "(pairs.offsets + pairs.loss)",
        "(pairs.offsets - pairs.loss)",
    ),
    Mutant("certify/positions.py", "rounding in float32 is added", "shifts -= terms", "shifts += terms"),
    Mutant(
        "certify/positions.py",
        "sums in float32 are taken for exact",
        "(pairs.weights.shape[1] + MORE) * UNIT",
        "0.01 * UNIT",
    ),
    Mutant(
        "certify/positions.py",
        "reach of a cluster forgotten",
        "(pairs.reach * scales * UP)",
        "(0 * pairs.reach * scales * UP)",
    ),
    Mutant(
        "certify/kernels.py",
        "reach is added",
        "products[i] + shift - reach * spread",
        "products[i] + shift + reach * spread",
    ),
    Mutant(
        "certify/kernels.py",
        "samples at the lower end are lost",
        "masses[k, j] += (packed >> COUNT_BITS) - above + below",
        "masses[k, j] += ((packed >> COUNT_BITS) - above if j else 0) + below",
    ),
    Mutant("certify/kernels.py", "parts of the knot below count above", "- above + below", "+ above - below"),
    Mutant(
        "certify/kernels.py",
        "a tile is counted from its second sample on",
        "for i in range(size):\n                place = places[i]",
        "for i in range(1, size):\n                place = places[i]",
    ),
    # the crowd
    Mutant(
        "certify/crowd.py",
        "lead of the centre instead of the members'",
        "leads -= terms * UP",
        "leads += 0.1 - terms * UP",
    ),
    Mutant(
        "certify/crowd.py",
        "lead forgets the rivals",
        "np.where(behind, vectors.halves[rows] - np.concatenate(products), np.inf)",
        "np.where(behind, vectors.halves[rows] - np.concatenate(products) + 1, np.inf)",
    ),
    Mutant(
        "certify/crowd.py",
        "a group is as far as its centre",
        "distances * (1 - SHORTER) - balls.radii[numbers]",
        "distances",
    ),
    Mutant(
        "certify/crowd.py",
        "a group's lead forgets where p is",
        "gaps**2 - float(np.square(crowd.point, dtype=np.float64).sum())",
        "gaps**2",
    ),
    Mutant(
        "certify/crowd.py",
        "the first group that is scattered loses its clusters",
        "self._clusters(self.groups.numbers[opened])",
        "self._clusters(self.groups.numbers[opened][1:])",
    ),
    Mutant(
        "certify/vectors.py",
        "a group is as wide as its centres are apart",
        'np.sqrt(np.einsum("cd,cd->c", gaps, gaps)) + self.radii',
        'np.sqrt(np.einsum("cd,cd->c", gaps, gaps))',
    ),
    Mutant(
        "certify/vectors.py",
        "the lowest of a group is the highest",
        "np.minimum.reduceat(inner.lowest, begins)",
        "np.minimum.reduceat(inner.highest, begins)",
    ),
    Mutant(
        "certify/crowd.py",
        "lower end of the centre alone",
        " - space.norm_bound * radii - rounded",
        " - rounded",
    ),
    Mutant(
        "certify/crowd.py",
        "highest instead of lowest member",
        "space.lower_end(weights, half - lowest)",
        "space.lower_end(weights, half - balls.highest[numbers])",
    ),
    Mutant("certify/crowd.py", "slack of the centre alone", "space.slack * (lengths + radii)", "0 * lengths"),
    Mutant("certify/crowd.py", "sign of p in the offsets", "half - leads - across", "half - leads + across"),
    Mutant(
        "certify/crowd.py",
        "members of the next cluster",
        "runs(self.vectors.starts, clusters.numbers)",
        "runs(self.vectors.starts, clusters.numbers * 0)",
    ),
    Mutant(
        "certify/rivals.py",
        "clusters that are not opened are left out",
        "crowd = crowd.without(opened) if len(rows) < np.count_nonzero(self.behind) else None",
        "crowd = None",
    ),
    Mutant(
        "certify/rivals.py",
        "opened clusters are left in, others are not",
        "crowd.without(opened) if",
        "crowd.without(~opened) if",
    ),
    # the race
    Mutant(
        "certify/sequential.py",
        "other rivals are not looked at",
        "slow = led.failing(rho).beside(others)",
        "slow = led.failing(rho)",
    ),
    Mutant(
        "certify/sequential.py",
        "the crowd is not looked at",
        "if self.crowd is not None and rho > 0:",
        "if False:",
    ),
    Mutant(
        "certify/sequential.py", "closed clusters are forgotten", "return slow.beside(closed)", "return slow"
    ),
    Mutant(
        "certify/sequential.py",
        "opened members are forgotten",
        "slow = slow.beside(found)",
        "slow = slow.of(slow.counts > 0)",
    ),
    Mutant(
        "certify/sequential.py",
        "a cluster passes without its share",
        "self.threshold - np.log(TOGETHER)",
        "self.threshold",
    ),
    Mutant(
        "certify/sequential.py",
        "a group passes without its share",
        "self.threshold - np.log(GROUPED)",
        "self.threshold",
    ),
    Mutant(
        "certify/sequential.py",
        "groups that have not passed are let go",
        "crowd = crowd.scattered(self._closed(crowd.groups, race, rho, grouped)[0])",
        "self._closed(crowd.groups, race, rho, grouped)",
    ),
    Mutant(
        "certify/sequential.py",
        "plans of one's own pass without their share",
        "self.threshold - np.log(OWN)",
        "self.threshold",
    ),
    Mutant(
        "certify/sequential.py",
        "a plan sees the samples it bets on",
        "self._books.append(self._playbook(seen, unseen, first))",
        "self._books.append(self._playbook(np.concatenate("
        "[self.positions.masses(self.planned, points, 0, last), last * self.shapes]), unseen, first))",
    ),
    Mutant(
        "certify/sequential.py",
        "picks see the samples they bet on",
        "picks.append(book.picks(seen))",
        "picks.append(book.picks(seen + positions.masses(rows, race.points, *span)))",
    ),
    Mutant(
        "certify/sequential.py",
        "safe rivals kept, others dropped",
        "slow = wealth < needed",
        "slow = wealth >= needed",
    ),
    Mutant(
        "certify/sequential.py",
        "who failed by own plans is let go",
        "picked.of(kept).beside(own.of(failed & better))",
        "picked.of(kept)",
    ),
    Mutant(
        "certify/wealth.py",
        "best instead of worst rival",
        "if surplus.min(initial=np.inf) >= 0:",
        "if surplus.max(initial=np.inf) >= 0:",
    ),
    Mutant(
        "certify/wealth.py",
        "wealth is not multiplied from block to block",
        "wealth += won(plan, picks, masses, rho)",
        "wealth = won(plan, picks, masses, rho)",
    ),
    Mutant(
        "certify/claims.py",
        "rivals that are lost together do not share alpha",
        "share) / terms.within_k,",
        "share),",
    ),
    Mutant(
        "certify/claims.py",
        "as many rivals may be lost as places count",
        "lost=terms.within_k - 1,",
        "lost=terms.within_k,",
    ),
    Mutant(
        "certify/sequential.py",
        "where all may be lost the first place is taken for safe",
        "first = slow.largest(rho) if self.lost and rho > 0 else rho",
        "first = np.inf if self.spared else slow.largest(rho) if self.lost and rho > 0 else rho",
    ),
    Mutant(
        "certify/wealth.py",
        "one more rival may be lost",
        "self.counts[self.surplus(rho) < 0].sum()) <= lost",
        "self.counts[self.surplus(rho) < 0].sum()) <= lost + 1",
    ),
    Mutant(
        "certify/wealth.py",
        "a cluster counts as one",
        "int(self.counts[self.surplus(rho) < 0].sum())",
        "int((self.surplus(rho) < 0).sum())",
    ),
    Mutant(
        "certify/betting.py",
        "losses are not counted",
        "np.log(np.maximum(factors, 1e-300, ",
        "np.log(np.maximum(factors, 1.0, ",
    ),
    Mutant(
        "certify/space.py",
        "lower end too high: positive part",
        "weights = np.minimum(weights, 0.0)",
        "weights = np.maximum(weights, 0.0)",
    ),
    Mutant(
        "certify/space.py",
        "orthant taken for granted",
        "if self.nonnegative:\n            weights",
        "if True:\n            weights",
    ),
    Mutant("certify/space.py", "norm bound ignored", "-self.norm_bound * np.sqrt", "-0.5 * np.sqrt"),
    Mutant(
        "certify/bisector.py",
        "looks at too few rivals",
        "(distances[start] - nearest) / 2 >=",
        "(distances[start] - nearest) * 2 >=",
    ),
    Mutant(
        "certify/bisector.py",
        "farthest instead of nearest plane",
        "np.concatenate([depths, best]))[: lost + 1]",
        "np.concatenate([depths, best]))[::-1][: lost + 1]",
    ),
    Mutant(
        "certify/votes.py",
        "range too small",
        "Pairs(weights, nothing, -ones, ones,",
        "Pairs(weights, nothing, -ones / 2, ones,",
    ),
    Mutant(
        "certify/certifier.py",
        "pairs chosen on the samples that are bet on",
        "rivals.divided(exact[:selected], self.space)",
        "rivals.divided(exact[selected:], self.space)",
    ),
    Mutant(
        "certify/certifier.py",
        "centre is not checked",
        "if not all(np.array_equal(rivals.centre, centre) for rivals in field.values()):",
        "if False:",
    ),
    Mutant(
        "certify/certifier.py",
        "the gallery is not checked",
        "if not all(rivals.finite for rivals in field.values()):",
        "if False:",
    ),
    # the choice of rivals
    Mutant(
        "service/retrieval/contest.py",
        "items of the same label are no rivals of the item",
        "snapshot.all_but(int(chosen[0])), centre",
        "snapshot.of_others(label), centre",
    ),
    Mutant(
        "index/search.py",
        "items of some labels are no rivals",
        "part.segment.columns.labels != label",
        "part.segment.columns.labels > label",
    ),
    Mutant(
        "index/search.py",
        "an item is taken for the one of another number",
        "part.segment.columns.serials != serial",
        "part.segment.columns.serials != row",
    ),
    Mutant(
        "index/search.py",
        "what is near is near from wherever one looks",
        "unseen = known.outside - moved - TIE * (1 + moved)",
        "unseen = known.outside",
    ),
    Mutant(
        "certify/vectors.py",
        "clusters begin where they did in their part",
        "moved = [some[:-1] + begin for",
        "moved = [some[:-1] for",
    ),
    Mutant(
        "certify/stacked.py",
        "the first row of an array is sought in the one before",
        'rows, side="right"',
        'rows, side="left"',
    ),
    Mutant(
        "certify/stacked.py",
        "products of the first row of an array are sought in the one before",
        'firsts, side="right"',
        'firsts, side="left"',
    ),
    Mutant(
        "service/retrieval/contest.py",
        "items of any label stand for the label",
        "snapshot.nearest_of_label(centre, WINNERS, label)",
        "snapshot.nearest(centre, WINNERS)",
    ),
    Mutant(
        "service/retrieval/contest.py",
        "rivals chosen on the samples that are bet on",
        "self.choose(points[: selection_size(len(points))])",
        "self.choose(points)",
    ),
    Mutant(
        "service/retrieval/contest.py",
        "an item that was not chosen is claimed",
        "if answer == chosen:",
        "if True:",
    ),
    Mutant(
        "service/retrieval/contest.py",
        "a label that was not chosen is claimed",
        "if self.snapshot.label(answer) == self.snapshot.label(chosen):",
        "if True:",
    ),
    Mutant(
        "index/clusters.py",
        "the nearest member sets the radius",
        "np.maximum.reduceat(distances",
        "np.minimum.reduceat(distances",
    ),
    Mutant("index/clusters.py", "radii are rounded down", "UP = 1 + 1e-9", "UP = 1 - 1e-9"),
    Mutant("index/clusters.py", "clusters replace earlier ones", "parts += _parts(", "parts = _parts("),
    Mutant(
        "index/clusters.py",
        "vectors in the order of the gallery",
        "members_of = vectors[order]",
        "members_of = vectors",
    ),
    # shards
    Mutant(
        "index/shards/coordinator.py",
        "a shard may be left out",
        "if whole([leaves[number] for number in asked if number in leaves]) != whole(",
        "if False and whole([]) != whole(",
    ),
    Mutant(
        "index/shards/copies.py",
        "an answer to another question will do",
        "answer.of != request.digest or not answer.sound",
        "not answer.sound",
    ),
    Mutant("index/shards/shard.py", "who has left is still there", "part.there(len(vectors))", "None"),
    Mutant(
        "index/hits.py",
        "what was found in the first part comes first",
        "np.lexsort((parts, squares), axis=1)",
        "np.lexsort((squares, parts), axis=1)",
    ),
    Mutant(
        "index/search.py",
        "a distance that float32 rounded counts as exact",
        "squares[known].astype(np.float64) - slack[known]",
        "squares[known].astype(np.float64)",
    ),
    Mutant(
        "index/search.py",
        "more ties than were proposed are not looked at",
        "if count and found.distances[-1] >= unseen:",
        "if False:",
    ),
    Mutant(
        "index/votes.py",
        "votes in doubt count",
        "close = distances**2 - first**2 <= 2 * apart * slack + TIE",
        "close = distances**2 - first**2 < 0 * apart",
    ),
]


@contextmanager
def copies(number: int) -> Iterator[SimpleQueue[Path]]:
    """So many copies of the tree, for mutants to take turns: what was compiled for one serves the next."""
    trees: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        for tree in (Path(folder, str(each)) for each in range(number)):
            for name in COPIED:
                source = ROOT / name
                if source.is_dir():
                    shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy2(source, tree / name)
            trees.put(tree)
        yield trees


@contextmanager
def broken(mutant: Mutant, tree: Path) -> Iterator[None]:
    """The mutation in `tree`. Afterwards the file is as old as before: nothing compiled of it lives on."""
    target = tree / mutant.file
    sound, status = target.read_text(), target.stat()
    target.write_text(sound.replace(mutant.old, mutant.new))
    try:
        yield
    finally:
        target.write_text(sound)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def judge(mutant: Mutant, tree: Path) -> Verdict:
    """Run the tests on a copy with the mutation; says which failed first.

    The first file runs by itself: most mutants go no further, and to import all the others takes longer.
    """
    first, others = mutant.tests[:1], mutant.tests[1:]
    with broken(mutant, tree):
        found = verdict(first, mutant, tree)
        return found if found["caught"] or not others else verdict(others, mutant, tree)


def verdict(tests: Sequence[str], mutant: Mutant, tree: Path) -> Verdict:
    """Whether one of `tests` fails in `tree`, and which."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "tests.unshrunk", "--no-header"]
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *tests, *options],
            cwd=tree, capture_output=True, text=True, check=False, timeout=ENDLESS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"caught": True, "by": f"no end within {ENDLESS} s"}
    if run.returncode in (-signal.SIGKILL, -signal.SIGTERM):
        raise RuntimeError(f"the tests of {mutant.what!r} were killed: run this again")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
    last = (run.stdout.strip().splitlines() or [f"status {run.returncode}"])[-1]
    return {"caught": run.returncode == 1 or bool(failed), "by": failed[1] if failed else last}


def report(results: dict[str, Any]) -> dict[str, Any]:
    """The verdict on each mutant; `caught` is None of one that was not run."""
    known = [results.get(each.key, {"caught": None, "by": None}) for each in MUTANTS]
    counted = [found["caught"] for found in known]
    return {
        "complete": None not in counted,
        "mutants": len(MUTANTS),
        "caught": counted.count(True),
        "missed": counted.count(False),
        "not_run": counted.count(None),
        "list": [
            {"file": each.file, "what": each.what, "caught": found["caught"], "by": found["by"]}
            for each, found in zip(MUTANTS, known, strict=True)
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no mutant after so many")
    parser.add_argument("--workers", type=int, default=2, help="mutants at a time")
    parser.add_argument("--state", type=Path, default=STATE, help="where verdicts are kept")
    asked = parser.parse_args(arguments)
    for mutant in MUTANTS:
        if (places := (ROOT / mutant.file).read_text().count(mutant.old)) != 1:
            raise SystemExit(f"{mutant.file}: {places} places for {mutant.what!r}, not 1")
    kept = Kept(asked.state)
    by_key = {mutant.key: mutant for mutant in MUTANTS}
    kept.results = {
        key: found
        for key, found in kept.results.items()
        if key in by_key and found["tests"] == by_key[key].rests_on(found)
    }
    with copies(asked.workers) as trees, ThreadPoolExecutor(asked.workers) as pool:

        def judged(mutant: Mutant) -> Verdict:
            tree = trees.get()
            try:
                found = judge(mutant, tree)
                return found | {"tests": mutant.rests_on(found)}
            finally:
                trees.put(tree)

        for key, _ in finish(
            by_key.items(), judged, kept, pool, workers=asked.workers, minutes=asked.minutes
        ):
            print(f"{key}: {kept.results[key]}", flush=True)
    found = report(kept.results)
    asked.output.write_text(json.dumps(found, indent=1) + "\n")
    print("  ".join(f"{name}: {found[name]}" for name in ("mutants", "caught", "missed", "not_run")))
    if found["missed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Break certify/ in every way that would make a certificate false or void, and see which test notices.

`python -m tests.mutants OUTPUT.json [WORKERS]`: each mutant is a copy of the tree with one line changed, on
which tests/certify is run until the first failure. Exits with 1 if one survives.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
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


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in certify/`file`, which is `what` goes wrong."""

    file: str
    what: str
    old: str
    new: str


MUTANTS = [
    # the Neyman-Pearson curve and its tangents
    Mutant("neyman_pearson.py", "sign of the shift", "ndtr(quantiles - rho)", "ndtr(quantiles + rho)"),
    Mutant("neyman_pearson.py", "slope without its ρ²/2", " - np.square(rho) / 2", ""),
    Mutant(
        "neyman_pearson.py",
        "tangent of a smaller ρ",
        "middle = log_slopes / rho",
        "middle = log_slopes / rho * 1.01",
    ),
    Mutant(
        "neyman_pearson.py",
        "intercept: signs of ρ/2 swapped",
        "ndtr(middle - rho / 2) -",
        "ndtr(middle + rho / 2) -",
    ),
    Mutant(
        "neyman_pearson.py",
        "intercept without its second half",
        " - np.exp(log_slopes) * ndtr(middle + rho / 2)",
        "",
    ),
    # payoffs
    Mutant(
        "payoffs.py",
        "rounding is added",
        "self.level(rho) - self.rounding",
        "self.level(rho) + self.rounding",
    ),
    Mutant(
        "payoffs.py",
        "slopes are not paid for",
        "ROUNDING + SLOPE_ROUNDING * steepest",
        "ROUNDING + 0 * steepest",
    ),
    Mutant("cdf.py", "upper instead of lower end", "self.lower + (self.upper", "self.upper + (self.upper"),
    Mutant("cdf.py", "gain one interval too early", "out=gains[:, 1:])", "out=gains[:, :-1])"),
    Mutant("cdf.py", "intercepts of half the range", "/ BINS * each.sum", "/ (2 * BINS) * each.sum"),
    Mutant("mean.py", "ρ subtracted from the level", "width) + rho)", "width) - rho)"),
    Mutant("mean.py", "level without Φ⁻¹(q₀)", "ndtr(_zero(self.lower, width) + rho)", "ndtr(rho)"),
    # bets
    Mutant(
        "betting.py",
        "stake not cut where wealth could turn negative",
        "np.minimum(self.stakes, most)",
        "self.stakes",
    ),
    Mutant(
        "betting.py", "twice the stake, without its cap", "np.minimum(self.stakes, most)", "2 * self.stakes"
    ),
    Mutant(
        "betting.py",
        "constant forgotten in the payoff",
        "values = self.payoffs.gains + (constant - self.payoffs.rounding)[:, None]",
        "values = self.payoffs.gains",
    ),
    Mutant(
        "betting.py",
        "rounding not taken off where the stake is cut",
        "(constant - self.payoffs.rounding)[",
        "constant[",
    ),
    Mutant("betting.py", "factors may be rounded up", "1e-15, 1e-11", "0.0, 1e-11"),
    Mutant("betting.py", "sums may be rounded up", "1e-15, 1e-11", "1e-15, 0.0"),
    Mutant(
        "terms.py", "any horizon", "self.horizon > LARGEST_HORIZON", "self.horizon > 10 * LARGEST_HORIZON"
    ),
    Mutant(
        "certificate.py", "any number of samples", "if n <= LARGEST_HORIZON:", "if n <= 10 * LARGEST_HORIZON:"
    ),
    Mutant(
        "blocks.py",
        "selection samples are bet on as well",
        "first = selected\n",
        "first = 0\n    found.append((0, selected))\n    first = selected\n",
    ),
    Mutant("sequential.py", "threshold ln(1/α) forgotten", "float(np.log(1 / alpha))", "0.0"),
    Mutant(
        "sequential.py", "threshold of α²'s root", "float(np.log(1 / alpha))", "float(np.log(1 / alpha)) / 2"
    ),
    Mutant(
        "certifier.py",
        "samples of later looks are not checked",
        "_fault(samples[self._known :]",
        "_fault(samples[n:]",
    ),
    Mutant("certifier.py", "claims are not withheld", "if claim not in claims:", "if False:"),
    Mutant(
        "space.py",
        "NaN lies in the set",
        "if not np.isfinite(samples).all():",
        "if False:",
    ),
    Mutant(
        "space.py",
        "negative samples in the orthant",
        "if self.nonnegative and samples.min(initial=0.0) < 0:",
        "if False:",
    ),
    Mutant(
        "space.py",
        "padding is not checked",
        "if self.padded and samples[:, -1].any():",
        "if False:",
    ),
    Mutant("space.py", "norms are not checked", "squares.max(initial=0.0) <=", "squares.min(initial=0.0) <="),
    # the ball
    Mutant("ball.py", "ball without ln(1/α)", " + np.sqrt(2 * np.log(1 / alpha) / n)", ""),
    Mutant("paper.py", "ball added to the gap", "- 2 * epsilon", "+ 2 * epsilon"),
    Mutant("paper.py", "half gap not halved", "gap / (2 * lipschitz)", "gap / lipschitz"),
    Mutant("paper.py", "Lipschitz constant too small", "np.sqrt(2 / np.pi)", "np.sqrt(1 / np.pi)"),
    Mutant("bisector.py", "ball added to the depth", "(depths[lost] - epsilon", "(depths[lost] + epsilon"),
    # votes
    Mutant(
        "votes.py", "doubt counts for nobody", "weights[:, 0], weights[:, -1] = 1, -1", "weights[:, 0] = 1"
    ),
    Mutant(
        "votes.py", "votes for what was not named are free", "~np.isin(votes, named) & (votes >= 0)", "False"
    ),
    Mutant(
        "votes.py",
        "an answer that was not chosen",
        "if not len(named) or named[counts.argmax()] != answer:",
        "if not len(named):",
    ),
    # the certificate
    Mutant(
        "claims.py",
        "all of α for both guarantees",
        "if claim == terms.claim else 1 - SHARE_ASKED",
        "if claim == terms.claim else SHARE_ASKED",
    ),
    Mutant(
        "selection.py",
        "selection on all samples",
        "return min(SELECTION, samples)",
        "return samples",
    ),
    Mutant(
        "selection.py",
        "another selection for each number of samples",
        "return min(SELECTION, samples)",
        "return min(SELECTION, samples // 2)",
    ),
    Mutant(
        "space.py",
        "norm bound of 330 dimensions for all",
        "lost = dimension * UNIT",
        "lost = min(dimension, 330) * UNIT",
    ),
    Mutant(
        "certificate.py",
        "blur added",
        "of_label.first - terms.blur",
        "of_label.first + terms.blur",
    ),
    Mutant(
        "certificate.py",
        "blur added to a rank's radius",
        "of_item.within - terms.blur",
        "of_item.within + terms.blur",
    ),
    Mutant(
        "certifier.py",
        "slack of the ball forgotten",
        "space.norm_bound) + space.slack",
        "space.norm_bound)",
    ),
    Mutant(
        "votes.py",
        "item radius above the label's, by vote",
        'if terms.guarantee == "label" and "item" in reached:',
        "if False:",
    ),
    Mutant("certifier.py", "samples are not checked", "if not space.holds(samples):", "if False:"),
    Mutant("ledger.py", "overdraft", "> self.total * (1 + 1e-12)", "> self.total * 2"),
    Mutant(
        "rounding.py",
        "rounding up where the float is above",
        "while units > 0 and units / scale > radius:\n        units -= 1\n",
        "",
    ),
    Mutant("rounds.py", "a horizon for each number of samples", "return FEW_HORIZON", "return most"),
    Mutant("rounds.py", "gives up without a look", "n >= HOPELESS_AFTER and", ""),
    # pairs, and where they stand
    Mutant(
        "pairs.py",
        "sign of the weights",
        "weights = ahead[chosen[some]] - behind",
        "weights = behind - ahead[chosen[some]]",
    ),
    Mutant("pairs.py", "sign of the offsets", "offsets[some] = own - others", "offsets[some] = own + others"),
    Mutant(
        "pairs.py",
        "offsets not halved",
        'np.einsum("kd,kd->k", behind, behind) / 2',
        'np.einsum("kd,kd->k", behind, behind)',
    ),
    Mutant(
        "pairs.py",
        "slack is not taken off",
        "loss[some] = space.slack * lengths[some] + rounded",
        "loss[some] = rounded",
    ),
    Mutant("pairs.py", "margins in doubt are skipped", "self.lower <= TINY", "self.lower <= -1"),
    Mutant(
        "pairs.py", "half the scale", "np.maximum(-self.lower, NARROW)", "np.maximum(-self.lower / 2, NARROW)"
    ),
    Mutant(
        "positions.py",
        "slack is added to margins",
        "(pairs.offsets + pairs.loss)",
        "(pairs.offsets - pairs.loss)",
    ),
    Mutant("positions.py", "rounding in float32 is added", "shifts -= terms", "shifts += terms"),
    Mutant(
        "positions.py",
        "sums in float32 are taken for exact",
        "(pairs.weights.shape[1] + MORE) * UNIT",
        "0.01 * UNIT",
    ),
    Mutant(
        "positions.py",
        "reach of a cluster forgotten",
        "(pairs.reach * scales * UP)",
        "(0 * pairs.reach * scales * UP)",
    ),
    Mutant(
        "kernels.py",
        "reach is added",
        "products[i] + shift - reach * spread",
        "products[i] + shift + reach * spread",
    ),
    Mutant(
        "kernels.py",
        "samples at the lower end are lost",
        "masses[k, j] += (packed >> COUNT_BITS) - above + below",
        "masses[k, j] += ((packed >> COUNT_BITS) - above if j else 0) + below",
    ),
    Mutant("kernels.py", "parts of the knot below count above", "- above + below", "+ above - below"),
    Mutant(
        "kernels.py",
        "a tile is counted from its second sample on",
        "for i in range(size):\n                place = places[i]",
        "for i in range(1, size):\n                place = places[i]",
    ),
    # the crowd
    Mutant(
        "crowd.py",
        "lead of the centre instead of the members'",
        "lead - terms * UP",
        "lead + 0.1 - terms * UP",
    ),
    Mutant(
        "crowd.py",
        "lead forgets the rivals",
        "np.where(self.rivals, vectors.halves - vectors.rows @ single, np.inf)",
        "np.where(self.rivals, vectors.halves - vectors.rows @ single + 1, np.inf)",
    ),
    Mutant("crowd.py", "lower end of the centre alone", " - space.norm_bound * radii,", ","),
    Mutant(
        "crowd.py",
        "highest instead of lowest member",
        "space.lower_end(weights, half - lowest)",
        "space.lower_end(weights, half - highest)",
    ),
    Mutant("crowd.py", "slack of the centre alone", "space.slack * (lengths + radii)", "0 * lengths"),
    Mutant("crowd.py", "sign of p in the offsets", "offsets=half - lead -", "offsets=half - lead +"),
    Mutant("crowd.py", "members of the next cluster", "self.clusters[places])", "self.clusters[places] * 0)"),
    Mutant(
        "rivals.py",
        "clusters that are not opened are left out",
        "crowd = crowd.without(opened) if enough < len(order) else None",
        "crowd = None",
    ),
    Mutant(
        "rivals.py",
        "opened clusters are left in, others are not",
        "crowd.without(opened) if",
        "crowd.without(~opened) if",
    ),
    # the race
    Mutant(
        "sequential.py",
        "other rivals are not looked at",
        "slow = led.failing(rho).beside(others)",
        "slow = led.failing(rho)",
    ),
    Mutant(
        "sequential.py", "the crowd is not looked at", "if self.crowd is not None and rho > 0:", "if False:"
    ),
    Mutant("sequential.py", "closed clusters are forgotten", "return slow.beside(closed)", "return slow"),
    Mutant(
        "sequential.py",
        "opened members are forgotten",
        "slow = slow.beside(found)",
        "slow = slow.of(slow.counts > 0)",
    ),
    Mutant(
        "sequential.py",
        "a cluster passes without its share",
        "self.threshold - np.log(TOGETHER)",
        "self.threshold",
    ),
    Mutant(
        "sequential.py",
        "plans of one's own pass without their share",
        "self.threshold - np.log(OWN)",
        "self.threshold",
    ),
    Mutant(
        "sequential.py",
        "a plan sees the samples it bets on",
        "self._known.append((book, masses))",
        "self._known.append((self._playbook(seen + masses, unseen, first), masses))",
    ),
    Mutant(
        "sequential.py",
        "picks see the samples they bet on",
        "picks.append(book.picks(seen))",
        "picks.append(book.picks(seen + positions.masses(rows, look.points, *span)))",
    ),
    Mutant(
        "sequential.py",
        "safe rivals kept, others dropped",
        "slow = wealth < needed",
        "slow = wealth >= needed",
    ),
    Mutant(
        "sequential.py",
        "who failed by own plans is let go",
        "picked.of(kept).beside(own.of(failed & better))",
        "picked.of(kept)",
    ),
    Mutant(
        "wealth.py",
        "best instead of worst rival",
        "if surplus.min(initial=np.inf) >= 0:",
        "if surplus.max(initial=np.inf) >= 0:",
    ),
    Mutant(
        "wealth.py",
        "wealth is not multiplied from block to block",
        "wealth += won(plan, picks, masses, rho)",
        "wealth = won(plan, picks, masses, rho)",
    ),
    Mutant(
        "claims.py",
        "rivals that are lost together do not share alpha",
        "share) / terms.within_k,",
        "share),",
    ),
    Mutant(
        "claims.py",
        "as many rivals may be lost as places count",
        "lost=terms.within_k - 1,",
        "lost=terms.within_k,",
    ),
    Mutant(
        "sequential.py",
        "where all may be lost the first place is taken for safe",
        "first = slow.largest(rho) if self.lost and rho > 0 else rho",
        "first = np.inf if self.spared else slow.largest(rho) if self.lost and rho > 0 else rho",
    ),
    Mutant(
        "wealth.py",
        "one more rival may be lost",
        "self.counts[self.surplus(rho) < 0].sum()) <= lost",
        "self.counts[self.surplus(rho) < 0].sum()) <= lost + 1",
    ),
    Mutant(
        "wealth.py",
        "a cluster counts as one",
        "int(self.counts[self.surplus(rho) < 0].sum())",
        "int((self.surplus(rho) < 0).sum())",
    ),
    Mutant(
        "betting.py",
        "losses are not counted",
        "np.log(np.maximum(factors, 1e-300))",
        "np.log(np.maximum(factors, 1.0))",
    ),
    Mutant("betting.py", "a factor 0 costs nothing", "NOTHING)", "0.0)"),
    Mutant(
        "space.py",
        "lower end too high: positive part",
        "weights = np.minimum(weights, 0.0)",
        "weights = np.maximum(weights, 0.0)",
    ),
    Mutant(
        "space.py",
        "orthant taken for granted",
        "if self.nonnegative:\n            weights",
        "if True:\n            weights",
    ),
    Mutant("space.py", "norm bound ignored", "-self.norm_bound * np.sqrt", "-0.5 * np.sqrt"),
    Mutant(
        "bisector.py",
        "looks at too few rivals",
        "(distances[start] - nearest) / 2 >= depth",
        "(distances[start] - nearest) >= depth / 2",
    ),
    Mutant(
        "bisector.py",
        "farthest instead of nearest plane",
        "np.concatenate([depths, best]))[: lost + 1]",
        "np.concatenate([depths, best]))[::-1][: lost + 1]",
    ),
    Mutant(
        "votes.py",
        "range too small",
        "Pairs(weights, nothing, -ones, ones,",
        "Pairs(weights, nothing, -ones / 2, ones,",
    ),
    Mutant(
        "certifier.py",
        "pairs chosen on the samples that are bet on",
        "rivals.divided(exact[:selected], self.space)",
        "rivals.divided(exact[selected:], self.space)",
    ),
    Mutant(
        "certifier.py",
        "centre is not checked",
        "if not all(np.array_equal(rivals.centre, centre) for rivals in field.values()):",
        "if False:",
    ),
    Mutant(
        "certifier.py",
        "the gallery is not checked",
        "if not all(rivals.finite for rivals in field.values()):",
        "if False:",
    ),
]


def judge(mutant: Mutant) -> dict[str, str | bool]:
    """Run tests/certify on a copy with the mutation; says which test failed first."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, tree / name)
        target = tree / "certify" / mutant.file
        text = target.read_text()
        if text.count(mutant.old) != 1:
            raise SystemExit(f"{mutant.file}: {text.count(mutant.old)} places for {mutant.what!r}, not 1")
        target.write_text(text.replace(mutant.old, mutant.new))
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "tests/certify",
                "-x",
                "-q",
                "-p",
                "no:cacheprovider",
                "--no-header",
            ],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
    return {
        "file": f"certify/{mutant.file}",
        "what": mutant.what,
        "caught": run.returncode == 1 or bool(failed),
        "by": failed[1] if failed else run.stdout.strip().splitlines()[-1],
    }


def main(output: Path, workers: int) -> None:
    """Judge all mutants, write the list, and fail if one survived."""
    with ThreadPoolExecutor(workers) as pool:
        verdicts = []
        for verdict in pool.map(judge, MUTANTS):
            print(json.dumps(verdict), flush=True)
            verdicts.append(verdict)
    caught = sum(bool(verdict["caught"]) for verdict in verdicts)
    output.write_text(
        json.dumps({"mutants": len(verdicts), "caught": caught, "list": verdicts}, indent=1) + "\n"
    )
    print(f"{caught} of {len(verdicts)} mutants caught")
    if caught < len(verdicts):
        raise SystemExit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2)

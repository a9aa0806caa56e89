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
    # binning
    Mutant("histogram.py", "values rounded up", "masses -= moved", "masses -= 0 * moved"),
    Mutant(
        "histogram.py",
        "all of a value on the knot above",
        "positions -= knots\n",
        "positions -= knots\n    positions[:] = 1\n",
    ),
    Mutant(
        "histogram.py",
        "knots counted from the wrong end",
        "(values - lower[:, None])",
        "(upper[:, None] - values)",
    ),
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
        "losses are not counted",
        "np.log(np.maximum(factors, 0.0))",
        "np.log(np.maximum(factors, 1.0))",
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
    # the race
    Mutant(
        "book.py",
        "bets chosen from the samples they are made on",
        "seen = self._seen(units, some, samples[:first])",
        "seen = self._seen(units, some, samples[: len(samples) // first * first])",
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
        "sequential.py", "best instead of worst rival", "- self.threshold).min())", "- self.threshold).max())"
    ),
    Mutant(
        "sequential.py",
        "other rivals are not looked at",
        "return Reached(self._others(samples, aims, reached), expected)",
        "return Reached(reached, expected)",
    ),
    Mutant(
        "margins.py",
        "largest instead of smallest margin of a group",
        "values.min(axis=2)",
        "values.max(axis=2)",
    ),
    Mutant(
        "sequential.py",
        "members of a slow group are forgotten",
        "grouped[~slow], np.append(alone, split)",
        "grouped[~slow], alone",
    ),
    Mutant(
        "sequential.py",
        "rivals that failed count as safe",
        "return self._largest(slowest, reached)",
        "return reached",
    ),
    Mutant(
        "sequential.py",
        "safe rivals kept, others dropped",
        "grouped = grouped[won[grouped] < self.threshold]",
        "grouped = grouped[won[grouped] >= self.threshold]",
    ),
    Mutant(
        "sequential.py",
        "a group inherits from another one",
        "parents = np.repeat(grouped[slow], GROUP)",
        "parents = np.repeat(grouped[slow][::-1], GROUP)",
    ),
    Mutant("sequential.py", "members forget what was lost", "won_alone[split] = won[parents]", "pass"),
    Mutant(
        "book.py",
        "pieces that an earlier look counted are counted again",
        "page.pieces[lines[late]] = whole",
        "pass",
    ),
    Mutant(
        "book.py",
        "samples after the last whole piece are kept in the book",
        "masses = page.masses[lines]\n        if rest < last:\n            masses +=",
        "masses = page.masses[lines]\n        if rest < last:\n            "
        "page.masses[lines] += self._pieces(units, some, samples[rest:last])[0]\n            masses +=",
    ),
    Mutant(
        "certifier.py",
        "samples of later looks are not checked",
        "_fault(samples[self._known :]",
        "_fault(samples[n:]",
    ),
    Mutant("certifier.py", "claims are not withheld", "if claim not in claims:", "if False:"),
    Mutant("sequential.py", "margins in doubt are skipped", "margins.lower <= TINY", "margins.lower <= -1"),
    Mutant(
        "sequential.py",
        "never positive counts as safe",
        "return Reached(0.0, 0.0)",
        "return Reached(np.inf, np.inf)",
    ),
    Mutant(
        "sequential.py",
        "wealth is not multiplied from block to block",
        "np.cumsum(bets.log_growth(rho).reshape(len(history), -1), axis=0)",
        "bets.log_growth(rho).reshape(len(history), -1)",
    ),
    # margins and their range
    Mutant("margins.py", "sign of the weights", "weights = winners - rivals", "weights = rivals - winners"),
    Mutant(
        "margins.py",
        "sign of the offsets",
        'np.einsum("kd,kd->k", winners, winners) - np',
        'np.einsum("kd,kd->k", winners, winners) + np',
    ),
    Mutant("margins.py", "offsets not halved", "rivals, rivals)) / 2", "rivals, rivals))"),
    Mutant("margins.py", "slack is added to margins", "offsets + space.slack", "offsets - space.slack"),
    Mutant("margins.py", "slack of the unlisted is added", "values -= self.loss", "values += self.loss"),
    Mutant(
        "margins.py",
        "triangle inequality the wrong way",
        "np.maximum(self.outside - spread, 0.0)",
        "np.maximum(self.outside + spread, 0.0)",
    ),
    Mutant(
        "margins.py",
        "unlisted rivals may be nearer than nothing",
        "np.maximum(self.outside - spread, 0.0) ** 2",
        "(self.outside - spread) ** 2",
    ),
    Mutant("margins.py", "lower end of the unlisted too high", "-farthest / 2)", "-farthest / 4)"),
    Mutant(
        "margins.py",
        "unlisted rivals are left out",
        "if unlisted is None:",
        "if unlisted is not None or unlisted is None:",
    ),
    Mutant(
        "space.py",
        "lower end too high: positive part",
        "np.minimum(weights, 0.0), axis=1)",
        "np.maximum(weights, 0.0), axis=1)",
    ),
    Mutant(
        "space.py",
        "orthant taken for granted",
        "if not self.nonnegative:\n            norms",
        "if False:\n            norms",
    ),
    Mutant(
        "space.py", "norm bound ignored", "-self.norm_bound * norms - offsets,", "-0.5 * norms - offsets,"
    ),
    Mutant("space.py", "farthest point too near", "point @ point - 2 * low[0]", "point @ point + 2 * low[0]"),
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
    Mutant(
        "bisector.py", "ball added to the depth", "(depth - epsilon - SLACK)", "(depth + epsilon - SLACK)"
    ),
    Mutant("bisector.py", "unlisted rivals at full depth", "- nearest) / 2\n", "- nearest)\n"),
    Mutant(
        "bisector.py",
        "farthest instead of nearest plane",
        "best.min(initial=np.inf)",
        "best.max(initial=-np.inf)",
    ),
    Mutant("listing.py", "unlisted rivals move away", "self.outside - np.linalg", "self.outside + np.linalg"),
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
    Mutant("votes.py", "range too small", "-ends, ends)", "-ends / 2, ends)"),
    # the certificate
    Mutant(
        "claims.py",
        "all of α for both guarantees",
        "if claim == terms.guarantee else 1 - SHARE_ASKED",
        "if claim == terms.guarantee else SHARE_ASKED",
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
        "certifier.py",
        "pairs chosen on the samples that are bet on",
        "margins = chosen_margins(exact[:selected], listing",
        "margins = chosen_margins(exact[selected:], listing",
    ),
    Mutant(
        "certificate.py",
        "blur added",
        'radii.get("label", 0.0) - terms.blur',
        'radii.get("label", 0.0) + terms.blur',
    ),
    Mutant(
        "certifier.py",
        "slack of the ball forgotten",
        "space.norm_bound) + space.slack",
        "space.norm_bound)",
    ),
    Mutant(
        "certifier.py",
        "centre is not checked",
        "if not all(np.array_equal(listing.centre, centre) for listing in listings.values()):",
        "if False:",
    ),
    Mutant(
        "votes.py",
        "item radius above the label's, by vote",
        'if terms.guarantee == "label" and "item" in reached:',
        "if False:",
    ),
    Mutant("certifier.py", "samples are not checked", "if not space.holds(samples):", "if False:"),
    Mutant(
        "certifier.py",
        "the gallery is not checked",
        "if not all(listing.finite for listing in listings.values()):",
        "if False:",
    ),
    Mutant("ledger.py", "overdraft", "> self.total * (1 + 1e-12)", "> self.total * 2"),
    Mutant(
        "rounding.py",
        "rounding up where the float is above",
        "while units > 0 and units / scale > radius:\n        units -= 1\n",
        "",
    ),
    Mutant("rounds.py", "a horizon for each number of samples", "return FEW_HORIZON", "return most"),
    Mutant("rounds.py", "gives up without a look", "n >= HOPELESS_AFTER and", ""),
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

"""How far certificates are from what endless samples would give: `python -m evaluation.limit REPORT.json`.

The limit is the radius at which bound (1) of docs/certificate.md is 0 for the empirical distribution of all
SAMPLES samples, for the worst rival: an estimate that claims nothing.
"""

import json
import sys
from pathlib import Path

import numpy as np
from rich.progress import track

from certify import Rule, selection_size
from certify.cdf import CDF
from certify.payoffs import LARGEST
from certify.points import Points
from certify.positions import Positions
from evaluation.workbench import held_out, workbench
from service.process import own_process
from service.settings import Settings

QUERIES, SAMPLES = 20, 200_000
RULES: tuple[Rule, ...] = ("embedding", "vote")
SIZES = (1_000, 10_000, 100_000, 200_000)
# Margins are counted up to this many times their lower end.
CAP = 1.5


def main(output: Path) -> None:
    """Print and save the mean label radius of `cdf` and `vote` at each size, and the limit of `cdf`."""
    own_process()
    images = held_out("digits", QUERIES)
    radii: dict[str, list[float]] = {f"{rule} {n}": [] for rule in RULES for n in SIZES}
    limits = []
    with workbench("digits", Settings.from_environment()) as retriever:
        snapshot = retriever.gallery.snapshot()
        for image in track(images.tensors, "drawing"):
            drawn = retriever.smoothed.first(image, SAMPLES)
            for n in SIZES:
                for rule in RULES:
                    contest = retriever.contest(snapshot, alpha=0.001, samples=n, horizon=n, rule=rule)
                    found = contest.outcome(drawn[:n])
                    radii[f"{rule} {n}"].append(found.certificate.label_radius)
            points = snapshot.lift(drawn)
            selection = points[: selection_size(SAMPLES)]
            rivals = contest.choose(selection)[1]["label"]
            pairs, _, _ = rivals.divided(selection, retriever.space)
            everyone = np.arange(len(pairs))
            masses = Positions(pairs, CAP).masses(everyone, Points.of(points, rivals.centre), 0, SAMPLES)
            ones = np.ones(len(pairs))
            rho = CDF.estimate(masses, -ones, CAP * ones, 0 * ones, LARGEST)
            limits.append(retriever.sigma * float(rho.min()))
        report = {
            "queries": len(images),
            "sigma": retriever.sigma,
            "mean_radius": {name: round(float(np.mean(found)), 4) for name, found in radii.items()},
            "limit": round(float(np.mean(limits)), 4),
        }
    output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

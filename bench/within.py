"""How far an item stays among the k nearest, beside how far it stays the first: `make bench BENCH=within`.

Compared on the same samples of the same held-out queries: guarantee `item`, and guarantee `within` for
several k, each as if it alone had been asked for.
"""

import argparse
import json

import numpy as np
from rich.progress import track

from bench.results import save
from certify import Guarantee
from evaluation.workbench import workbench
from models.datasets import digits
from service.process import own_process
from service.settings import Settings

SAMPLES, ALPHA = 10_000, 0.001
KS = (2, 5, 10)
# A radius below this is as good as none.
SMALL = 1e-4


def main() -> None:
    """Print the comparison and, as the last line, its JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=296)
    queries = parser.parse_args().queries
    own_process()
    asked: list[tuple[Guarantee, int]] = [("item", 1), *(("within", k) for k in KS)]
    radii: dict[str, list[float]] = {}
    with workbench("digits", Settings.from_environment()) as retriever:
        snapshot = retriever.snapshot()
        for image in track(digits("query").tensors[:queries], "certifying"):
            samples = retriever.smoothed.first(image, SAMPLES)
            for guarantee, k in asked:
                contest = retriever.contest(
                    snapshot, alpha=ALPHA, samples=SAMPLES, horizon=None, guarantee=guarantee, within_k=k
                )
                found = contest.outcome(samples).certificate
                radii.setdefault("item" if k == 1 else f"within {k}", []).append(found.radius)
                if k > 1:
                    radii.setdefault(f"label within {k}", []).append(found.label_within_radius)
    table = {
        name: {
            "mean_radius": round(float(np.mean(each)), 4),
            "above_0": round(float(np.mean(np.array(each) > SMALL)), 4),
        }
        for name, each in radii.items()
    }
    report = {"queries": queries, "samples": SAMPLES, "alpha": ALPHA, "items": len(snapshot), "radii": table}
    print(f"{queries} held-out digits, {len(snapshot)} items, {SAMPLES} samples, alpha {ALPHA:g}")
    for name, row in table.items():
        print(f"{name:16} mean radius {row['mean_radius']:.4f}, above {SMALL:g}: {row['above_0']:.3f}")
    save("within", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()

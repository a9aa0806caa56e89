"""What figures mean, in words, and as the table that papers print."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Below this share of right answers a model is said not to fit.
POOR = 0.5
# Columns of the table.
COLUMNS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


def verdict(recall: float, asked: str = "items") -> str:
    """What a share of right answers says of the model; `asked`: what the queries are."""
    if recall >= POOR:
        return f"the right label comes first for {recall:.0%} of the {asked}"
    return (
        f"the model does not fit these images: the right label comes first for {recall:.0%} of the {asked}"
        " only, and a certificate says that an answer is stable, not that it is right. Train a model on such"
        " images (`retrievalguard train`)"
    )


def certified(report: dict[str, Any], method: str, radius: float) -> float:
    """Certified Recall@1: the share of queries answered right and certified to `radius`; at 0, above 0."""
    radii = np.array([query["radii"][method] for query in report["details"]])
    return float(np.mean(radii >= radius if radius else radii > 0))


def recommendation(reports: Sequence[dict[str, Any]], radius: float) -> str:
    """Which σ, and which row of the table, certify the most right answers to `radius`.

    Among equal ones the smaller σ, which costs the least accuracy. `reports` are of one experiment.
    """
    rows = [
        (certified(report, method, radius), report["sigma"], method)
        for report in sorted(reports, key=lambda report: float(report["sigma"]))
        for method in report["methods"]
    ]
    share, sigma, method = max(rows, key=lambda row: row[0])
    if share == 0:
        tried = ", ".join(sorted({f"{row[1]:g}" for row in rows}))
        return (
            f"no right answer is certified to radius {radius:g} with sigma {tried}: ask for a smaller radius"
        )
    best = {
        other: max(row[0] for row in rows if row[1] == other) for other in sorted({row[1] for row in rows})
    }
    others = ", ".join(f"{best[other]:.3f} with sigma {other:g}" for other in best if other != sigma)
    return (
        f"at radius {radius:g} the largest certified Recall@1 is {share:.3f}, with sigma {sigma:g} and"
        f" {method}{f' (at best {others})' if others else ''}: RETRIEVALGUARD_SIGMA={sigma!r}"
    )


def table(reports: Sequence[dict[str, Any]]) -> str:
    """Certified Recall@1 of every method and σ against the radius, in Markdown."""
    first = reports[0]
    lines = [
        f"{first['data']}: {first['queries']} queries ({first['asking']}), gallery of {first['gallery']},"
        f" model {first['model']}, {first['samples']} samples, α = {first['alpha']:g}. Certified Recall@1 at"
        " a radius (l2 over [0,1] pixels); at 0: certified at all.",
        "",
        "| method | σ | Recall@1 | mean radius | " + " | ".join(f"{radius:g}" for radius in COLUMNS) + " |",
        "|---" * (4 + len(COLUMNS)) + "|",
    ]
    for method in first["methods"]:
        for report in reports:
            recall = report["recall_at_1"]["vote" if method == "vote" else "smoothed"]
            shares = " | ".join(f"{certified(report, method, radius):.3f}" for radius in COLUMNS)
            mean = report["methods"][method]["mean_radius"]
            lines.append(f"| {method} | {report['sigma']:g} | {recall:.3f} | {mean:.4f} | {shares} |")
    return "\n".join(lines) + "\n"

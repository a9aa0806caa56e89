"""What the model card says of recall: `python -m evaluation.card REPORT.json MODEL`.

It takes what `retrievalguard evaluate --json REPORT.json` wrote into the folder of the model.
"""

import json
import sys
from pathlib import Path
from typing import Any

from models import Manifest, model_folder
from models.recall import FILE, CertifiedShare, Recall

# The way in which a query without options is certified.
METHOD = "cdf"


def recall(report: dict[str, Any], manifest: Manifest) -> Recall:
    """The figures of a report that are told of a model."""
    shares = report["methods"][METHOD]["certified_recall"]
    return Recall(
        weights=manifest.weights.sha256,
        method=METHOD,
        recall=report["recall_at_1"]["smoothed"],
        certified=tuple(CertifiedShare(radius=float(r), share=share) for r, share in shares.items()),
        **{name: report[name] for name in ("sigma", "data", "queries", "gallery", "samples", "alpha")},
    )


def main(path: Path, model: str) -> None:
    """Write the file beside the manifest."""
    folder, report = model_folder(model), json.loads(path.read_text())
    manifest = Manifest.read(folder)
    if report["model"] != manifest.name:
        raise SystemExit(f"{path} is about the model {report['model']}, not {manifest.name}")
    (folder / FILE).write_text(recall(report, manifest).model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

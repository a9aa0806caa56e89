"""After how many samples queries stop: `python -m bench.simulation.stops`, for the simulation to draw from.

Held-out digits on the demo's gallery, with default options and as yes-or-no questions.
"""

import json
from collections import Counter

from bench.results import save
from evaluation.workbench import workbench
from models.datasets import digits
from service.images import png
from service.process import own_process
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings

QUERIES = 296
TARGET = 0.1
KINDS = {"default": RetrieveOptions(), "yes-or-no": RetrieveOptions(target_radius=TARGET)}


def main() -> None:
    """Print, and keep, how many answers of each kind took how many samples."""
    own_process()
    files = [png(pixels) for pixels in digits("query").pixels[:QUERIES]]
    with workbench("digits", Settings.from_environment()) as retriever:
        report = {
            kind: dict(sorted(Counter(_samples(retriever, file, options) for file in files).items()))
            for kind, options in KINDS.items()
        }
    save("stops", report)
    print(json.dumps(report))


def _samples(retriever: Retriever, file: bytes, options: RetrieveOptions) -> int:
    return retriever.retrieve(file, options).certificate.samples


if __name__ == "__main__":
    main()

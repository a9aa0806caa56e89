"""What a query costs, as it was measured, and what machines cost, as is assumed."""

import json
from dataclasses import dataclass
from typing import Any

from bench.results import RESULTS

# docs/benchmarks.md, "Many rivals": processor time of a query at 2,048 samples, both guarantees, with 10,000
# items that are near among others that are far: items and seconds. The slope is what the far ones cost.
FAR = ((240_000, 0.10), (990_000, 0.21))
# The same where many clusters can bind: 10,000 and 100,000 items.
CROWDED = ((10_000, 0.072), (100_000, 0.225))
# docs/benchmarks.md, "One query": one look at 2,048 samples, both guarantees, near items alone.
LOOK_SAMPLES, LOOK_SECONDS = 2_048, 0.043
# docs/benchmarks.md, "A gallery that changes": a start from `gallery.pack`, the slower of two, for each item.
READING_SECONDS = 14.4 / 1_000_000
# There and docs/operations.md: memory of an item of 128 numbers, at most, with labels, id and metadata.
ITEM_BYTES = 1.54 * 4 * 128 + 300
# docs/operations.md, "Sizing"; samples are kept in a third of their bytes (service/cache/packing.py).
SAMPLE_BYTES = 4 * 128 / 3


@dataclass(frozen=True)
class Times:
    """Seconds of one GPU or core.

    sample  of a GPU for each sample, many queries at once
    start   of a GPU for a run of samples, whatever their number
    door    of a core for decoding a query, and for sending an answer
    look    of a core for each sample at each look: certifying against the items that are near
    far     of a core for each item of the gallery: search, and the bounds of those that are far
    """

    sample: float
    start: float
    door: float
    look: float
    far: float

    def drawing(self, samples: int) -> float:
        """Of a GPU, for a run of so many samples."""
        return self.start + samples * self.sample


def measured() -> Times:
    """ResNet-50 at 224 x 224 on an H200; cores are those of a slow processor (docs/benchmarks.md)."""
    gpu = _results("gpu")["resnet-50"]
    sample = 1 / gpu["samples_per_second"]["engine, 8 queries"]
    return Times(
        sample=sample,
        start=gpu["seconds_for_first_1000"] - 1_000 * sample,
        door=(_results("query")["parts_ms"]["decode"] + _results("engine")["hit_p50_ms"]) / 1_000,
        look=LOOK_SECONDS / LOOK_SAMPLES,
        far=slope(FAR),
    )


def slope(points: tuple[tuple[int, float], tuple[int, float]]) -> float:
    """Seconds for each item more."""
    (fewer, before), (more, after) = points
    return (after - before) / (more - fewer)


def stops() -> dict[str, list[int]]:
    """After how many samples queries of each kind stopped (`bench.simulation.stops`)."""
    return {
        kind: [int(samples) for samples, number in counts.items() for _ in range(number)]
        for kind, counts in _results("stops").items()
    }


def _results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


@dataclass(frozen=True)
class Prices:
    """Of an hour, in dollars: round figures of 2026, assumed. Put yours here."""

    gpu: float = 3.50
    core: float = 0.04
    gigabyte: float = 0.005

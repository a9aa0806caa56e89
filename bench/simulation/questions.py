"""Who asks what: images that are asked for again and again, and ones that nobody has seen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from certify import DECISIVE, DOUBLING, QUARTER, rounds

MOST, LONG = 10_000, 100_000
# Of all questions.
SHARES = {"repeat": 0.6, "default": 0.25, "yes-or-no": 0.148, "long": 0.002}
# What is short goes first.
URGENCY = {"yes-or-no": 0, "repeat": 1, "default": 1, "long": 2}
# Images that are asked for again and again, the n-th as often as 1/n of the first (Zipf).
POPULAR = 1_000_000


@dataclass(frozen=True)
class Inquiry:
    """`looks`: the numbers of samples at which its certificate is worked out; `key`: of a popular image."""

    at: float
    kind: str
    looks: tuple[int, ...]
    key: int | None = None

    @property
    def samples(self) -> int:
        """How many it takes in all."""
        return self.looks[-1]


def looks(kind: str, samples: int) -> tuple[int, ...]:
    """When a query that stops after so many is looked at, as `service.retrieval.looks` has it."""
    if kind == "long":
        return (samples,)
    if kind == "yes-or-no":
        found = [n for n in rounds(MOST, QUARTER) if n < samples]
    else:
        found = [n for n in rounds(MOST, DOUBLING) if DECISIVE <= n < samples]
    return (*found, samples)


def questions(
    rate: float, seconds: float, stops: Mapping[str, Sequence[int]], rng: np.random.Generator
) -> Iterator[Inquiry]:
    """So many a second come for so long, each whenever it likes (Poisson)."""
    number = int(rng.poisson(rate * seconds))
    times = np.sort(rng.random(number)) * seconds
    kinds = rng.choice(list(SHARES), number, p=list(SHARES.values()))
    picks = rng.integers(0, 2**31, number)
    popularity = np.cumsum(1 / np.arange(1, POPULAR + 1))
    keys = np.searchsorted(popularity, rng.random(number) * popularity[-1])
    for at, kind, pick, key in zip(
        times.tolist(), kinds.tolist(), picks.tolist(), keys.tolist(), strict=True
    ):
        if kind == "long":
            yield Inquiry(at, kind, looks(kind, LONG))
        elif kind == "repeat":  # an image stops where it always does
            found = stops["default"]
            yield Inquiry(at, kind, looks(kind, found[key % len(found)]), key)
        else:
            found = stops[kind]
            yield Inquiry(at, kind, looks(kind, found[pick % len(found)]))

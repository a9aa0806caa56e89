"""Shards in this process, whose copies can die, lag, lie and repeat themselves; and a small world."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from certify import EmbeddingSpace, Guarantee, Method, Rivals, Rule, Terms
from index import Gallery, Lacking, Shard, Shards, Snapshot
from index.shards.messages import Answer, Hold, Request
from index.upkeep import Upkeep
from service.retrieval import contest as contests
from service.retrieval.contest import Arranged, Contest, Outcome
from tests.index.items import MODEL, new

DIMENSION = 4
Falsify = Callable[[Request, Answer], Answer]


class FakeCopy:
    """One copy of a shard, reached by a call; it counts what it is asked and what that weighs."""

    def __init__(self) -> None:
        self.shard = Shard()
        self.dead = self.deaf = False  # deaf: takes no new segments, without saying so
        self.dies_after: int | None = None
        self.falsify: Falsify | None = None
        self.asked = 0
        self.bytes = 0

    def __call__(self, request: Request, seconds: float) -> Answer:
        if self.dies_after is not None and self.asked >= self.dies_after:
            self.dead = True
        if self.dead:
            raise ConnectionError("the copy is dead")
        self.asked += 1
        if self.deaf and isinstance(request, Hold):
            return Answer.to(request)
        answer = self.shard.answer(request)
        self.bytes += sum(array.nbytes for array in answer.arrays)
        return answer if self.falsify is None else self.falsify(request, answer)


def copies(count: int) -> list[list[FakeCopy]]:
    """So many shards, with two copies each."""
    return [[FakeCopy(), FakeCopy()] for _ in range(count)]


def small_world(patch: pytest.MonkeyPatch) -> None:
    """Segments of some 40 items, few rivals bet on from the start, and nothing in the background."""
    patch.setattr("index.growth.SEGMENT", 40)
    patch.setattr("index.compaction.SEGMENT", 40)
    patch.setattr("index.growth.FEW", 16)
    patch.setattr("index.compaction.FEW", 16)
    patch.setattr("index.arrangement.FEW", 10)
    patch.setattr("index.compaction.OPEN", 20)
    patch.setattr("index.gallery.LOT", 10)
    patch.setattr(Upkeep, "wake", lambda self: None)
    patch.setattr("index.shards.mending.SECONDS", 3600)
    patch.setattr(contests, "Rivals", partial(Rivals, singles=8))
    patch.setattr(contests, "WINNERS", 12)
    patch.setattr(contests, "AROUND", 16)


def place(rng: np.random.Generator) -> NDArray[np.float32]:
    """A vector in the unit ball: half of them on a grid, where there are ties and twins."""
    vector = rng.standard_normal(DIMENSION)
    vector *= 0.9 / max(1.0, float(np.linalg.norm(vector)))
    return (np.round(4 * vector) / 4 if rng.random() < 0.5 else vector).astype(np.float32) * np.float32(0.9)


def fill(gallery: Gallery, rng: np.random.Generator, count: int) -> None:
    """So many items of eight labels."""
    gallery.add(
        [new(f"item-{n}", f"label {rng.integers(8)}", place(rng), {"n": n % 5}) for n in range(count)]
    )


@contextmanager
def galleries(
    path: Path, held: Sequence[Sequence[Sequence[FakeCopy]]], weight: float = 0.5
) -> Iterator[list[Gallery]]:
    """The gallery in `path` on one machine, and on each set of shards."""
    opened = [Gallery(path, MODEL, DIMENSION, weight)]
    shards = [Shards(each, 0.5) for each in held]
    try:
        opened += [Gallery(path, MODEL, DIMENSION, weight, shards=each) for each in shards]
        yield opened
    finally:
        for gallery in opened:
            gallery.close()
        for each in shards:
            each.close()


def samples(rng: np.random.Generator, count: int = 400) -> NDArray[np.float32]:
    """Of a query somewhere."""
    found = place(rng) + 0.15 * rng.standard_normal((count, DIMENSION))
    return (found / np.maximum(1.0, np.linalg.norm(found, axis=1))[:, None] * 0.999).astype(np.float32)


ASKED: list[tuple[Rule, dict[str, Any]]] = [
    ("embedding", {}),
    ("embedding", {"guarantee": "item"}),
    ("embedding", {"guarantee": "within", "within_k": 3}),
    ("embedding", {"comparisons": 2000}),
    ("embedding", {"method": "mean"}),
    ("embedding", {"method": "bisector"}),
    ("vote", {}),
    ("vote", {"guarantee": "item"}),
]


def contest(
    snapshot: Snapshot,
    rule: Rule = "embedding",
    *,
    guarantee: Guarantee = "label",
    method: Method = "cdf",
    **terms: Any,
) -> Contest:
    """A contest in this world."""
    chosen = Terms(0.25, 0.01, guarantee, method, **terms)
    space = EmbeddingSpace.normalized(DIMENSION, padded=snapshot.vectors.shape[1] > DIMENSION)
    return Contest(snapshot, Arranged().of(snapshot), space, rule, chosen, top_k=5)


def told(outcome: Outcome) -> tuple[Any, ...]:
    """All that is said, to the last bit."""
    near = outcome.neighbors
    return near.rows.tolist(), near.distances.tolist(), near.outside, outcome.votes, outcome.certificate


def lacking(request: Request, answer: Answer) -> Answer:
    """As a shard that has not got what it is asked for."""
    raise Lacking("not yet")

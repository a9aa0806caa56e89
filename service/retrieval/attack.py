"""An attack on the answer to a query, bounded in time; and what came of it, as clients see it."""

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from index import Snapshot
from models import SmoothedMargin, Stop, input_digest, one_thread
from service.errors import InvalidOption
from service.images import packed
from service.retrieval.adversary import Effort, perturbed
from service.retrieval.answer import RetrieveResponse
from service.retrieval.answering import Answering, Reserve
from service.retrieval.looks import check_wanted
from service.retrieval.options import RetrieveOptions
from service.retrieval.query import Query
from service.traffic.backlog import Work

EFFORT = Effort(restarts=1, steps=24, draws=16)


class AttackResponse(BaseModel):
    """An attack: the `answer` that it was on, the input that it led to, and the answer `moved` to that.

    `size`: the l2 norm of the change; `inside`: whether it is below the radius of `answer`; `changed`:
    whether `moved` is another answer, as the guarantee counts; `broken`: whether it is certified as well, and
    inside, which is a mistake in the service, or the chance `alpha`. (One that is not certified is in doubt.)
    `pixels`: the exact input tensor of `shape` (C, H, W) after the change, row by row: little-endian float32
    in base64.
    """

    size: float
    inside: bool
    changed: bool
    broken: bool
    shape: tuple[int, int, int]
    pixels: str
    answer: RetrieveResponse
    moved: RetrieveResponse


def check_attackable(options: RetrieveOptions) -> None:
    """Raises `InvalidOption` on what no attack is made on."""
    if options.rule != "embedding":
        raise InvalidOption(("rule", f"attacks are on rule embedding, got {options.rule}"))
    if options.guarantee == "within":
        raise InvalidOption(("guarantee", "attacks are on guarantees label and item, got within"))


@dataclass(frozen=True)
class Attacks:
    """Attacks on answers of `answering`, each of which takes at most about so many `seconds`."""

    answering: Answering
    seconds: float

    def moved(
        self, query: Query, snapshot: Snapshot, size: float, samples: int, stop: Stop, reserve: Reserve
    ) -> NDArray[np.float32]:
        """The input (C, H, W) of `query`, moved by at most `size` (l2), so that its answer should change.

        That is what the first `samples` are nearest to. The input itself, if nothing could change that, or if
        there is no time at all. Draws noise of its own, and `reserve`s as much. Raises `Overloaded`,
        `RateLimited`, or `Abandoned` when it is cancelled.
        """
        smoothed, steps = self.answering.smoothed, 0
        who = input_digest(query.image)
        with self.answering.samples.of(query.image) as drawn:
            there = drawn.there  # all that the answer had, unless nobody could keep them
            wanted = max(samples, smoothed.chunk)
            missing = max(wanted - there, 0)
            cost = self.seconds + missing * smoothed.engine.seconds_a_sample
            with (
                reserve(
                    missing + EFFORT.steps * EFFORT.draws,
                    lambda: max(drawn.there - there, 0) + min(steps, EFFORT.steps) * EFFORT.draws,
                ),
                self.answering.backlog.answering(
                    Work(("attack", missing.bit_length()), cost, who, watched=False), stop
                ) as spend,
                one_thread(),
            ):
                seen = drawn.first(wanted, stop)
                drawn.keep()
                spend(max(len(seen) - there, 0) * smoothed.engine.seconds_a_sample)
                check_wanted(stop)
                if not len(seen):
                    return query.image
                ours, others = self.answering.contest(snapshot, query.terms).sides(seen)
                if not len(others):
                    return query.image
                started = time.monotonic()  # seconds of one core

                def enough() -> bool:
                    nonlocal steps
                    check_wanted(stop)
                    if stop.reached or time.monotonic() - started > self.seconds:
                        return True
                    steps += 1
                    return False

                margin = SmoothedMargin(smoothed.model.network, smoothed.sigma, ours, others, seed=0)
                farthest = math.sqrt(query.image.size)  # no two inputs are further apart
                found = perturbed(margin, query.image, min(size, farthest), EFFORT, enough=enough)
                spend(time.monotonic() - started)
        return found


def attacked(
    image: NDArray[np.floating], found: NDArray[np.float32], answer: RetrieveResponse, moved: RetrieveResponse
) -> AttackResponse:
    """What came of an attack on the `answer` to `image` (C, H, W): `moved` is that to what it `found`."""
    size = float(np.linalg.norm((found.astype(np.float64) - image).ravel()))
    kept = "label" if answer.certificate.guarantee == "label" else "id"
    inside = size < answer.certificate.radius
    changed = getattr(moved.neighbor, kept) != getattr(answer.neighbor, kept)
    channels, height, width = found.shape
    return AttackResponse(
        size=size,
        inside=inside,
        changed=changed,
        broken=inside and changed and moved.certificate.radius > 0,
        shape=(channels, height, width),
        pixels=packed(found),
        answer=answer,
        moved=moved,
    )

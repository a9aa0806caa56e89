"""Looking at the samples of a query as they come, until there is nothing more to learn, or no more time."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from certify import DOUBLING, QUARTER, rounds, settled
from models import Stop
from service.contest import Contest, Outcome
from service.errors import Abandoned
from service.query import Query
from service.samples import QuerySamples
from service.turns import Turns

# Another look has to fit into the time that is left: it takes about as much longer as there are more samples.
LAST_LOOK = 1.5


@dataclass(frozen=True)
class Look:
    """What is known after so many samples, and the seconds it took: drawing, and then deciding.

    `outcome.searching` is part of `deciding`. `waiting`: those in line for a processor, in neither.
    """

    outcome: Outcome
    samples: int
    drawing: float
    waiting: float
    deciding: float


def looks(query: Query, samples: QuerySamples, contest: Contest, turns: Turns, stop: Stop) -> Iterator[Look]:
    """A look after every round; every one is a valid answer, and the last one is the best.

    The first is there whatever the deadline, if need be without a certificate. Raises `Abandoned` when `stop`
    is cancelled.
    """
    growth = DOUBLING if query.terms.target is None else QUARTER
    counts = rounds(query.samples, growth) if query.anytime else iter((query.samples,))
    before = 0.0
    for number, count in enumerate(counts):
        started = time.perf_counter()
        drawn = samples.first(count, stop)
        if not len(drawn) and not stop.cancelled:
            drawn = samples.chunk()[:count]
        if stop.cancelled:
            raise Abandoned
        if len(drawn) < count and number:
            return
        drawing = time.perf_counter() - started
        with turns.take(count):
            took = time.perf_counter()
            outcome = contest.outcome(drawn) if len(drawn) == count else contest.cut_short(drawn)
            ended = time.perf_counter()
        yield Look(outcome, len(drawn), drawing, took - started - drawing, ended - took)
        spent, remaining = ended - took, stop.remaining
        if (
            len(drawn) < count
            or settled(outcome.certificate, before, query.min_gain)
            or (remaining is not None and remaining < LAST_LOOK * spent)
        ):
            return
        before = outcome.certificate.radius

"""Looking at the samples of a query as they come, until there is nothing more to learn, or no more time."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from certify import DECISIVE, DOUBLING, QUARTER, rounds, settled
from models import Stop
from service import traces
from service.errors import Abandoned, ShuttingDown
from service.retrieval.contest import Contest, Outcome
from service.retrieval.query import Query
from service.retrieval.samples import QuerySamples
from service.traffic.turns import Turns

# Another look has to fit into the time that is left; at twice the samples it takes up to twice as long.
NEXT_LOOK = 2.5


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


def looks(
    query: Query, samples: QuerySamples, contest: Contest, turns: Turns, stop: Stop, *, watched: bool = True
) -> Iterator[Look]:
    """A look after every round; every one is a valid answer, and the last one is the best.

    The first is there whatever the deadline, if need be without a certificate. Rounds that cannot be the last
    are left out if they are not `watched`. Raises `Abandoned` when `stop` is cancelled, and `ShuttingDown`
    when it is hurried before there is anything to certify.
    """
    before = spent = 0.0
    known = 0
    least = next(rounds(query.samples)) if query.terms.anytime else query.samples
    for count in _counts(query, watched):
        started = time.perf_counter()
        with traces.span("sample", samples=count):
            drawn = samples.first(count, stop.earlier(NEXT_LOOK * spent))
        if len(drawn) < least and stop.hurried:
            raise ShuttingDown(
                "the service shuts down before anything was certified: ask another, or try again later",
                retry_after=5,
            )
        if not len(drawn):
            drawn = samples.chunk(stop.without_deadline())[:count]
        drawing = time.perf_counter() - started
        check_wanted(stop)
        if known and len(drawn) <= known:
            return
        # Without any answer yet, one comes after the deadline rather than not at all.
        with turns.take(len(drawn), stop if known else stop.without_deadline()) as mine:
            check_wanted(stop)
            if not mine or (known and stop.reached):
                return
            took = time.perf_counter()
            traces.ended("queue", took - started - drawing)
            cut_short = len(drawn) < least
            with traces.span("look", samples=len(drawn)):
                outcome = contest.cut_short(drawn) if cut_short else contest.outcome(drawn)
            spent = time.perf_counter() - took
        if before and not outcome.complete:  # what was certified before a shard went away holds
            return
        yield Look(outcome, len(drawn), drawing, took - started - drawing, spent)
        if len(drawn) < count or settled(outcome.certificate, before, query.min_gain):
            return
        known, before = len(drawn), outcome.certificate.radius


def check_wanted(stop: Stop) -> None:
    """Raises `Abandoned` if nobody wants the answer any more."""
    if stop.cancelled:
        raise Abandoned


def _counts(query: Query, watched: bool) -> Iterator[int]:
    """After how many samples to look. The certificate of a look does not depend on those before it."""
    if not query.terms.anytime:
        return iter((query.samples,))
    if query.terms.target is not None:
        return rounds(query.samples, QUARTER)
    every = rounds(query.samples, DOUBLING)
    if watched:
        return every
    return (n for n in every if n == query.samples or (query.min_gain and n >= DECISIVE))

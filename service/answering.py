"""Working out an answer: samples, looks at them, and the best of what was found."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from certify import EmbeddingSpace
from index import Snapshot
from models import SmoothedModel, Stop
from service.contest import Contest
from service.looks import looks
from service.metrics import Metrics
from service.query import Query
from service.response import respond, round_body
from service.samples import SamplesInUse
from service.schemas import CacheResult, RetrieveResponse, RoundBody
from service.turns import Turns

OnRound = Callable[[RoundBody], None]


@dataclass(frozen=True)
class Answering:
    """What all queries share while they are worked out."""

    smoothed: SmoothedModel
    space: EmbeddingSpace
    samples: SamplesInUse
    turns: Turns
    metrics: Metrics
    max_rivals: int

    def answer(
        self, query: Query, snapshot: Snapshot, stop: Stop, on_round: OnRound | None, decoding: float
    ) -> RetrieveResponse:
        """The answer to `query` in this gallery; `on_round` is told of every round.

        `decoding` seconds were spent before. Raises `Overloaded`, `ModelFailure`, or `Abandoned` when `stop`
        is cancelled.
        """
        started = time.perf_counter()
        contest = Contest(
            snapshot,
            self.space,
            query.options.rule,
            query.terms,
            top_k=query.options.top_k,
            max_rivals=self.max_rivals,
        )
        watched = on_round is not None or stop.remaining is not None
        seconds = dict.fromkeys(("queue", "sample", "search", "certify"), 0.0) | {"decode": decoding}
        with self.samples.of(query.image) as samples:
            there = samples.there
            try:
                with self.samples.room_for(max(query.samples - there, 0)):
                    for look in looks(query, samples, contest, self.turns, stop, watched=watched):
                        seconds["sample"] += look.drawing
                        seconds["queue"] += look.waiting
                        seconds["search"] += look.outcome.searching
                        seconds["certify"] += look.deciding - look.outcome.searching
                        if on_round is not None:
                            on_round(round_body(look, snapshot, self.smoothed.model.input_shape))
            finally:  # what was drawn is kept also when the client has left
                kept = time.perf_counter()
                samples.keep()
                seconds["sample"] += time.perf_counter() - kept
        cache: CacheResult = "miss" if not there else "resumed" if there < look.samples else "hit"
        seconds["total"] = decoding + time.perf_counter() - started
        response = respond(look.outcome, query.options, snapshot, self.smoothed, cache, seconds)
        body = response.certificate
        self.metrics.cache.labels(cache).inc()
        self.metrics.certificates.labels(body.status, body.method, body.guarantee).inc()
        self.metrics.radius.observe(body.radius)  # as it is sent: finite, also without rivals
        return response

"""Working out an answer: samples, looks at them, and the best of what was found."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256

from certify import EmbeddingSpace, Rule, Terms
from index import ShardMissing, Snapshot
from models import SmoothedModel, Stop, input_digest
from service.metrics import Metrics
from service.retrieval.answer import (
    EXPLAINED_RIVALS,
    CacheResult,
    RetrieveResponse,
    RoundBody,
    respond,
    round_body,
)
from service.retrieval.contest import Arranged, Contest
from service.retrieval.looks import looks
from service.retrieval.query import Query
from service.retrieval.samples import SamplesInUse
from service.traffic.backlog import Backlog, Work
from service.traffic.turns import Turns

# Guesses of what queries cost, until some were seen: samples after which most that may stop early do, and how
# many times as long it takes to certify as well.
SETTLED, WITH_CERTIFICATE = 2048, 2.0

OnRound = Callable[[RoundBody], None]
# Takes so many samples from what who asks may have drawn, and at the end asks how many were.
Reserve = Callable[[int, Callable[[], int]], AbstractContextManager[None]]


def unlimited(most: int, drawn: Callable[[], int]) -> AbstractContextManager[None]:
    """For who may have as many drawn as they like."""
    return nullcontext()


@dataclass(frozen=True, eq=False)
class Question:
    """A query to one version of the gallery, and who waits for the answer.

    stop      when to stop waiting
    on_round  is told of every round of samples
    started   when it came (`time.perf_counter`); `decoding` seconds were spent before it was a query, and
              `filtering` seconds to find the items that its filter matches
    reserve   asked before samples are drawn
    waits     whether it waits for room instead of being refused when there is too much to do
    name      by which the request is known, if it is
    """

    query: Query
    snapshot: Snapshot
    stop: Stop
    on_round: OnRound | None
    started: float
    decoding: float
    filtering: float
    reserve: Reserve = unlimited
    waits: bool = False
    name: str | None = None

    @property
    def watched(self) -> bool:
        """Whether looks before the last one matter to whoever waits."""
        return self.on_round is not None or self.stop.remaining is not None


@dataclass(frozen=True)
class Answering:
    """What all queries share while they are worked out; `abstains` as contests do."""

    smoothed: SmoothedModel
    space: EmbeddingSpace
    samples: SamplesInUse
    turns: Turns
    backlog: Backlog
    metrics: Metrics
    abstains: bool = False
    arranged: Arranged = field(default_factory=Arranged)

    def contest(
        self, snapshot: Snapshot, terms: Terms, rule: Rule = "embedding", *, top_k: int = 1
    ) -> Contest:
        """The contest of one query in this gallery."""
        return Contest(
            snapshot, self.arranged.of(snapshot), self.space, rule, terms,
            top_k=top_k, abstains=self.abstains,
        )  # fmt: skip

    def answer(self, question: Question) -> RetrieveResponse:
        """The answer to `question`.

        Raises `RateLimited`, `Overloaded`, `ModelFailure`, or `Abandoned` when it is cancelled.
        """
        started = time.perf_counter()
        query, snapshot, on_round = question.query, question.snapshot, question.on_round
        contest = self.contest(snapshot, query.terms, query.options.rule, top_k=query.options.top_k)
        seconds = dict.fromkeys(("queue", "sample", "search", "certify"), 0.0)
        seconds |= {"decode": question.decoding, "search": question.filtering}
        with self.samples.of(query.image) as samples:
            samples.expect(query.samples)
            there = samples.there
            most = max(query.samples - there, 0)
            rate = self.smoothed.engine.seconds_a_sample
            before = there
            try:
                # Also those that were drawn for who has left meanwhile: they are kept.
                with (
                    question.reserve(most, lambda: samples.there - there),
                    self.backlog.answering(
                        self._work(question, most), question.stop, waits=question.waits
                    ) as spend,
                ):
                    for look in looks(
                        query, samples, contest, self.turns, question.stop, watched=question.watched
                    ):
                        spend(max(look.samples - before, 0) * rate + look.deciding)
                        before = max(look.samples, before)
                        seconds["sample"] += look.drawing
                        seconds["queue"] += look.waiting
                        seconds["search"] += look.outcome.searching
                        seconds["certify"] += look.deciding - look.outcome.searching
                        if on_round is not None:
                            on_round(round_body(look, snapshot, self.smoothed.model.input_shape))
                    rivals = None
                    if query.options.explain and look.outcome.complete:
                        known = samples.first(look.samples, question.stop.without_deadline())
                        try:
                            rivals = contest.rivals(known, EXPLAINED_RIVALS)
                        except ShardMissing:  # since the last look, whose certificate holds
                            if not self.abstains:
                                raise
            finally:  # what was drawn is kept also when the client has left
                kept = time.perf_counter()
                samples.keep()
                seconds["sample"] += time.perf_counter() - kept
        cache: CacheResult = "miss" if not there else "resumed" if there < look.samples else "hit"
        seconds["total"] = question.decoding + question.filtering + time.perf_counter() - started
        for stage, spent in seconds.items():
            self.metrics.stages.labels(stage).observe(spent)
        response = respond(look.outcome, rivals, query.options, snapshot, self.smoothed, cache, seconds)
        body = response.certificate
        self.metrics.cache.labels(cache).inc()
        self.metrics.certificates.labels(body.status, body.method, body.guarantee).inc()
        self.metrics.radius.observe(body.radius)  # as it is sent: finite, also without rivals
        return response

    def _work(self, question: Question, most: int) -> Work:
        """What it costs depends on what is asked, how many samples there may be, and how many are drawn."""
        query, options = question.query, question.query.options
        kind = (
            options.rule,
            query.terms.method,
            options.guarantee,
            query.terms.target is not None,
            query.min_gain > 0,
            question.watched,
            (options.deadline_ms or 0).bit_length(),
            query.samples.bit_length(),
            most.bit_length(),
        )
        settles = query.terms.anytime and (query.terms.target is not None or query.min_gain > 0)
        drawn = min(most, SETTLED) if settles else most
        guess = WITH_CERTIFICATE * drawn * self.smoothed.engine.seconds_a_sample
        who = sha256(input_digest(query.image) + options.model_dump_json().encode()).digest()
        return Work(kind, guess, who, question.watched, question.name)

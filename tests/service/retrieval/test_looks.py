"""How many samples a query takes: as many as it needs, and every look on the way is a valid answer."""

from typing import Any

import numpy as np
import pytest

from certify import DOUBLING, QUARTER, rounds, settled
from models import CHUNK, Stop
from service.errors import Abandoned
from service.retrieval.contest import Contest
from service.retrieval.looks import Look, looks
from service.retrieval.options import RetrieveOptions
from service.retrieval.query import Query, checked
from service.retrieval.samples import QuerySamples
from service.retriever import Retriever
from service.traffic.turns import Turns
from tests.service.processes import Server
from tests.service.queries import QUERIES, answer, digit, noisy_digit, tensor

MOST = 10_000


@pytest.fixture(scope="module")
def easy(demo_retriever: Retriever) -> int:
    """The query of these with the largest radius at the first look."""
    options = RetrieveOptions(max_samples=256)
    radii = {
        row: demo_retriever.retrieve(tensor(row), options).certificate.radius for row in range(0, 200, 10)
    }
    return max(radii, key=lambda row: radii[row])


@pytest.fixture
def asked(demo_retriever: Retriever) -> "Asked":
    return Asked(demo_retriever)


class Asked:
    """The looks of one query, in-process, and what it takes to do them again by hand."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever

    def query(self, image: bytes, **options: Any) -> Query:
        pixels = self.retriever.decode(image)
        return checked(pixels, RetrieveOptions(**options), self.retriever.settings, self.retriever.smoothed)

    def contest(self, query: Query) -> Contest:
        answering = self.retriever._answering
        return answering.contest(self.retriever.snapshot(), query.terms, query.options.rule, top_k=3)

    def looks(self, query: Query, stop: Stop | None = None) -> tuple[list[Look], QuerySamples]:
        with self.retriever._answering.samples.of(query.image) as samples:
            found = list(looks(query, samples, self.contest(query), Turns(1), stop or Stop()))
        return found, samples


def test_an_easy_query_stops_early_unless_no_gain_is_too_small(demo_server: Server, easy: int) -> None:
    by_default = answer(demo_server.client, digit(easy), max_samples=MOST)
    everything = answer(demo_server.client, digit(easy), max_samples=MOST, min_gain=0)
    assert by_default["certificate"]["samples"] in list(rounds(MOST, DOUBLING))[:-1]
    assert everything["certificate"]["samples"] == MOST
    assert by_default["neighbor"]["label"] == everything["neighbor"]["label"] == QUERIES.labels[easy]
    share = by_default["certificate"]["radius"] / everything["certificate"]["radius"]
    assert 0.7 < share <= 1.05


def test_less_is_drawn_the_more_a_gain_must_be_worth(demo_server: Server) -> None:
    for row in (3, 30, 60):
        image = noisy_digit(row, seed=21)
        counts = [
            answer(demo_server.client, image, max_samples=MOST, min_gain=gain)["certificate"]["samples"]
            for gain in (0.9, 0.2, 0.1, 0.05, 0.01, 0)
        ]
        assert counts == sorted(counts)
        assert counts[-1] == MOST


def test_a_small_target_is_certified_at_the_first_look(demo_server: Server, easy: int) -> None:
    body = answer(demo_server.client, digit(easy), target_radius=0.05, max_samples=MOST)
    assert body["certificate"]["samples"] == 256
    assert body["certificate"]["radius"] >= 0.05


@pytest.mark.parametrize(
    "options",
    [
        {"min_gain": 0},
        {"min_gain": 0, "method": "mean"},
        {"min_gain": 0, "guarantee": "item"},
        {"min_gain": 0, "rule": "vote"},
        {"min_gain": 0.05},
        {"target_radius": 0.15},
        {"target_radius": 2.0, "rule": "vote"},
    ],
    ids=str,
)
def test_every_look_is_what_a_single_look_at_as_many_samples_is(asked: Asked, options: Any) -> None:
    query = asked.query(noisy_digit(23, seed=22), max_samples=3000, **options)
    found, samples = asked.looks(query)
    growth = DOUBLING if query.terms.target is None else QUARTER
    assert [look.samples for look in found] == list(rounds(3000, growth))[: len(found)]
    assert len(found) > 1
    drawn = samples.first(found[-1].samples, Stop())
    before = 0.0
    for look in found:
        alone = asked.contest(query).outcome(drawn[: look.samples])
        assert look.outcome.certificate == alone.certificate
        assert np.array_equal(look.outcome.neighbors.rows, alone.neighbors.rows)
        # It goes on for exactly as long as there is more to learn.
        enough = settled(alone.certificate, before, query.min_gain)
        assert (look is found[-1]) == (enough or look.samples == 3000)
        before = alone.certificate.radius


@pytest.mark.parametrize("method", ["paper", "bisector"])
def test_a_method_that_holds_for_one_number_of_samples_is_looked_at_once(asked: Asked, method: str) -> None:
    found, _ = asked.looks(asked.query(noisy_digit(24, seed=23), max_samples=1300, method=method))
    assert [look.samples for look in found] == [1300]


def test_a_query_that_nobody_waits_for_is_abandoned_before_the_next_look(asked: Asked) -> None:
    query, stop = asked.query(noisy_digit(25, seed=24), max_samples=3000, min_gain=0), Stop()
    with asked.retriever._answering.samples.of(query.image) as samples:
        going = looks(query, samples, asked.contest(query), Turns(1), stop)
        assert next(going).samples == 256
        stop.cancel()
        with pytest.raises(Abandoned):
            next(going)
        assert samples.there == 256
    cancelled = Stop()
    cancelled.cancel()
    with pytest.raises(Abandoned):
        asked.looks(query, cancelled)
    fresh = asked.query(noisy_digit(28, seed=26))
    with asked.retriever._answering.samples.of(fresh.image) as samples:
        with pytest.raises(Abandoned):
            next(looks(fresh, samples, asked.contest(fresh), Turns(1), cancelled))
        assert samples.there == 0  # not even the chunk of an answer without a certificate


@pytest.mark.parametrize("rule", ["embedding", "vote"])
@pytest.mark.parametrize("most", [2, 100, 128, 129, 256, 3000])
def test_a_deadline_before_the_first_round_gives_an_answer_of_one_chunk_without_a_certificate(
    asked: Asked, rule: str, most: int
) -> None:
    query = asked.query(noisy_digit(26, seed=most), max_samples=most, rule=rule)
    (look,), samples = asked.looks(query, Stop(0.0))
    assert look.samples == min(most, CHUNK)
    certificate = look.outcome.certificate
    if most > CHUNK:
        assert (certificate.label_radius, certificate.item_radius, certificate.samples) == (0, 0, CHUNK)
        assert "deadline" in str(certificate.reason)
    else:  # they are all that were asked for
        assert certificate == asked.contest(query).outcome(samples.first(most, Stop())).certificate
    assert (look.outcome.votes is None) == (rule == "embedding")
    assert len(look.outcome.neighbors.rows) == 3


def test_after_a_deadline_no_round_is_begun_and_the_last_whole_one_counts(asked: Asked) -> None:
    query = asked.query(noisy_digit(27, seed=25), max_samples=3000, min_gain=0)
    with asked.retriever._answering.samples.of(query.image) as samples:
        samples.first(300, Stop())  # three chunks: enough for the first round, not for the second
        found = list(looks(query, samples, asked.contest(query), Turns(1), Stop(0.0)))
        assert [look.samples for look in found] == [256]
        assert samples.there == 384
        assert found[0].outcome.certificate == (
            asked.contest(query).outcome(samples.first(256, Stop())).certificate
        )

"""Samples of another model, secret, input or chunk are not taken, whoever sends them."""

import asyncio
import logging
import os
import pickle
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import Calibration, EmbeddingModel, SmoothedModel
from models.noise import input_digest, on_grid
from models.sampling.queue import Stream
from models.sampling.samplers import SamplerLost
from retrievalguard.cluster.members import Member, Unfit
from retrievalguard.cluster.priority import NICER
from retrievalguard.cluster.remote import NobodyAnswers, RemoteSampler, SamplerFailed
from retrievalguard.cluster.sampler import Drawing
from retrievalguard.cluster.wire import Call, Reply, Seals
from service.errors import ModelFailure, SamplersAway

SECRET, SIGMA = b"a secret that only the tests know", 0.25


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return EmbeddingModel.load("digits-cnn")


@pytest.fixture(scope="module")
def calibration(model: EmbeddingModel) -> Calibration:
    return Calibration.fixed(model, "folded", 2)


@pytest.fixture(scope="module")
def drawing(model: EmbeddingModel, calibration: Calibration) -> Drawing:
    return Drawing(Member(model, SIGMA, SECRET, calibration))


def stream(seed: int, model: EmbeddingModel) -> Stream:
    pixels = on_grid(np.random.default_rng(seed).random(model.input_shape, np.float32), SIGMA)
    return Stream(input_digest(pixels), pixels, "query")


class Asked:
    """A remote sampler whose replies may be changed on the way, and what it told."""

    def __init__(self, drawing: Drawing, model: EmbeddingModel, digest: str, secret: bytes = SECRET) -> None:
        self.drawing, self.refusals, self.lost = drawing, list[str](), 0
        self.change = lambda reply: reply
        self.sampler = RemoteSampler(
            self._ask, Seals(secret, digest, SIGMA), chunk=128, dimension=model.dimension,
            refused=self.refusals.append, lost=self._count,
        )  # fmt: skip

    def _ask(self, call: Call) -> Reply:
        there: Call = pickle.loads(pickle.dumps(call))
        reply: Reply = self.change(asyncio.run(self.drawing.answer(there)))
        return reply

    def _count(self) -> None:
        self.lost += 1


def test_samples_are_those_of_one_process_bit_for_bit(
    drawing: Drawing, model: EmbeddingModel, calibration: Calibration
) -> None:
    asked = Asked(drawing, model, calibration.digest)
    one, two = stream(1, model), stream(2, model)
    chunks = [(one, 0), (two, 7), (one, 3), (two, 0), (one, 10**6)]
    here = SmoothedModel(model, SIGMA, SECRET, calibration, workers=1)
    for found, (each, number) in zip(asked.sampler(chunks), chunks, strict=True):
        assert np.array_equal(found, here.engine.draw(each, number, number + 1))
    here.close()
    assert not asked.refusals


def other_samples(reply: Reply) -> Reply:
    assert reply.samples is not None
    changed = reply.samples.copy()
    changed[0, 0, 0] = np.nextafter(changed[0, 0, 0], np.float32(1))
    return replace(reply, samples=changed)


def swapped(reply: Reply) -> Reply:
    assert reply.samples is not None
    return replace(reply, samples=reply.samples[::-1].copy())


def doubled(reply: Reply) -> Reply:
    assert reply.samples is not None
    return replace(reply, samples=reply.samples.astype(np.float64))


@pytest.mark.parametrize(
    "change", [other_samples, swapped, doubled, lambda reply: replace(reply, samples=None)]
)
def test_samples_that_were_changed_on_the_way_are_refused(
    change: object, drawing: Drawing, model: EmbeddingModel, calibration: Calibration,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    asked = Asked(drawing, model, calibration.digest)
    asked.change = change  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR), pytest.raises(SamplerLost) as lost:
        asked.sampler([(stream(1, model), 0), (stream(1, model), 1)])
    assert asked.refusals == ["seal"]
    assert isinstance(lost.value.error, SamplersAway)
    assert lost.value.error.retry_after > 0
    assert "not what was asked for" in caplog.text


def test_an_answer_to_another_question_is_refused(
    drawing: Drawing, model: EmbeddingModel, calibration: Calibration
) -> None:
    asked = Asked(drawing, model, calibration.digest)
    kept: list[Reply] = []
    asked.change = lambda reply: kept.append(reply) or reply  # type: ignore[func-returns-value]
    asked.sampler([(stream(1, model), 0)])
    asked.change = lambda reply: kept[0]
    asked.sampler([(stream(1, model), 0)])  # the same: taken
    for other in [(stream(1, model), 1), (stream(2, model), 0)]:
        with pytest.raises(SamplerLost):
            asked.sampler([other])
    gallery = replace(stream(1, model), purpose="gallery")
    with pytest.raises(SamplerLost):
        asked.sampler([(gallery, 0)])
    assert asked.refusals == ["seal"] * 3


@pytest.mark.parametrize("differs", ["digest", "secret"])
def test_a_sampler_of_another_model_or_secret_draws_nothing_and_is_refused(
    differs: str, drawing: Drawing, model: EmbeddingModel, calibration: Calibration,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    digest = "sha256:" + "0" * 64 if differs == "digest" else calibration.digest
    secret = b"another secret of the tests" if differs == "secret" else SECRET
    asked, replies = Asked(drawing, model, digest, secret), list[Reply]()
    asked.change = lambda reply: replies.append(reply) or reply  # type: ignore[func-returns-value]
    with caplog.at_level(logging.ERROR), pytest.raises(SamplerLost):
        asked.sampler([(stream(1, model), 0)])
    assert asked.refusals == [differs]
    assert replies[0].samples is None
    assert calibration.digest in caplog.text
    assert SECRET.decode() not in caplog.text
    assert secret.decode() not in caplog.text


def test_a_sampler_that_computes_something_else_does_not_start(
    model: EmbeddingModel, calibration: Calibration
) -> None:
    other = calibration.model_copy(update={"digest": "sha256:" + "0" * 64})
    with pytest.raises(Unfit, match="its model folder, processor"):
        Drawing(Member(model, SIGMA, SECRET, other))


def test_samples_for_the_gallery_give_way_and_are_those_of_one_process(
    drawing: Drawing, model: EmbeddingModel, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call with a query in it does not."""
    nice, draw = list[int](), Drawing._draw

    def watched(self: Drawing, turn: object, call: Call) -> Reply:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return draw(self, turn, call)  # type: ignore[arg-type]

    monkeypatch.setattr(Drawing, "_draw", watched)
    asked = Asked(drawing, model, calibration.digest)
    query, item = stream(1, model), replace(stream(2, model), purpose="gallery")
    here = SmoothedModel(model, SIGMA, SECRET, calibration, workers=1)
    found = [*asked.sampler([(item, 0), (item, 5)]), *asked.sampler([(query, 0), (item, 1)])]
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert nice == [usual + NICER, usual]
    for samples, (each, number) in zip(found, [(item, 0), (item, 5), (query, 0), (item, 1)], strict=True):
        assert np.array_equal(samples, here.engine.draw(each, number, number + 1))
    here.close()


@pytest.mark.parametrize("said", [NobodyAnswers("no sampler"), ConnectionError("the actor died")])
def test_silence_is_told_as_503_with_a_time(
    said: Exception, drawing: Drawing, model: EmbeddingModel, calibration: Calibration
) -> None:
    def silent(reply: Reply) -> Reply:
        raise said

    asked = Asked(drawing, model, calibration.digest)
    asked.change = silent
    with pytest.raises((SamplersAway, SamplerLost)) as told:
        asked.sampler([(stream(1, model), 0)])
    error = told.value.error if isinstance(told.value, SamplerLost) else told.value
    assert isinstance(error, SamplersAway)
    assert (error.status, error.retry_after) == (503, 5)
    assert asked.lost == 1
    assert isinstance(told.value, SamplerLost) == isinstance(said, ConnectionError)


def test_a_sampler_that_fails_is_told_as_what_it_is(
    drawing: Drawing, model: EmbeddingModel, calibration: Calibration
) -> None:
    def failed(reply: Reply) -> Reply:
        raise SamplerFailed("RuntimeError: out of memory")

    asked = Asked(drawing, model, calibration.digest)
    asked.change = failed
    with pytest.raises(SamplerLost) as told:  # others try it, so that it is not the fault of one of them
        asked.sampler([(stream(1, model), 0)])
    assert isinstance(told.value.error, ModelFailure)
    assert "memory" not in told.value.error.detail


def test_statements_and_seals_hold_no_secret(calibration: Calibration, tmp_path: Path) -> None:
    statement = Seals(SECRET, calibration.digest, SIGMA).statement
    assert SECRET not in pickle.dumps(statement)
    assert statement.proof != Seals(SECRET, calibration.digest, 0.5).statement.proof

"""`deadline_ms`: an answer by then, with the certificate of what was drawn until then."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models import CHUNK, Stop
from service.errors import Overloaded
from service.retrieval.options import RetrieveOptions
from service.retrieval.query import checked
from service.retriever import Retriever
from service.settings import Settings
from tests.service.processes import Server, copy_gallery, opened, wait_for
from tests.service.queries import Json, answer, claims, digit, events, noisy_digit, post, unanswered

LONG: dict[str, Any] = {"max_samples": 100_000, "min_gain": 0}
LATE = 1.0  # seconds that an answer may come after its deadline, on a machine that does other things as well


@pytest.fixture(scope="module")
def client(demo_server: Server) -> httpx.Client:
    return demo_server.client


def at_once(retriever: Retriever, image: bytes, body: Json, **options: Any) -> Any:
    """What a single look at as many samples as `body` is about certifies."""
    tensor = retriever.decode(image)
    query = checked(tensor, RetrieveOptions(**options), retriever.settings, retriever.smoothed)
    count = body["certificate"]["samples"]
    with retriever._answering.samples.of(tensor) as samples:
        drawn = samples.first(count, Stop())
    contest = retriever._answering.contest(retriever.snapshot(), query.terms, query.options.rule)
    return contest.outcome(drawn)


@pytest.mark.parametrize("rule", ["embedding", "vote"])
def test_an_answer_comes_by_the_deadline_with_the_certificate_of_its_samples(
    client: httpx.Client, demo_retriever: Retriever, rule: str
) -> None:
    image, options = noisy_digit(30, seed=len(rule)), LONG | {"rule": rule}
    response = post(client, image, deadline_ms=100, **options)
    assert response.status_code == 200, response.text
    assert response.elapsed.total_seconds() < 0.1 + LATE
    certificate = response.json()["certificate"]
    assert certificate["samples"] % CHUNK == 0
    assert certificate["samples"] < LONG["max_samples"]
    assert certificate["status"] == ("certified" if certificate["radius"] > 0 else "abstained")
    expected = at_once(demo_retriever, image, response.json(), **options).certificate
    assert (certificate["label_radius"], certificate["item_radius"]) == (
        expected.label_radius, expected.item_radius
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["embedding", "vote"])
def test_a_deadline_too_short_for_a_certificate_is_answered_without_one(
    client: httpx.Client, demo_retriever: Retriever, rule: str
) -> None:
    for row in range(40, 45):
        image = noisy_digit(row, seed=len(rule))
        body = answer(client, image, deadline_ms=1, rule=rule, top_k=2, **LONG)
        certificate = body["certificate"]
        assert CHUNK <= certificate["samples"] < LONG["max_samples"]
        if certificate["samples"] < 256:
            assert (certificate["status"], certificate["samples"]) == ("abstained", CHUNK)
            assert "deadline" in certificate["reason"]
            assert [certificate[name] for name in ("radius", "label_radius", "item_radius")] == [0, 0, 0]
        # Who is nearest is told of the samples that there are.
        found = at_once(demo_retriever, image, body, rule=rule, **LONG).neighbors
        nearest = demo_retriever.snapshot().items[found.rows[0]]
        assert body["neighbor"]["id"] == nearest.id
        np.testing.assert_allclose(body["neighbor"]["distance"], found.distances[0], atol=1e-6)


def test_a_deadline_is_met_for_many_at_once(client: httpx.Client) -> None:
    def one(row: int) -> httpx.Response:
        return post(client, noisy_digit(row, seed=77), deadline_ms=300, **LONG)

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(one, range(12)))
    assert any(response.status_code == 200 for response in found)
    for response in found:
        assert response.elapsed.total_seconds() < 0.3 + LATE
        if response.status_code == 503:  # others would have taken all its time
            assert "before the deadline" in response.json()["detail"]
            continue
        assert 0 < response.json()["certificate"]["samples"] < LONG["max_samples"]


def test_an_answer_that_a_deadline_cut_short_is_never_taken_for_a_full_one(
    client: httpx.Client, demo_retriever: Retriever
) -> None:
    image = noisy_digit(31, seed=3)
    options: dict[str, Any] = {"max_samples": 20_000, "min_gain": 0}
    short = answer(client, image, deadline_ms=1, **options)
    assert (short["cache"], short["certificate"]["samples"] < 20_000) == ("miss", True)
    again = answer(client, image, deadline_ms=1, **options)
    assert again["certificate"]["samples"] >= short["certificate"]["samples"]
    full = answer(client, image, **options)
    assert (full["cache"], full["certificate"]["samples"]) == ("resumed", 20_000)
    expected = demo_retriever.retrieve(image, RetrieveOptions.model_validate(options))
    assert claims(full) == claims(expected.model_dump(mode="json"))
    # The full answer is there now, also for those in a hurry.
    late = answer(client, image, deadline_ms=1, **options)
    assert late["cache"] == "hit"
    assert claims(late) == claims(full)


def test_a_deadline_that_is_far_away_changes_nothing(client: httpx.Client, demo_retriever: Retriever) -> None:
    image = noisy_digit(32, seed=4)
    for options in ({"max_samples": 3000}, {"target_radius": 0.1, "max_samples": 3000}, {"rule": "vote"}):
        given = RetrieveOptions.model_validate(options)
        expected = demo_retriever.retrieve(image, given).model_dump(mode="json")
        assert claims(answer(client, image, deadline_ms=60_000, **options)) == claims(expected)


def test_a_stream_ends_at_the_deadline_with_its_last_round(client: httpx.Client) -> None:
    response = client.post(
        "/retrieve",
        params=LONG | {"deadline_ms": 150},
        content=noisy_digit(33, seed=5),
        headers={"content-type": "image/png", "accept": "text/event-stream"},
    )
    assert response.elapsed.total_seconds() < 0.15 + LATE
    *steps, (name, body) = events(response)
    assert name == "answer"
    assert steps[-1][1]["samples"] == body["certificate"]["samples"] < LONG["max_samples"]
    assert steps[-1][1]["radius"] == body["certificate"]["radius"]


def test_a_deadline_does_not_wait_for_another_who_has_many_samples_of_the_same_image_drawn(
    client: httpx.Client, demo_server: Server
) -> None:
    def rises(drawn: float) -> bool:
        return demo_server.metric("retrievalguard_samples_drawn_total") > drawn

    for row in range(3):
        image = noisy_digit(34 + row, seed=6)
        many = unanswered(demo_server.url, image, method="paper", max_samples=100_000)  # in one round
        wait_for(lambda: demo_server.metric("retrievalguard_queued_samples") > 1000)
        body = answer(client, image, deadline_ms=20, **LONG)
        drawn = demo_server.metric("retrievalguard_samples_drawn_total")
        wait_for(partial(rises, drawn))  # the other goes on
        many.close()
        assert body["certificate"]["samples"] < LONG["max_samples"] / 2
        wait_for(lambda: demo_server.metric("retrievalguard_queued_samples") == 0)


@pytest.mark.parametrize("method", ["paper", "bisector"])
def test_methods_that_hold_for_one_number_of_samples_take_no_deadline(
    client: httpx.Client, method: str
) -> None:
    refused(post(client, digit(0), deadline_ms=1000, method=method), method)


@pytest.mark.parametrize("deadline", ["0", "-1", "nan", "1.5", "soon"])
def test_a_deadline_that_is_none_is_refused(client: httpx.Client, deadline: str) -> None:
    refused(post(client, digit(0), deadline_ms=deadline))


def refused(response: httpx.Response, said: str = "") -> None:
    assert response.status_code == 422, response.text
    assert [error["option"] for error in response.json()["errors"]] == ["deadline_ms"]
    assert said in response.json()["errors"][0]["message"]


def test_a_filter_that_takes_longer_to_read_is_refused_until_it_has_been_read(
    demo_settings: Settings, demo_gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.fields.LOT", 50)
    options = {"filter": {"metadata.nothing": {"$exists": False}}}
    with opened(demo_settings, data_dir=copy_gallery(demo_gallery, tmp_path / "data")) as retriever:
        with pytest.raises(Overloaded, match="in time") as caught:
            retriever.retrieve(digit(3), RetrieveOptions(deadline_ms=1, **options))
        assert caught.value.retry_after == 1
        wait_for(lambda: not retriever.gallery._views._behind.is_alive())
        found = retriever.retrieve(digit(3), RetrieveOptions(deadline_ms=500, **options))
        assert found.gallery.matching == 600

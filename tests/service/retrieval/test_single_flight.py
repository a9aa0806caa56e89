"""Equal queries at once are worked out once, equal images drawn once, and whoever leaves hurts no other."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models import Stop
from service.errors import Abandoned
from service.retrieval.answer import RetrieveResponse
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings
from tests.service.processes import Server, copy_gallery, opened, wait_for
from tests.service.queries import Json, answer, claims, events, noisy_digit, unanswered

FULL: dict[str, Any] = {"max_samples": 4000, "min_gain": 0}
IN_CHUNKS = 4096


def drawn(server: Server) -> int:
    return int(server.metric("retrievalguard_samples_drawn_total"))


def at_once(server: Server, image: bytes, asked: list[Json]) -> list[Json]:
    """The answers to all that is `asked` about this image, posted at the same moment."""
    together = threading.Barrier(len(asked))

    def one(options: Json) -> Json:
        together.wait()
        return answer(server.client, image, **options)

    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(one, asked))


def test_a_hundred_equal_queries_cost_one_sampling_and_get_one_answer(
    demo_server: Server, demo_retriever: Retriever
) -> None:
    image, before = noisy_digit(50, seed=1), drawn(demo_server)
    found = at_once(demo_server, image, [FULL] * 100)
    assert drawn(demo_server) - before == IN_CHUNKS
    expected = demo_retriever.retrieve(image, RetrieveOptions.model_validate(FULL)).model_dump(mode="json")
    assert [claims(body) for body in found] == [claims(expected)] * 100


def test_equal_images_with_other_options_share_what_is_drawn(
    demo_server: Server, demo_retriever: Retriever
) -> None:
    image, before = noisy_digit(51, seed=1), drawn(demo_server)
    asked = [
        FULL | options
        for options in (
            {}, {"top_k": 3}, {"guarantee": "item"}, {"rule": "vote"}, {"alpha": 0.01}, {"method": "paper"},
            {"method": "mean"}, {"max_samples": 1000}, {"max_samples": 300}, {"deadline_ms": 60_000},
        )
    ]  # fmt: skip
    found = at_once(demo_server, image, asked)
    assert drawn(demo_server) - before == IN_CHUNKS
    for options, body in zip(asked, found, strict=True):
        alone = demo_retriever.retrieve(image, RetrieveOptions.model_validate(options))
        assert claims(body) == claims(alone.model_dump(mode="json")), options


def test_streams_share_what_is_drawn(demo_server: Server) -> None:
    image, before = noisy_digit(52, seed=1), drawn(demo_server)

    def one(number: int) -> Json:
        headers = {"content-type": "image/png", "accept": "text/event-stream"}
        response = demo_server.client.post("/retrieve", params=FULL, content=image, headers=headers)
        return events(response)[-1][1]

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(one, range(10)))
    assert drawn(demo_server) - before == IN_CHUNKS
    assert all(claims(body) == claims(found[0]) for body in found)


def test_the_first_client_leaves_and_the_others_are_answered(demo_server: Server) -> None:
    image, before = noisy_digit(53, seed=1), drawn(demo_server)
    abandoned = demo_server.metric("retrievalguard_queries_abandoned_total")
    options: dict[str, Any] = {"max_samples": 60_000, "min_gain": 0}
    first = unanswered(demo_server.url, image, **options)
    wait_for(lambda: drawn(demo_server) >= before + 256)
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(answer, demo_server.client, image, **options) for _ in range(3)]
        first.close()
        found = [other.result() for other in others]
    assert all(claims(body) == claims(found[0]) for body in found)
    assert found[0]["certificate"]["samples"] == 60_000
    assert demo_server.metric("retrievalguard_queries_abandoned_total") == abandoned + 1
    assert drawn(demo_server) - before == 128 * -(-60_000 // 128)


def test_whoever_takes_over_goes_on_where_the_first_one_stopped(
    demo_settings: Settings, demo_gallery: Path, tmp_path: Path, demo_retriever: Retriever
) -> None:
    options, image = RetrieveOptions(max_samples=40_000, min_gain=0), noisy_digit(54, seed=1)
    with (
        opened(demo_settings, data_dir=copy_gallery(demo_gallery, tmp_path)) as retriever,
        ThreadPoolExecutor(5) as pool,
    ):
        total = retriever.metrics.samples._value

        def ask(stop: Stop) -> RetrieveResponse:
            return retriever.retrieve(image, options, stop=stop)

        stops = [Stop() for _ in range(5)]
        first = pool.submit(ask, stops[0])
        wait_for(lambda: total.get() >= 256)
        others = [pool.submit(ask, stop) for stop in stops[1:]]
        wait_for(lambda: retriever._admission._inside == 5)
        stops[0].cancel()
        with pytest.raises(Abandoned):
            first.result(10)
        stops[1].cancel()  # one of those who waited, or the one who took over
        with pytest.raises(Abandoned):
            others[0].result(10)
        found = [claims(other.result(60).model_dump(mode="json")) for other in others[1:]]
        assert total.get() == 128 * -(-40_000 // 128)
        assert retriever.metrics.abandoned._value.get() == 2
        assert retriever._admission._inside == 0
        assert retriever.smoothed.engine.waiting == 0
        assert set(retriever.backlog.seconds().values()) == {0.0}
    expected = demo_retriever.retrieve(image, options).model_dump(mode="json")
    assert found == [claims(expected)] * 3

"""Attacks over HTTP: bounded in size and time, answered as every query is, and in vain below the radius."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from models import Stop
from service.errors import Abandoned, AttacksNotAllowed
from service.retrieval.answering import unlimited
from service.retrieval.attack import Attacks
from service.retrieval.attack import attacked as attacked_answer
from service.retrieval.options import RetrieveOptions
from service.retrieval.query import checked
from service.retriever import Retriever
from service.settings import Settings
from tests.service.processes import Server, copy_gallery, opened
from tests.service.queries import Json, answer, claims, digit, tensor

# Of 2,000 samples these are certified to .14 (label), .25 (label) and .20 (item).
SMALL, MIDDLE = 23, 5
SAMPLES = 2_000


def attack(client: httpx.Client, image: bytes, size: float, **options: Any) -> httpx.Response:
    return client.post("/attack", content=image, params={"size": size, **options})


def attacked(
    client: httpx.Client, row: int, times: float, **options: Any
) -> tuple[Json, NDArray[np.float32]]:
    """What came of an attack of so many radii, and the input that it led to; all of it as it has to be."""
    asked = {"max_samples": SAMPLES, **options}
    before = answer(client, digit(row), **asked)
    radius = before["certificate"]["radius"]
    assert radius > 0
    response = attack(client, digit(row), times * radius, **asked)
    assert response.status_code == 200, response.text
    body: Json = response.json()
    moved = np.frombuffer(base64.b64decode(body["pixels"]), "<f4").reshape(body["shape"])
    size = float(np.linalg.norm((moved.astype(np.float64) - tensor(row)).ravel()))
    assert body["size"] == pytest.approx(size)
    assert 0 <= moved.min() <= moved.max() <= 1
    assert 0.9 * times * radius < size < times * radius * (1 + 1e-5)
    assert body["inside"] == (size < radius)
    assert claims(body["answer"]) == claims(before)
    again = client.post("/retrieve", json={"pixels": moved.tolist(), **asked}).json()
    assert claims(body["moved"]) == claims(again)
    kept = "id" if asked.get("guarantee") == "item" else "label"
    assert body["changed"] == (again["neighbor"][kept] != before["neighbor"][kept])
    assert not body["broken"]
    return body, moved


@pytest.mark.parametrize(("row", "guarantee"), [(SMALL, "label"), (MIDDLE, "label"), (MIDDLE, "item")])
def test_below_the_radius_the_answer_stays(demo_server: Server, row: int, guarantee: str) -> None:
    body, _ = attacked(demo_server.client, row, 0.99, guarantee=guarantee)
    assert body["inside"]
    assert not body["changed"]


def test_beyond_it_the_attack_is_strong_enough_to_mean_something(demo_server: Server) -> None:
    for row in (SMALL, MIDDLE):
        body, moved = attacked(demo_server.client, row, 4.0)
        assert not body["inside"]
        assert body["changed"]
        again = attack(demo_server.client, digit(row), body["size"], max_samples=SAMPLES).json()
        assert again["changed"]  # the same noise each time: who reports it can repeat it
    random = np.random.default_rng(0).standard_normal(moved.shape)
    noisy = tensor(MIDDLE) + random * (body["size"] / np.linalg.norm(random))
    query = {"pixels": noisy.clip(0, 1).tolist(), "max_samples": SAMPLES}
    stays = demo_server.client.post("/retrieve", json=query).json()
    assert (
        stays["neighbor"]["label"] == body["answer"]["neighbor"]["label"]
    )  # noise of that size does nothing


def test_no_change_is_larger_than_there_is_room_for(demo_server: Server) -> None:
    body = attack(demo_server.client, digit(MIDDLE), 1e300).json()
    assert 1 < body["size"] < 8
    assert body["changed"]


def test_it_takes_every_form_of_a_query(demo_server: Server) -> None:
    pixels = {"pixels": tensor(MIDDLE).tolist(), "max_samples": 512}
    by_numbers = demo_server.client.post("/v1/attack", params={"size": 0.2}, json=pixels).json()
    by_file = attack(demo_server.client, digit(MIDDLE), 0.2, max_samples=512).json()
    assert by_numbers["pixels"] == by_file["pixels"]
    only = json.dumps({"label": {"$in": ["1", "2"]}})
    filtered = attack(demo_server.client, digit(MIDDLE), 4.0, filter=only).json()
    for told in ("answer", "moved"):
        assert filtered[told]["neighbor"]["label"] in "12"


def test_only_two_certificates_that_contradict_each_other_break_a_promise(demo_retriever: Retriever) -> None:
    image, other = tensor(MIDDLE), tensor(SMALL)
    answers = [
        demo_retriever.retrieve(pixels, RetrieveOptions(max_samples=samples))
        for pixels in (image, other)
        for samples in (2_000, 128)
    ]
    certified, in_doubt, elsewhere, elsewhere_in_doubt = answers
    assert [answer.certificate.radius > 0 for answer in answers] == [True, False, True, False]
    assert certified.neighbor.label != elsewhere.neighbor.label == elsewhere_in_doubt.neighbor.label
    near = image + np.float32(1e-3)
    assert attacked_answer(image, near, certified, elsewhere).broken
    assert not attacked_answer(image, near, certified, elsewhere_in_doubt).broken
    assert not attacked_answer(image, near, certified, in_doubt).broken
    assert not attacked_answer(image, other, certified, elsewhere).broken  # it is far


def test_where_nothing_can_change_nothing_is_tried(demo_server: Server) -> None:
    body = attack(demo_server.client, digit(3), 1.0, filter=json.dumps({"label": "7"})).json()
    assert (body["size"], body["inside"], body["changed"]) == (pytest.approx(0, abs=1e-5), True, False)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"size": "0"}, "size"),
        ({"size": "-1"}, "size"),
        ({"size": "nan"}, "size"),
        ({"size": "inf"}, "size"),
        ({"size": ["0.1", "0.2"]}, "size"),
        ({}, "size"),
        ({"size": "0.1", "rule": "vote"}, "rule"),
        ({"size": "0.1", "guarantee": "within"}, "guarantee"),
        ({"size": "0.1", "sise": "0.2"}, "sise"),
    ],
)
def test_what_cannot_be_attacked_is_refused_by_name(
    demo_server: Server, given: dict[str, Any], option: str
) -> None:
    response = demo_server.client.post("/attack", content=digit(0), params=given)
    assert response.status_code == 422, response.text
    assert [error["option"] for error in response.json()["errors"]] == [option]


def test_it_is_off_unless_it_is_the_demo(redis_backed_server: Server, demo_server: Server) -> None:
    assert demo_server.client.get("/model").json()["attack_seconds"] == 5
    assert redis_backed_server.client.get("/model").json()["attack_seconds"] == 0
    response = attack(redis_backed_server.client, digit(0), 0.1)
    assert response.status_code == 403
    assert response.json()["type"] == "urn:retrievalguard:problem:attacks-not-allowed"


def test_off_it_is_off_in_process_too(demo_retriever: Retriever) -> None:
    with pytest.raises(AttacksNotAllowed, match="RETRIEVALGUARD_ATTACK_SECONDS"):
        demo_retriever.attack(tensor(0), 0.1)


def test_it_ends_when_its_time_is_up_or_nobody_waits(demo_retriever: Retriever) -> None:
    retriever, stop = demo_retriever, Stop()
    query = checked(tensor(MIDDLE), RetrieveOptions(), retriever.settings, retriever.smoothed)
    attacks = Attacks(retriever._answering, seconds=1e-9)
    found = attacks.moved(query, retriever.snapshot(), 1.0, 256, stop, unlimited)
    assert np.array_equal(found, query.image)  # not one step
    stop.cancel()
    started = time.monotonic()
    with pytest.raises(Abandoned):
        Attacks(retriever._answering, seconds=60).moved(
            query, retriever.snapshot(), 1.0, 256, stop, unlimited
        )
    assert time.monotonic() - started < 10


def test_all_that_it_draws_is_reserved(demo_retriever: Retriever) -> None:
    reserved = list[tuple[int, int]]()

    @contextmanager
    def reserve(most: int, drawn: Callable[[], int]) -> Iterator[None]:
        yield
        reserved.append((most, drawn()))

    retriever = demo_retriever
    # Nobody keeps samples of it: not the cache, which may be away, or have dropped them before the answer.
    query = checked(tensor(71) * 0.9, RetrieveOptions(), retriever.settings, retriever.smoothed)
    attacks = Attacks(retriever._answering, seconds=60)
    for there in (0, 1_024):
        before = retriever.metrics.samples._value.get()
        attacks.moved(query, retriever.snapshot(), 1.0, 1_024 + there, Stop(), reserve)
        missing = retriever.metrics.samples._value.get() - before
        assert missing == 1_024
        assert reserved.pop() == (missing + 24 * 16, missing + 24 * 16)


def test_a_gallery_that_changes_meanwhile_breaks_no_promise(
    demo_settings: Settings, demo_gallery: Path, tmp_path: Path
) -> None:
    data = copy_gallery(demo_gallery, tmp_path / "data")
    with opened(demo_settings, data_dir=data, attack_seconds=5) as retriever:
        label = retriever.retrieve(tensor(MIDDLE)).neighbor.label

        @contextmanager
        def forgetting(most: int, drawn: Callable[[], int]) -> Iterator[None]:
            retriever.items.delete_where(label, None)
            yield

        options = RetrieveOptions(max_samples=SAMPLES)
        retriever.retrieve(tensor(MIDDLE), options)  # an answer that is there is not worked out again
        found = retriever.attack(tensor(MIDDLE), 1e-6, options, reserve=forgetting)
    assert label not in (found.answer.neighbor.label, found.moved.neighbor.label)
    assert found.answer.gallery == found.moved.gallery
    assert not found.changed
    assert not found.broken

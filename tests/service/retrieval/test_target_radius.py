"""`target_radius`: sampling stops when it is certified, or does not look within reach."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from certify import rounds
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings
from tests.service.processes import Server, copy_gallery, opened
from tests.service.queries import Json, answer, ask_in_process, claims, digit, post, tensor

MOST = 20_000
OUT_OF_REACH = 2.0  # with σ = 1/4 that is 8 standard deviations

Clear = Callable[..., tuple[int, float]]


@pytest.fixture(scope="module")
def client(demo_server: Server) -> httpx.Client:
    return demo_server.client


@pytest.fixture(scope="module")
def clear(demo_retriever: Retriever) -> Clear:
    """A query with a large radius under these options, and a target well below it."""

    @functools.cache
    def find(**options: str) -> tuple[int, float]:
        given = RetrieveOptions.model_validate({"max_samples": 1000, **options})
        radii = {
            row: demo_retriever.retrieve(tensor(row), given).certificate.radius for row in range(0, 200, 10)
        }
        best = max(radii, key=lambda row: radii[row])
        return best, radii[best] / 2

    return find


def fresh(name: str) -> list[Any]:
    """Pixels that no other test asks for: a digit with a little noise."""
    rng = np.random.default_rng(list(name.encode()))
    pixels: list[Any] = (tensor(101) + rng.normal(0, 0.02, (1, 8, 8))).clip(0, 1).astype(np.float32).tolist()
    return pixels


@pytest.mark.parametrize("rule", ["embedding", "vote"])
@pytest.mark.parametrize("guarantee", ["label", "item"])
def test_a_target_within_reach_is_certified_from_few_samples(
    client: httpx.Client, demo_retriever: Retriever, clear: Clear, rule: str, guarantee: str
) -> None:
    row, target = clear(rule=rule, guarantee=guarantee)
    asked = {"target_radius": target, "max_samples": MOST, "rule": rule, "guarantee": guarantee}
    body = answer(client, digit(row), **asked)
    certificate = body["certificate"]
    assert (certificate["status"], certificate["reason"]) == ("certified", None)
    assert certificate["radius"] == certificate[f"{guarantee}_radius"] >= target > 0
    assert certificate["samples"] < MOST / 4
    assert certificate["samples"] in rounds(MOST)
    assert claims(body) == claims(ask_in_process(demo_retriever, tensor(row).tolist(), **asked))


@pytest.mark.parametrize("rule", ["embedding", "vote"])
def test_a_target_out_of_reach_is_given_up_long_before_the_last_sample(
    client: httpx.Client, clear: Clear, rule: str
) -> None:
    asked: dict[str, Any] = {"target_radius": OUT_OF_REACH, "max_samples": MOST, "rule": rule}
    certificate = answer(client, digit(clear()[0]), **asked)["certificate"]
    assert certificate["radius"] < OUT_OF_REACH
    assert certificate["reason"].startswith("the target radius 2 was not certified from")
    assert certificate["reason"].endswith("ask without target_radius for the largest radius")
    assert certificate["samples"] < MOST / 10


def test_a_target_is_not_given_up_at_the_first_look(demo_retriever: Retriever) -> None:
    asked = {"target_radius": OUT_OF_REACH, "max_samples": MOST}
    given_up = ask_in_process(demo_retriever, tensor(3).tolist(), **asked)
    assert given_up["certificate"]["samples"] > next(rounds(MOST))


@pytest.mark.parametrize("most", [2, 100, 255, 256, 257, 400])
def test_few_samples_are_all_taken_unless_the_target_is_certified_before(
    demo_retriever: Retriever, most: int
) -> None:
    for target in (1e-6, 0.3, OUT_OF_REACH):
        for row in (3, 4):
            options = {"target_radius": target, "max_samples": most}
            certificate = ask_in_process(demo_retriever, tensor(row).tolist(), **options)["certificate"]
            assert certificate["samples"] <= most
            assert certificate["samples"] == most or certificate["radius"] >= target


@pytest.mark.parametrize("target", [1e-300, 1e-6, 100.0, 1e308])
@pytest.mark.parametrize("rule", ["embedding", "vote"])
def test_an_extreme_target_is_answered(client: httpx.Client, target: float, rule: str) -> None:
    certificate = answer(client, digit(3), target_radius=target, rule=rule, max_samples=600)["certificate"]
    assert 0 <= certificate["radius"] < 8


def test_the_same_question_gets_the_same_answer_from_the_cache(
    client: httpx.Client, demo_server: Server
) -> None:
    pixels = fresh("the same question")

    def drawn() -> float:
        return demo_server.metric("retrievalguard_samples_drawn_total")

    def ask(**options: Any) -> Json:
        body: Json = client.post("/retrieve", json={"pixels": pixels, **options}).json()
        return body

    for target, cached in ((0.1, ["miss", "hit"]), (OUT_OF_REACH, ["resumed", "hit"])):
        before = drawn()
        first = ask(target_radius=target, max_samples=MOST)
        between = drawn()
        second = ask(target_radius=target, max_samples=MOST)
        assert [first["cache"], second["cache"]] == cached
        assert claims(first) == claims(second)
        assert between > before
        assert drawn() == between
    # Another question about the same image, of no more samples, finds them there as well.
    assert ask(max_samples=first["certificate"]["samples"])["cache"] == "hit"


def test_only_what_the_rounds_need_is_drawn_and_what_is_kept_is_gone_on_from(
    demo_settings: Settings, demo_gallery: Path, tmp_path: Path, demo_retriever: Retriever
) -> None:
    pixels = fresh("rounds")
    alone = ask_in_process(demo_retriever, pixels, target_radius=OUT_OF_REACH, max_samples=MOST)
    needed = alone["certificate"]["samples"]
    with opened(demo_settings, data_dir=copy_gallery(demo_gallery, tmp_path)) as retriever:
        drawn = retriever.metrics.samples._value
        assert ask_in_process(retriever, pixels, max_samples=128)["cache"] == "miss"
        assert drawn.get() == 128
        resumed = ask_in_process(retriever, pixels, target_radius=OUT_OF_REACH, max_samples=MOST)
        assert resumed["cache"] == "resumed"
        assert drawn.get() == needed == 128 * (needed // 128)
        assert ask_in_process(retriever, pixels, max_samples=needed)["cache"] == "hit"
        assert drawn.get() == needed
    assert claims(resumed) == claims(alone)


def test_a_certified_target_may_be_asked_for_again_with_more_samples_and_stays_certified(
    demo_retriever: Retriever, clear: Clear
) -> None:
    row, target = clear()
    for most in (1000, 1500, MOST):
        body = ask_in_process(demo_retriever, tensor(row).tolist(), target_radius=target, max_samples=most)
        assert body["certificate"]["radius"] >= target


@pytest.mark.parametrize("target", ["0", "-0.1", "nan", "inf", "-inf", "much", "1e999"])
def test_a_target_that_is_no_radius_is_refused_by_name(client: httpx.Client, target: str) -> None:
    refused(post(client, digit(0), target_radius=target), "target_radius")


@pytest.mark.parametrize("target", ["0", "-0.1", "NaN", "Infinity", "[]"])
def test_in_a_json_body_as_well(client: httpx.Client, target: str) -> None:
    body = f'{{"pixels": {tensor(0).tolist()}, "target_radius": {target}}}'
    headers = {"content-type": "application/json"}
    refused(client.post("/retrieve", content=body, headers=headers), "target_radius")


@pytest.mark.parametrize("method", ["paper", "bisector"])
def test_methods_that_hold_for_one_number_of_samples_are_refused(client: httpx.Client, method: str) -> None:
    refused(post(client, digit(0), target_radius=0.2, method=method), "target_radius", method)


def test_method_mean_may_be_asked_for_a_target(client: httpx.Client, clear: Clear) -> None:
    row, target = clear(method="mean")
    body = answer(client, digit(row), target_radius=target, method="mean", max_samples=MOST)
    assert body["certificate"]["radius"] >= target > 0
    assert body["certificate"]["samples"] < MOST / 4


def refused(response: httpx.Response, option: str, said: str = "") -> None:
    assert response.status_code == 422, response.text
    body = response.json()
    assert body["type"] == "urn:retrievalguard:problem:invalid-option"
    assert [error["option"] for error in body["errors"]] == [option]
    assert said in body["errors"][0]["message"]

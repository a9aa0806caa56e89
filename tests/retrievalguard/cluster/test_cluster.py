"""A cluster answers what one process answers, bit for bit, also while replicas are killed and replaced."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np

from bench.replicas import RayCluster
from models.datasets import digits
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from tests.service.processes import SECRET, wait_for

LONG = 20_000


def picture(seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Pixels that no other test asks for, so that no cache holds their samples."""
    image = digits("query").pixels[seed % 200].astype(np.float32) / 255
    image[0, 3, 3] = (seed + 1) / 4096
    return image


def ask(cluster: RayCluster, image: np.ndarray[Any, Any], **options: object) -> httpx.Response:
    body = {"pixels": image.tolist(), **options}
    return httpx.post(f"{cluster.url}/retrieve", json=body, timeout=120)


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """What must be the same: all but how long it took, and what the cache held."""
    return {name: value for name, value in answer.items() if name not in ("timing_ms", "cache")}


def here(retriever: Retriever, image: np.ndarray[Any, Any], **options: Any) -> dict[str, Any]:
    found = retriever.retrieve(image, RetrieveOptions(**options))
    return told(found.model_dump(mode="json"))


def lost(cluster: RayCluster) -> float:
    """Calls of samplers that no answer came to, at whichever API replica is asked."""
    text = httpx.get(f"{cluster.url}/metrics", timeout=60).text
    found = re.search(r"^retrievalguard_samplers_lost_total (\S+)", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_answers_are_those_of_one_process_bit_for_bit(cluster: RayCluster, demo_retriever: Retriever) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda seed: ask(cluster, picture(seed)), range(24)))
    for seed, answer in enumerate(answers):
        assert answer.status_code == 200, answer.text
        assert told(answer.json()) == here(demo_retriever, picture(seed))


def test_a_sampler_that_is_killed_in_the_middle_is_not_seen_in_the_answer(
    cluster: RayCluster, demo_retriever: Retriever
) -> None:
    assert len(cluster.pids("Sampler")) == 2
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, cluster, picture(100), max_samples=LONG, min_gain=0)
        time.sleep(0.3)
        assert not answer.done()
        killed = cluster.kill("Sampler")
        found = answer.result()
    assert found.status_code == 200, found.text
    assert found.json()["certificate"]["samples"] == LONG
    assert told(found.json()) == here(demo_retriever, picture(100), max_samples=LONG, min_gain=0)
    wait_for(lambda: lost(cluster) > 0)
    wait_for(lambda: len(cluster.pids("Sampler") - {killed}) == 2, 60)  # back by itself


def test_an_api_replica_that_is_killed_under_load_costs_503_with_a_time_at_most(
    cluster: RayCluster, demo_retriever: Retriever
) -> None:
    ended, answers = threading.Event(), list[tuple[int, httpx.Response]]()

    def client(first: int) -> None:
        seed = first
        while not ended.is_set():
            answers.append((seed, ask(cluster, picture(seed))))
            seed += 4

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client, 200 + number) for number in range(4)]
        time.sleep(1)
        killed = cluster.kill("Api")
        wait_for(lambda: len(cluster.pids("Api") - {killed}) == 2, 60)
        time.sleep(1)
        ended.set()
        for each in clients:
            each.result()
    failed = [answer for _, answer in answers if answer.status_code != 200]
    for answer in failed:
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
    good = [(seed, answer) for seed, answer in answers if answer.status_code == 200]
    assert len(good) > len(failed)
    for seed, answer in good[-5:]:
        assert told(answer.json()) == here(demo_retriever, picture(seed))


def test_an_update_fails_no_query_and_each_version_tells_its_digest(
    cluster: RayCluster, demo_retriever: Retriever
) -> None:
    """To another way to run the network, which is another model digest, and to another secret."""
    other = "a secret for the version that is next"
    old = demo_retriever.smoothed.digest
    changed = {"RETRIEVALGUARD_VARIANT": "eager", "RETRIEVALGUARD_SECRET": other}
    answers = list[httpx.Response]()
    updating = cluster.update("--api", "2", "--samplers", "2", **changed)
    seed = 600
    while updating.poll() is None:
        answers.append(ask(cluster, picture(seed)))
        seed += 1
    written = cluster.log.read_text() + cluster.log.with_suffix(".update").read_text()
    assert updating.returncode == 0, written
    answers += [ask(cluster, picture(seed + number)) for number in range(4)]
    assert {answer.status_code for answer in answers} == {200}
    digests = [answer.json()["model"]["digest"] for answer in answers]
    assert digests[0] == old
    assert old not in digests[-4:]
    assert len(set(digests)) == 2
    assert SECRET not in written
    assert other not in written

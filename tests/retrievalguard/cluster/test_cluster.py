"""A cluster answers what one process answers, bit for bit, also while replicas are killed and replaced."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from index import GalleryStore, SharedGallery, export_gallery, import_gallery
from tests.postgres import ESCAPED, PASSWORD, PostgresServer
from tests.retrievalguard.cluster.both import Both, picture, told
from tests.service.processes import SECRET, wait_for
from tests.service.queries import digit, events

LONG = 10_000
OTHER = "a secret for the version that is next"


def lost(both: Both) -> float:
    """Calls of samplers that no answer came to, at the API replica that knows of most."""
    texts = [both.client.get("/metrics").text for _ in range(10)]
    found = [re.search(r"^retrievalguard_samplers_lost_total (\S+)", text, re.M) for text in texts]
    return max((float(each[1]) for each in found if each), default=0.0)


def test_answers_are_those_of_one_process_bit_for_bit(both: Both) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(both.ask, range(24)))
    for seed, answer in enumerate(answers):
        assert answer.status_code == 200, answer.text
        assert told(answer.json()) == both.here(seed)


def test_a_sampler_that_is_killed_in_the_middle_is_not_seen_in_the_answers(both: Both) -> None:
    """Of several long queries; again until it was killed with something in its hands, as most are at once."""
    for first in range(1000, 1060, 10):
        kill_while_it_draws(both, range(first, first + 4))
        if lost(both) > 0:
            break
    assert lost(both) > 0


def kill_while_it_draws(both: Both, seeds: range) -> None:
    assert len(both.cluster.pids("Sampler")) == 2
    options = {"max_samples": LONG, "min_gain": 0}
    asked = {"pixels": picture(seeds[0]).tolist(), **options}
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(both.ask, seed, **options) for seed in seeds[1:]]
        with both.client.stream(
            "POST", "/retrieve", json=asked, headers={"accept": "text/event-stream"}
        ) as stream:
            text, killed = "", set[int]()
            for line in stream.iter_lines():
                if line == "event: round" and not killed:  # most is still to be drawn
                    killed.add(both.cluster.kill("Sampler"))
                text += f"{line}\n"
        answers = [other.result() for other in others]
    name, first = events(httpx.Response(200, text=text))[-1]
    assert (name, {answer.status_code for answer in answers}) == ("answer", {200})
    for seed, answer in zip(seeds, [first, *(answer.json() for answer in answers)], strict=True):
        assert answer["certificate"]["samples"] == LONG
        assert told(answer) == both.here(seed, max_samples=LONG, min_gain=0)
    wait_for(lambda: len(both.cluster.pids("Sampler") - killed) == 2, 60)  # back by itself


def test_an_api_replica_that_is_killed_under_load_costs_503_with_a_time_at_most(both: Both) -> None:
    ended, answers = threading.Event(), list[tuple[int, httpx.Response]]()

    def client(first: int) -> None:
        seed = first
        while not ended.is_set():
            answers.append((seed, both.ask(seed)))
            seed += 4

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client, 200 + number) for number in range(4)]
        wait_for(lambda: len(answers) > 8)
        killed = both.cluster.kill("Api")
        wait_for(lambda: len(both.cluster.pids("Api") - {killed}) == 2, 60)
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
        assert told(answer.json()) == both.here(seed)


@dataclass(frozen=True)
class Updated:
    """What an update came to: its end, all that was written, and what was answered from before to after."""

    status: int
    written: str
    answers: list[httpx.Response]


@pytest.fixture(scope="module")
def updated(both: Both, few_items: Path, postgres_server: PostgresServer) -> Updated:
    """To another way to run the network, which is another model digest, another secret, and PostgreSQL."""
    url = postgres_server.database()
    archive = both.cluster.log.with_suffix(".archive")
    file = GalleryStore(few_items / "gallery.sqlite3")
    shared = GalleryStore(SharedGallery(url, both.cluster.log.with_suffix(".sqlite3")))
    export_gallery(file, archive)
    import_gallery(shared, archive)
    for store in (file, shared):
        store.close()
    changed = {"RETRIEVALGUARD_VARIANT": "eager", "RETRIEVALGUARD_SECRET": OTHER, "DATABASE_URL": url}
    answers = [both.ask(600)]
    updating = both.cluster.update("--api", "2", "--samplers", "2", **changed)
    while updating.poll() is None:
        answers.append(both.ask(600 + len(answers)))
    written = both.cluster.log.read_text() + both.cluster.log.with_suffix(".update").read_text()
    answers += [both.ask(600 + len(answers) + number) for number in range(4)]
    return Updated(updating.returncode, written, answers)


def test_an_update_fails_no_query_and_each_version_tells_its_digest(both: Both, updated: Updated) -> None:
    assert updated.status == 0, updated.written
    assert {answer.status_code for answer in updated.answers} == {200}
    digests = [answer.json()["model"]["digest"] for answer in updated.answers]
    assert digests[0] == both.retriever.smoothed.digest
    assert digests[0] not in digests[-4:]
    assert len(set(digests)) == 2
    for secret in (SECRET, OTHER, PASSWORD, ESCAPED):
        assert secret not in updated.written


def test_the_log_of_the_command_has_a_line_for_each_answer(both: Both, updated: Updated) -> None:
    """Of replicas that are gone, too, though lines are alike."""
    for answer in updated.answers:
        wait_for(lambda: answer.headers["x-request-id"] in both.cluster.log.read_text(), 20)  # noqa: B023


def test_a_change_in_postgresql_is_seen_at_all_replicas_within_a_second(both: Both, updated: Updated) -> None:
    assert updated.status == 0
    done = both.client.put("/gallery/items/new", params={"label": "new"}, content=digit(7))
    assert done.status_code == 201, done.text
    time.sleep(1)
    seen = [both.client.get("/gallery").json()["version"] for _ in range(20)]  # of two replicas
    assert seen == [done.json()["version"]] * 20

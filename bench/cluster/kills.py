"""Kills at random moments of all that a cluster is made of, under load: `make bench BENCH=cluster.kills`.

API replicas, samplers, copies of shards, one of two machines of Ray, PostgreSQL and Redis, each as often as
the others; the number of kills may be an argument. Two clients ask and two change the gallery all the
while. What was answered is compared with one process, which sees the same versions of the gallery; what was
acknowledged is looked for at the end. The cluster is back when all of its processes run, a new question is
answered and a change acknowledged. `load`: how busy the machine was at the start and at the end. Needs root,
and Debian's `postgresql` and `iproute2`.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from bench.cluster.asking import ANSWER_SECONDS, Answer, Service, told
from bench.cluster.stage import KINDS, SHARDS, Stage, servers, staged
from bench.cluster.witness import Witness
from bench.cluster.writers import ChangingClient
from bench.results import run_noted, save
from bench.server import free_port
from models.datasets import digits
from service.images import png
from service.process import own_process
from service.settings import Settings

KILLS, CLIENTS, WRITERS = 50, 2, 2
# For the kills, of which there are fewer then; and between two questions of a client, at most.
KILLING_SECONDS, REST_SECONDS = 1800.0, 0.3
# Between two kills, at most; and for the cluster to be back, before it is said not to be.
PAUSE_SECONDS, BACK_SECONDS = 4.0, 120.0
SECRET = "a secret of the benchmark alone"
SAMPLES = 1024
OPTIONS: Sequence[dict[str, Any]] = [
    {}, {"guarantee": "item"}, {"rule": "vote"}, {"guarantee": "within", "within_k": 3, "top_k": 3},
]  # fmt: skip
# One question in so many was asked before.
AGAIN = 4


@dataclass(frozen=True)
class Exchange:
    """A question, when it was answered (`time.monotonic`), and with what; or the name of an error."""

    seed: int
    options: dict[str, Any]
    at: float
    answer: httpx.Response | str

    @property
    def kind(self) -> str:
        """The status, and the type of a problem."""
        if isinstance(self.answer, str):
            return self.answer
        status = self.answer.status_code
        return "200" if status == 200 else f"{status} {self.answer.json()['type'].rpartition('/')[2]}"


@dataclass(frozen=True)
class Killed:
    """A kill: of what, and after how many seconds all was back; None: not within `BACK_SECONDS`."""

    kind: str
    seconds: float | None


def asking(url: str, number: int, ended: threading.Event, answers: list[Exchange]) -> None:
    """Ask, one question after the other, until it has `ended`."""
    service, chance, seed = Service(url), random.Random(number), 10_000 * (number + 1)
    while not ended.wait(chance.uniform(0, REST_SECONDS)):
        again = chance.randrange(AGAIN) == 0
        asked = chance.randrange(10_000, seed + 1) if again else seed
        options = OPTIONS[asked % len(OPTIONS)] | {"max_samples": SAMPLES}
        answer: httpx.Response | str
        try:
            answer = service(asked, **options)
        except httpx.HTTPError as error:  # no answer at all: worse than any
            answer = type(error).__name__
        answers.append(Exchange(asked, options, time.monotonic(), answer))
        seed += not again


@contextmanager
def loaded(url: str, answers: list[Exchange], writers: list[ChangingClient]) -> Iterator[None]:
    """Clients that ask and change; what was answered is in `answers` and `writers`."""
    ended = threading.Event()
    with ThreadPoolExecutor(CLIENTS + WRITERS) as pool:
        clients = [pool.submit(asking, url, number, ended, answers) for number in range(CLIENTS)]
        clients += [
            pool.submit(writer.work, url, ended, random.Random(number))
            for number, writer in enumerate(writers)
        ]
        try:
            yield
        finally:
            ended.set()
        for each in clients:
            each.result()


def back(stage: Stage, gone: set[int], probe: ChangingClient, number: int) -> bool:
    """Whether all is there again, within `BACK_SECONDS`, and answers and takes changes."""
    until = time.monotonic() + BACK_SECONDS
    with httpx.Client(base_url=stage.cluster.url, timeout=ANSWER_SECONDS) as client:
        service = Service(stage.cluster.url)
        changed = answered = False
        attempt = 0
        while time.monotonic() < until:
            try:
                attempt += 1
                answered = answered or service(10**6 + number, max_samples=256).status_code == 200
                changed = changed or probe.change(
                    client, f"{probe.name}/{number}-{attempt}", ("a probe", number % len(probe.images))
                )
            except httpx.HTTPError:
                pass
            if answered and changed and not stage.missing(gone):
                return True
            time.sleep(0.1)
    print(f"not back: answered {answered}, changed {changed}, missing {stage.missing(gone)}", flush=True)
    return False


def killing(stage: Stage, kills: int, seconds: float, probe: ChangingClient) -> list[Killed]:
    """Kill one after the other, each kind once in a round, and wait until all is back."""
    chance, killed, round_ = random.Random(1), list[Killed](), list[str]()
    until = time.monotonic() + seconds
    for number in range(kills):
        if time.monotonic() > until:
            break
        round_ = round_ or chance.sample(KINDS, len(KINDS))
        time.sleep(chance.uniform(0, PAUSE_SECONDS))
        kind, at = round_.pop(), time.monotonic()
        gone = stage.kill(kind, chance)
        whole = back(stage, gone, probe, number)
        took = time.monotonic() - at if whole else None
        killed.append(Killed(kind, took))
        print(f"{number + 1} {kind}: {took}", flush=True)
    return killed


def compared(witness: Witness, answers: Sequence[Exchange]) -> dict[str, Any]:
    """How many of the answers that were given differ from those of one process.

    Radii may, where a replica has read the gallery at another version: its clusters are others, and so are
    the bounds of what is far. All else has to be the same.
    """
    same, radii, unseen, wrong = 0, 0, 0, list[Any]()
    for each in answers:
        if isinstance(each.answer, str) or each.answer.status_code != 200:
            continue
        answer = told(each.answer.json())
        expected = witness.answer(each.seed, answer["gallery"]["version"], each.options)
        if expected is None:
            unseen += 1
        elif expected == answer:
            same += 1
        elif without_radii(expected) == without_radii(answer):
            radii += 1
        else:
            wrong.append((each.seed, each.options, answer, expected))
    for pair in wrong[:5]:
        print("differs:", *pair, sep="\n  ", flush=True)
    return {
        "answers_compared": same + radii + len(wrong),
        "answers_equal_in_every_bit": same,
        "answers_with_radii_of_other_clusters": radii,
        "answers_that_differ_otherwise": len(wrong),
        "answers_of_versions_that_one_process_did_not_see_or_items_that_are_gone": unseen,
    }


def without_radii(answer: Answer) -> Answer:
    """All of an answer that does not depend on how its gallery is put into clusters."""
    depends = {"radius", "label_radius", "item_radius", "status", "reason"}

    def rest(claims: Answer) -> Answer:
        return {name: value for name, value in claims.items() if name not in depends}

    certificate = rest(answer["certificate"])
    if certificate["within"] is not None:
        certificate["within"] = rest(certificate["within"])
    return answer | {"certificate": certificate}


def report_of(answers: Sequence[Exchange], killed: Sequence[Killed]) -> dict[str, Any]:
    """What clients saw, and how long the cluster was not whole."""
    told_of = [each.answer for each in answers if isinstance(each.answer, httpx.Response)]
    good = sorted(each.at for each in answers if each.kind == "200")
    gaps = [later - sooner for sooner, later in pairwise(good)]
    return {
        "kills": dict(Counter(each.kind for each in killed)),
        "answers": dict(Counter(each.kind for each in answers)),
        "without_any_answer": len(answers) - len(told_of),
        "failed_without_retry_after": sum(
            answer.status_code != 200 and not (answer.status_code == 503 and "retry-after" in answer.headers)
            for answer in told_of
        ),
        "most_seconds_without_an_answer": round(max(gaps, default=0.0), 1),
        "seconds_until_all_is_back": {
            kind: {"median": round(statistics.median(seconds), 1), "most": round(max(seconds), 1)}
            for kind in KINDS
            if (seconds := [each.seconds for each in killed if each.kind == kind and each.seconds])
        },
        "not_back": sum(each.seconds is None for each in killed),
    }


def measure(folder: Path, kills: int, seconds: float) -> dict[str, Any]:
    """All figures, with data in `folder`."""
    with servers(folder) as (place, postgres, redis):
        began = time.monotonic()
        settings = Settings(
            data_dir=folder, gallery_samples=256, secret=SecretStr(SECRET), redis_url=None,
            database_url=SecretStr(postgres.url), max_backlog_seconds=600,
        )  # fmt: skip
        first = Witness(settings)
        items = first.fill()
        first.retriever.close()
        # As replicas read it: with clusters of all that is there, not of how it came.
        (folder / "gallery.pack").unlink(missing_ok=True)
        witness = Witness(settings)
        print(f"{items} items after {time.monotonic() - began:.0f} s", flush=True)
        environment = os.environ | {
            "DATABASE_URL": postgres.url, "REDIS_URL": redis.url, "RETRIEVALGUARD_DATA_DIR": str(folder),
            "RETRIEVALGUARD_PORT": str(free_port()), "RETRIEVALGUARD_SECRET": SECRET,
            "RETRIEVALGUARD_GALLERY_SAMPLES": "256", "RETRIEVALGUARD_GALLERY_SHARDS": str(SHARDS),
            "RETRIEVALGUARD_GALLERY_WRITES": "on", "RETRIEVALGUARD_MAX_BACKLOG_SECONDS": "600",
        }  # fmt: skip
        images = [png(pixels) for pixels in digits("query").pixels[:20]]
        writers = [ChangingClient(f"writer-{number}", images) for number in range(WRITERS)]
        probe, answers = ChangingClient("probe", images), list[Exchange]()
        with staged(environment, folder / "cluster.log", place, postgres, redis) as stage:
            print(f"the cluster is ready after {time.monotonic() - began:.0f} s", flush=True)
            with witness.watching():
                with loaded(stage.cluster.url, answers, writers):
                    killed = killing(stage, kills, seconds, probe)
                with httpx.Client(base_url=stage.cluster.url, timeout=ANSWER_SECONDS) as client:
                    for writer in (*writers, probe):
                        writer.check(client)
        changes = Counter[str]()
        for writer in (*writers, probe):
            changes.update(writer.counts)
        wrong = [each for writer in (*writers, probe) for each in writer.wrong]
        for each in wrong:
            print("wrong:", each, flush=True)
        report = report_of(answers, killed) | {
            "changes": dict(changes), "changes_lost_or_half": len(wrong), "items": items,
        }  # fmt: skip
        report |= compared(witness, answers)
        witness.retriever.close()
        return report


def main() -> None:
    """Print the report, as the last line, in JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kills", type=int, nargs="?", default=KILLS)
    parser.add_argument("--seconds", type=float, default=KILLING_SECONDS, help="for the kills, at most")
    asked = parser.parse_args()
    own_process()
    report = dict[str, Any]()
    with run_noted(report), tempfile.TemporaryDirectory(prefix="retrievalguard-bench-") as folder:
        report |= measure(Path(folder), asked.kills, asked.seconds)
    save("cluster_kills", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()

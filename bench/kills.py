"""SIGKILL in the middle of changes: is every acknowledged one there? `make bench BENCH=kills`.

Half of the kills meet a server, and half an import (`bench.import_kills`). A server is started, two clients
add, replace, revise and delete items, the server is killed at a random moment, and the next one is asked for
all it has: what was answered has to be there, what was not answered may be, whole or not at all, and the
version never goes back. The servers are forks of one process that has loaded all code.
"""

import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from bench.import_kills import compiled, imports_killed
from bench.item_changes import Known, next_state, send
from bench.results import save
from models.datasets import digits
from service.http.app import create_app
from service.http.server import run
from service.images import png
from service.process import own_process
from service.retriever import Retriever
from service.settings import Settings

# So many servers, and so many imports.
KILLS, WRITERS = 100, 2
# After the first change that is answered, the server lives up to so many seconds.
LIFE_SECONDS = 0.5
START_SECONDS = 300


@dataclass
class Writer:
    """A client that changes its own items until the server is gone.

    known    what was answered to be there
    pending  the change that was not answered: of an item, to what
    """

    name: str
    chance: random.Random
    images: list[bytes]
    known: dict[str, Known] = field(default_factory=dict)
    pending: tuple[str, Known] | None = None
    version: int = 0
    changes: int = 0

    def work(self, url: str) -> None:
        """Change items, one after the other, until there is no answer."""
        with httpx.Client(base_url=url, timeout=60) as client:
            while True:
                id_ = f"{self.name}/{self.chance.randrange(12)}"
                there = self.known.get(id_)
                wanted = next_state(there, len(self.images), self.chance)
                self.pending = (id_, wanted)
                try:
                    answer = send(client, id_, there, wanted, self.images)
                except httpx.TransportError:
                    return
                answer.raise_for_status()
                self.known[id_], self.pending = wanted, None
                self.version = max(self.version, answer.json()["version"])
                self.changes += 1

    def check(self, client: httpx.Client, found: dict[str, str]) -> None:
        """Raises `AssertionError` if something that was answered is not there, or half of something."""
        mine = {id_: label for id_, label in found.items() if id_.startswith(f"{self.name}/")}
        if self.pending is not None:
            id_, wanted = self.pending
            if (None if wanted is None else wanted[0]) == mine.get(id_):
                self.known[id_] = wanted  # it was stored, and its answer was lost
            self.pending = None
        assert mine == {id_: known[0] for id_, known in self.known.items() if known is not None}
        for id_, known in self.known.items():
            if known is not None:
                assert client.get(f"/gallery/images/{id_}").content == self.images[known[1]], id_


def killed(kills: int, seed: int, data: Path) -> dict[str, object]:
    """Kill a server on the folder `data` so many times; raises `AssertionError` if anything was lost."""
    compiled()
    chance, images = random.Random(seed), [png(pixels) for pixels in digits("query").pixels[:20]]
    writers = [Writer(f"writer {number}", random.Random(seed + number), images) for number in range(WRITERS)]
    for number in range(kills + 1):
        with _served(data) as (process, url), httpx.Client(base_url=url, timeout=60) as client:
            found, cursor = dict[str, str](), ""
            while True:
                page = client.get("/gallery/items", params={"cursor": cursor} if cursor else {}).json()
                found |= {item["id"]: item["label"] for item in page["items"]}
                cursor = page["next"]
                if cursor is None:
                    break
            version = client.get("/gallery").json()["version"]
            assert version >= max(writer.version for writer in writers)
            for writer in writers:
                writer.check(client, found)
            if number == kills:
                break
            before = sum(writer.changes for writer in writers)
            threads = [threading.Thread(target=writer.work, args=(url,)) for writer in writers]
            for thread in threads:
                thread.start()
            while sum(writer.changes for writer in writers) == before:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, LIFE_SECONDS))
            os.kill(process.pid or 0, signal.SIGKILL)
            for thread in threads:
                thread.join()
    changes = sum(writer.changes for writer in writers)
    return {"kills": kills, "seed": seed, "changes_answered": changes, "version": version, "lost": 0}


@contextmanager
def _served(data: Path) -> Iterator[tuple[multiprocessing.process.BaseProcess, str]]:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(data, there), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(START_SECONDS):
            raise AssertionError("the server did not start")
        url = f"http://127.0.0.1:{here.recv()}"
        _wait(url)
        yield process, url
    finally:
        process.kill()
        process.join()
        here.close()


def _wait(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/livez", timeout=5)
        except httpx.TransportError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the server did not start")


def _serve(data: Path, told: Connection) -> None:
    """In a process of its own, until it is killed."""
    with (data / "server.log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    own_process()
    settings = Settings(
        data_dir=data, gallery_writes="loopback", gallery_samples=128, variant="folded", redis_url=None
    )
    sockets = [socket.create_server(("127.0.0.1", 0))]
    retriever = Retriever.open(settings)
    told.send(sockets[0].getsockname()[1])
    run(create_app(retriever), settings, sockets)


def main() -> None:
    """Print, as the last line, how many kills of each kind were survived; their number may be an argument."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    report = dict[str, object]()
    for name, survived in (("server", killed), ("import", imports_killed)):
        with tempfile.TemporaryDirectory(prefix="retrievalguard-bench-") as folder:
            report[name] = survived(kills, 1, Path(folder))
    save("kills", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()

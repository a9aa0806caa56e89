"""What `bench.cluster.kills` goes by: what was lost is noticed, and who starts is not said to be there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.cluster.writers import ChangingClient
from bench.item_changes import Known
from bench.replicas import MARK, RayCluster

IMAGES = [b"first", b"second"]
UNKNOWN = "it is not known whether the change was stored: look at the gallery, or send the same again"


class Gallery:
    """A gallery that answers each change with `status`, and does it if it is `honest`."""

    def __init__(self) -> None:
        self.items = dict[str, Known]()
        self.status, self.honest, self.detail = 200, True, ""
        self.version = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        id_ = request.url.path.removeprefix("/gallery/items/").removeprefix("/gallery/images/")
        there = self.items.get(id_)
        if request.method == "GET":
            if there is None:
                return httpx.Response(404)
            label, image = there
            if "images" in request.url.path:
                return httpx.Response(200, content=IMAGES[image])
            return httpx.Response(200, json={"label": label})
        if self.honest:
            content = request.content
            wanted = (request.url.params["label"], IMAGES.index(content)) if request.method == "PUT" else None
            self.items[id_] = wanted
            self.version += 1
        told = {"version": self.version, "detail": self.detail}
        return httpx.Response(self.status, json=told, headers={"retry-after": "1"})


def changed(gallery: Gallery, wanted: Known = ("a label", 1)) -> list[str]:
    """What is wrong after one change of a gallery."""
    writer = ChangingClient("writer", IMAGES)
    with httpx.Client(base_url="http://gallery", transport=httpx.MockTransport(gallery)) as client:
        writer.change(client, "an item", wanted)
        writer.check(client)
    return writer.wrong


def test_a_change_that_was_acknowledged_has_to_be_there() -> None:
    gallery = Gallery()
    assert changed(gallery) == []
    gallery = Gallery()
    gallery.honest, gallery.version = False, 1
    assert "404" in changed(gallery)[0]


def test_a_refused_change_must_not_be_there_and_one_that_is_unknown_may() -> None:
    for status, detail, wrong in ((502, "", 0), (503, UNKNOWN, 0), (503, "nothing was stored", 1)):
        for honest in (True, False):
            gallery = Gallery()
            gallery.status, gallery.detail, gallery.honest = status, detail, honest
            assert len(changed(gallery)) == (wrong and honest)


def test_a_refusal_that_does_not_say_when_to_come_back_is_wrong() -> None:
    gallery = Gallery()
    gallery.status, gallery.honest = 500, False
    assert "500" in changed(gallery)[0]


@contextmanager
def process(name: str, log: Path, library: Path) -> Iterator[int]:
    """One that is called `name`, belongs to the cluster of `log`, and has `library` in its memory."""
    code = "import mmap, sys; file = open(sys.argv[1], 'rb')\n"
    code += "with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ): print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [name, "-c", code, str(library)], executable=sys.executable, env=os.environ | {MARK: str(log)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        running.stdout.readline()
        try:
            yield running.pid
        finally:
            running.kill()


def test_a_replica_that_has_not_begun_to_start_is_not_ready(tmp_path: Path) -> None:
    """Ray gives it its name before: it was counted as back, and its start to what was killed next."""
    cluster = RayCluster("", "", {MARK: str(tmp_path)}, tmp_path)
    network, other = tmp_path / "libtorch.so", tmp_path / "other.so"
    for library in (network, other):
        library.write_bytes(b"a library")
    name = "ray::ServeReplica:retrievalguard:Api"
    with (
        process(name, tmp_path, network) as there,
        process(name, tmp_path, other),
        process(f"ray::SERVE_REPLICA::retrievalguard#Api#1n2:{name[5:]}.__init__", tmp_path, other),
        process(f"{name}.initialize_and_get_metadata", tmp_path, network),
        process(name, tmp_path / "another cluster", network),
        process("ray::ShardActor", tmp_path, other) as shard,
        process("ray::ShardActor.__init__", tmp_path, other),
    ):
        assert cluster.ready("Api") == {there}
        assert cluster.ready("ShardActor") == {shard}
        assert len(cluster.pids("Api")) == 4

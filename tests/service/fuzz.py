"""A fuzzer for a bounded time, `make fuzz`: hostile requests and behaviours at a real server, files that are
damaged, manifests that are none. The last line is JSON; the exit status is 1 if anything broke.

`python -m tests.service.fuzz [--minutes 2] [--seed 1]`; tests run it for seconds.
"""

import argparse
import copy
import json
import math
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.server import demo_server
from models import Manifest, ModelError
from models.manifest import MANIFEST
from service.errors import Problem
from service.images import read_image
from tests.models import folders
from tests.service.behaviours import BEHAVIOURS
from tests.service.hostile import Hostile, damaged, hostile_requests
from tests.service.image_files.pictures import HEIGHT, WIDTH, pictures
from tests.service.raw import alive, connect, exchange

SHAPE = (3, HEIGHT, WIDTH)
# Requests for a minute; how many, and how many behaviours, there are in any case.
A_MINUTE, LEAST, CROWD = 1_500, 2_500, 300
AT_ONCE, HANGS_SECONDS = 8, 60
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**64, 10**400, 0.5, -0.0, 1e308, "", "x", "a" * 5_000, "\x00", "../../etc",
    "/", [], [[]], {}, {"": None}, [0] * 1_000, "sha256:" + "0" * 64, "é\ud800",
]  # fmt: skip

Broken = list[str]


def fuzz_pictures(seed: int, seconds: float) -> tuple[int, Broken]:
    """Decode damaged files for so long: how many, and what was neither a picture nor a problem."""
    chance, known = random.Random(seed), list(pictures().values())
    count, broken = 0, []
    for content in _until(seconds, lambda: _damaged_file(chance, known)):
        count += 1
        with warnings.catch_warnings(), suppress(Problem):
            warnings.simplefilter("error")
            try:
                found = read_image(content, SHAPE, max_pixels=10**6, min_side=8)
                if found.tensor.shape != SHAPE:
                    broken.append(f"a picture of shape {found.tensor.shape}: {content[:80]!r}")
            except Problem:
                raise
            except Exception as error:
                broken.append(f"{error!r}: {content[:80]!r}")
    return count, broken


def fuzz_manifests(seed: int, seconds: float) -> tuple[int, Broken]:
    """Read manifests that are none for so long: how many, and what was neither read nor refused."""
    chance, shipped = random.Random(seed), folders.read()
    count, broken = 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for content in _until(seconds, lambda: _damaged_manifest(chance, shipped)):
            count += 1
            (folder / MANIFEST).write_bytes(content)
            with suppress(ModelError):
                try:
                    Manifest.read(folder)
                except ModelError:
                    raise
                except Exception as error:
                    broken.append(f"{error!r}: {content[:200]!r}")
    return count, broken


def fuzz_server(url: str, seed: int, requests: int, crowd: int) -> tuple[Counter[int], Broken]:
    """Send so many hostile requests, beside a crowd of behaviours: how they were answered, and what broke."""

    def behave(name: str) -> str | None:
        got = b""
        with suppress(ConnectionError), connect(url) as connection:
            got = BEHAVIOURS[name](connection)
        return f"{name}: {got[:200]!r}" if b"HTTP/1.1 500" in got else None

    broken: Broken = []
    statuses: Counter[int] = Counter()
    names = [*BEHAVIOURS, *random.Random(seed).choices(list(BEHAVIOURS), k=max(crowd - len(BEHAVIOURS), 0))]
    with ThreadPoolExecutor(AT_ONCE) as some, ThreadPoolExecutor(AT_ONCE) as others:
        behaving = [some.submit(behave, name) for name in names]
        asked = [(bad, others.submit(_status, url, bad)) for bad in hostile_requests(seed, requests)]
        for bad, answer in asked:
            status = answer.result()
            statuses[status] += 1
            if status == 500:
                broken.append(f"500 to {bad.kind}: {bad.content[:200]!r}")
        broken += [said for one in behaving if (said := one.result()) is not None]
    alive(url)
    return statuses, broken


def _status(url: str, bad: Hostile) -> int:
    """What a request is answered with; raises `TimeoutError` if it hangs."""
    return exchange(url, bad.content, bad.method, seconds=HANGS_SECONDS, ends=not bad.whole).status


def _until(seconds: float, make: Any) -> Iterator[bytes]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield make()


def _damaged_file(chance: random.Random, known: list[bytes]) -> bytes:
    """A file with bytes that are others, missing, double, or of another file."""
    content = chance.choice(known)
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    kind = chance.randrange(5)
    if kind == 0:
        return damaged(chance, content)
    if kind == 1:
        return content[:start] + content[end:]
    if kind == 2:
        return content[:end] + content[start:]
    if kind == 3:
        return content[:start] + chance.choice(known)[start:]
    return content[:start] + chance.randbytes(chance.randrange(64)) + content[start:]


def _damaged_manifest(chance: random.Random, shipped: dict[str, Any]) -> bytes:
    """A manifest with values in the wrong places, or bytes that are others."""
    manifest: Any = copy.deepcopy(shipped)
    for _ in range(chance.randint(1, 3)):
        inside: Any = manifest
        while isinstance(inside, dict) and inside:
            name = chance.choice(list(inside))
            if chance.random() < 0.5 or not isinstance(inside[name], dict | list):
                if chance.random() < 0.2:
                    del inside[name]
                elif isinstance(inside[name], float | int) and chance.random() < 0.5:
                    inside[name] = chance.choice([-1, 0, 1, math.nan, math.inf, 1e-320, inside[name] * 10**9])
                else:
                    inside[chance.choice([name, "x", ""])] = chance.choice(VALUES)
                break
            inside = inside[name]
    content = json.dumps(manifest).encode("utf-8", "surrogatepass")
    return damaged(chance, content) if chance.random() < 0.3 else content


def main() -> int:
    """Run all of it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.service.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="about how long (2)")
    parser.add_argument("--seed", type=int, default=1, help="another one, other requests (1)")
    given = parser.parse_args()
    files, broken = fuzz_pictures(given.seed, 15 * given.minutes)
    manifests, found = fuzz_manifests(given.seed, 10 * given.minutes)
    broken += found
    with demo_server() as url:
        count = max(LEAST, round(A_MINUTE * given.minutes))
        statuses, found = fuzz_server(url, given.seed, count, CROWD)
    broken += found
    report = {
        "files": files, "manifests": manifests, "requests": count, "behaviours": len(BEHAVIOURS),
        "connections_that_behaved_so": CROWD, "statuses": dict(sorted(statuses.items())),
        "broken": len(broken),
    }  # fmt: skip
    print(*broken[:20], json.dumps(report), sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

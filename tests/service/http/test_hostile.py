"""A thousand hostile requests: no 500, nothing hangs, no memory is lost, and the next query is answered."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.service.hostile import KINDS, Hostile, hostile_requests
from tests.service.processes import Server
from tests.service.queries import answer, claims, digit
from tests.service.raw import exchange

COUNT, AT_ONCE = 1_000, 4
# Nothing takes as long as this unless it hangs: every request is small.
HANGS_SECONDS = 20


def resident_bytes(server: Server) -> int:
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def statuses(server: Server, seed: int, count: int) -> list[tuple[Hostile, int]]:
    def one(bad: Hostile) -> tuple[Hostile, int]:
        found = exchange(server.url, bad.content, bad.method, seconds=HANGS_SECONDS, ends=not bad.whole)
        return bad, found.status

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, hostile_requests(seed, count)))


def test_a_thousand_hostile_requests(rough_server: Server) -> None:
    server = rough_server
    expected = claims(answer(server.client, digit(0)))
    statuses(server, seed=1, count=400)  # what is loaded and kept once
    before = resident_bytes(server)
    found = statuses(server, seed=2, count=COUNT)
    after = resident_bytes(server)
    failed = [(bad.kind, bad.content[:300]) for bad, status in found if status >= 500]
    assert not failed, failed[:5]
    assert claims(answer(server.client, digit(0))) == expected
    assert after < 1.1 * before
    assert "Traceback" not in server.log.read_text()
    # They are what they are meant to be: of all kinds, most refused, some taken.
    counts = Counter(status for _, status in found)
    assert {200, 400, 404, 405, 413, 415, 422} <= counts.keys(), counts
    assert sum(count for status, count in counts.items() if 400 <= status < 500) > COUNT / 2
    assert len({bad.kind for bad, _ in found}) == len(set(KINDS))


def test_the_same_seed_makes_the_same_requests() -> None:
    assert list(hostile_requests(3, 60)) == list(hostile_requests(3, 60))
    assert list(hostile_requests(3, 60)) != list(hostile_requests(4, 60))

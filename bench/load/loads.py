"""Loads: clients that wait for their answers (closed), and requests that come whatever happens (open)."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.load.asking import Asked, Asking, Came

# A probe is sent so often.
LIVEZ_SECONDS, READYZ_SECONDS = 0.1, 1.0

Make = Callable[[], Asked]


@dataclass
class Load:
    """What came of a load that began at `started` and went on for `seconds`.

    returned  what those got who came back when they had been told to
    offered   requests that were sent for the first time
    spent     what all of them took: `bench.load.spent`
    """

    name: str
    seconds: float
    started: float = field(default_factory=time.perf_counter)
    came: list[Came] = field(default_factory=list)
    returned: list[Came] = field(default_factory=list)
    offered: int = 0
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def all(self) -> list[Came]:
        """All that came."""
        return self.came + self.returned

    @property
    def answers(self) -> int:
        """How many were answered, and rightly."""
        return sum(one.good for one in self.all)

    @property
    def goodput(self) -> float:
        """Right answers a second, from a quarter of the time on."""
        end = self.started + self.seconds
        begin = self.started + self.seconds / 4
        return sum(one.good and begin <= one.ended < end for one in self.all) / (end - begin)


async def closed(asking: Asking, name: str, clients: Sequence[Sequence[Make]], seconds: float) -> Load:
    """Each client asks its requests in turn, and waits for each answer, or as long as it is told."""
    load = Load(name, seconds)

    async def client(makes: Sequence[Make], number: int) -> None:
        while time.perf_counter() < load.started + seconds:
            load.offered += 1
            came = await asking.ask(makes[number % len(makes)]())
            number += 1
            load.came.append(came)
            if came.wait is not None:
                left = load.started + seconds - time.perf_counter()
                await asyncio.sleep(max(min(came.wait, left), 0.0))

    await asyncio.gather(*(client(makes, number) for number, makes in enumerate(clients)))
    return load


async def opened(
    asking: Asking, name: str, make: Make, rate: float, seconds: float, afterwards: float
) -> Load:
    """`rate` requests a second; latencies count from when each was due.

    Who is refused comes back, once, if that is not more than so many seconds `afterwards`.
    """
    load = Load(name, seconds)
    last = load.started + seconds + afterwards

    async def one(due: float) -> None:
        asked = make()
        came = await asking.ask(asked, due)
        load.came.append(came)
        if came.wait is not None and time.perf_counter() + came.wait < last:
            await asyncio.sleep(came.wait)
            load.returned.append(await asking.ask(asked))

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = load.started + number / rate
            await asyncio.sleep(max(due - time.perf_counter(), 0.0))
            load.offered += 1
            group.create_task(one(due))
    return load


class Probes:
    """Health checks at a steady pace, whatever else goes on."""

    def __init__(self, url: str) -> None:
        self._asking = Asking(url)
        self.came: dict[str, list[Came]] = {"/livez": [], "/readyz": []}

    async def __aenter__(self) -> "Probes":
        self._tasks = [
            asyncio.create_task(self._probe(path, every))
            for path, every in (("/livez", LIVEZ_SECONDS), ("/readyz", READYZ_SECONDS))
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._asking.__aexit__()

    async def _probe(self, path: str, every: float) -> None:
        asked = Asked(path, "GET", path, b"", fields=("status",))
        while True:
            self.came[path].append(await self._asking.ask(asked))
            await asyncio.sleep(every)

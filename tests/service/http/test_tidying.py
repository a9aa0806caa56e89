"""Freed memory goes back while the service runs, and not after."""

import asyncio
import time

from service.http.tidying import tidying


def test_it_tidies_again_and_again_until_the_end() -> None:
    calls = list[float]()

    async def main() -> None:
        async with tidying(0.01, lambda: calls.append(time.perf_counter())):
            while len(calls) < 3:
                await asyncio.sleep(0.01)
        count = len(calls)
        await asyncio.sleep(0.05)
        assert len(calls) == count

    asyncio.run(asyncio.wait_for(main(), 20))

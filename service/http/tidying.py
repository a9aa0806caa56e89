"""Memory that was freed goes back to the kernel now and then.

`service.process.own_process` has malloc keep what passes free, which every thread then keeps for itself. Who
answers is another thread each time: without this, all of them come to hold the most that one ever needed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from anyio import to_thread

from models.passes.memory import give_back_freed_memory

# A pass that has to map its memory anew takes a fifth longer: nothing, twice a minute.
EVERY_SECONDS = 30.0


@asynccontextmanager
async def tidying(
    every: float = EVERY_SECONDS, tidy: Callable[[], None] = give_back_freed_memory
) -> AsyncIterator[None]:
    """While it is entered, `tidy` is called `every` so many seconds, in a thread."""

    async def go_on() -> None:
        while True:
            await asyncio.sleep(every)
            await to_thread.run_sync(tidy)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

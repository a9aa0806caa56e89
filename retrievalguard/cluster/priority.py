"""Work that gives way: what a new version does before it answers must not slow down the one that does.

Linux keeps a priority for each thread. Who is not root can lower it, and never raise it again: so such work
has threads, or a process, of its own.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

# What is added to nice: half of what others get of a core that both want, and all of one that is free. With
# less, a start would last for good on a machine that is always busy.
NICER = 3


def give_way() -> None:
    """Lower the priority of the calling thread, and of those that it starts from now on, for good."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICER)


def giving_way(work: Callable[[], Result]) -> Result:
    """What `work` returns or raises, on a thread of its own that gives way, and that is gone afterwards.

    Threads that it leaves behind give way, too.
    """
    with ThreadPoolExecutor(1, "start", give_way) as pool:
        return pool.submit(work).result()

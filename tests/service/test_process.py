"""What the owner of a process sets, in a process of its own."""

import subprocess
import sys

from models.passes import memory

# Resident memory, in MiB, that is left by twelve threads that live at the same time, on two cores: one after
# the other each has blocks of 24 MB, which are not so large that malloc asks the kernel for each.
LEFT = f"""
import os, runpy, sys, threading
from pathlib import Path
import numpy as np
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
if sys.argv[1] == "own":
    from service.process import own_process
    own_process()
else:  # as large blocks are kept there, by whichever arena
    runpy.run_path({memory.__file__!r})["keep_freed_memory"]()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) // 256
def work(gate, together):
    together.wait()
    with gate:
        blocks = [np.ones(3 * 2**20) for _ in range(2)]
        del blocks
    together.wait()
before, gate, together = resident(), threading.Semaphore(2), threading.Barrier(12)
threads = [threading.Thread(target=work, args=(gate, together)) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(resident() - before)
"""


def left(mode: str) -> int:
    return int(subprocess.check_output([sys.executable, "-c", LEFT, mode], text=True))


def test_threads_share_what_they_free() -> None:
    assert left("own") < left("as it is") / 3

"""Memory that a pass frees is there for the next one."""

import subprocess
import sys

from models.passes import memory

# The file alone: of the package around it, torch takes seconds to import.
ALONE = f"import runpy; keep_freed_memory = runpy.run_path({memory.__file__!r})['keep_freed_memory']"

# Page faults of blocks of 3 MB, too small for huge pages, taken three at a time and freed.
COUNT = (
    ALONE
    + """
import resource, sys
import numpy as np
if sys.argv[1] == "keep":
    assert keep_freed_memory()
blocks = [np.ones(3 * 2**17) for _ in range(3)]; del blocks
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    blocks = [np.ones(3 * 2**17) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
)


def faults(mode: str) -> int:
    return int(subprocess.check_output([sys.executable, "-c", COUNT, mode], text=True))


def test_kept_memory_is_not_mapped_again() -> None:
    assert faults("keep") < faults("as it is") / 2


# Resident memory, in MiB, before and after blocks of 24 MB that eight threads have had one after the other.
RESIDENT = """
import sys, threading
from pathlib import Path
import numpy as np
from models.passes.memory import give_back_freed_memory, keep_freed_memory
assert keep_freed_memory()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) // 256
def work(gate):
    with gate:
        blocks = [np.ones(3 * 2**20) for _ in range(4)]
        del blocks
        if sys.argv[1] == "give back":
            give_back_freed_memory()
before, gate = resident(), threading.Semaphore(2)
threads = [threading.Thread(target=work, args=(gate,)) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(resident() - before)
"""


def grown(mode: str) -> int:
    return int(subprocess.check_output([sys.executable, "-c", RESIDENT, mode], text=True))


def test_memory_that_large_work_frees_is_given_back() -> None:
    assert grown("give back") < grown("keep") / 3  # of several threads, each of which keeps its own

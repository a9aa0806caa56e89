"""Memory that a pass frees is there for the next one."""

import subprocess
import sys

# Page faults of blocks of 3 MB, too small for huge pages, taken three at a time and freed.
COUNT = """
import resource, sys
import numpy as np
from models.passes.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
blocks = [np.ones(3 * 2**17) for _ in range(3)]; del blocks
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    blocks = [np.ones(3 * 2**17) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    return int(subprocess.check_output([sys.executable, "-c", COUNT, mode], text=True))


def test_kept_memory_is_not_mapped_again() -> None:
    assert faults("keep") < faults("as it is") / 2

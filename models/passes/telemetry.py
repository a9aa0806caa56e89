"""Importing OpenVINO without reporting it to anybody.

`import openvino` imports its converter, which sends an event to a statistics server and writes a client id
under the home folder: from a program that only uses the library, and without a question. It does so by the
package `openvino_telemetry`, and does without where that is not installed. So it is made to look like that
for as long as the import takes.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_REPORTER = "openvino_telemetry"


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Within the block an import of OpenVINO's telemetry fails, as if it were not installed.

    A host program that imported it before keeps it: what it reports is not ours to decide.
    """
    if _REPORTER in sys.modules:
        yield
        return
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # so `import` raises ModuleNotFoundError
    try:
        yield
    finally:
        del sys.modules[_REPORTER]

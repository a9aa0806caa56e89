"""What a load took: processor time of the server and of the clients, and samples drawn. By the server's own
metrics, so it works for any server.

By the clock a loaded server is as slow as whatever else the machine does. Seconds of a core hardly depend on
that, and tell clients from server.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from bench.load.asking import Asking

# By our name: that of the sample in the metrics, of whatever labels.
_SUMS = {
    "server_seconds": "process_cpu_seconds_total",
    "samples": "retrievalguard_samples_drawn_total",
    "cache_failures": "retrievalguard_cache_failures_total",
}


@dataclass(frozen=True)
class Spent:
    """Sums since the start of the server, and processor time of this process."""

    of_server: Mapping[str, float]
    client_seconds: float

    def since(self, before: "Spent") -> dict[str, float]:
        """What came in between."""
        sums = {name: round(total - before.of_server[name], 3) for name, total in self.of_server.items()}
        return sums | {"client_seconds": round(self.client_seconds - before.client_seconds, 3)}


async def spent(asking: Asking, headers: Mapping[str, str]) -> Spent:
    """As of now; `headers`: with a key that may see the metrics."""
    found = dict.fromkeys(_SUMS, 0.0)
    for family in text_string_to_metric_families(await asking.text("/metrics", headers)):
        for sample in family.samples:
            for name, wanted in _SUMS.items():
                found[name] += sample.value if sample.name == wanted else 0.0
    return Spent(found, time.process_time())

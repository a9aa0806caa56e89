"""What an operator can watch: Prometheus metrics, in a registry of their own."""

from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Version 1 of control groups has a number for no limit: the largest one in whole pages.
NO_LIMIT = 2**62
_RADII = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 2, 4)


class Metrics:
    """The metrics of one service; documented in docs/observability.md."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.about = Info("retrievalguard_build", "What runs here.", registry=self.registry)
        self.ready = Gauge(
            "retrievalguard_ready", "Whether a query can be answered: 1 or 0.", registry=self.registry
        )
        self.requests = Counter(
            "retrievalguard_requests", "HTTP requests.", ["route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "retrievalguard_request_seconds", "Time to answer a request.", ["route"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.failures = Counter(
            "retrievalguard_failures", "Queries and other requests that failed as nobody expected.",
            registry=self.registry,
        )  # fmt: skip
        self.certificates = Counter(
            "retrievalguard_certificates", "Answers by the status of their certificate.",
            ["status", "method", "guarantee"], registry=self.registry,
        )  # fmt: skip
        self.radius = Histogram(
            "retrievalguard_certified_radius", "Certified radii, in l2 over [0,1] pixels.",
            buckets=_RADII, registry=self.registry,
        )  # fmt: skip
        self.samples = Counter(
            "retrievalguard_samples_drawn", "Forward passes for queries.", registry=self.registry
        )
        self.samplers_refused = Counter(
            "retrievalguard_samplers_refused", "Samples of samplers that were not taken (a cluster's).",
            ["reason"], registry=self.registry,
        )  # fmt: skip
        for reason in ("digest", "secret", "seal"):
            self.samplers_refused.labels(reason)
        self.samplers_lost = Counter(
            "retrievalguard_samplers_lost", "Calls of samplers that no answer came to (a cluster's).",
            registry=self.registry,
        )  # fmt: skip
        self.abandoned = Counter(
            "retrievalguard_queries_abandoned", "Queries whose client left first.", registry=self.registry
        )
        self.stages = Histogram(
            "retrievalguard_stage_seconds", "Where the time of answers goes that are worked out.", ["stage"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.under_way = Gauge(
            "retrievalguard_queries_under_way", "Queries that are not answered yet.", registry=self.registry
        )
        self.queued = Gauge(
            "retrievalguard_queued_samples", "Samples in line for the network.", registry=self.registry
        )
        self.backlog = Gauge(
            "retrievalguard_backlog_seconds", "How long the work that is admitted will take.", ["lane"],
            registry=self.registry,
        )  # fmt: skip
        self.cache = Counter(
            "retrievalguard_cache_lookups",
            "Queries by what the cache held.",
            ["result"],
            registry=self.registry,
        )
        self.cache_failures = Counter(
            "retrievalguard_cache_failures", "Cache calls that failed, and values that were not authentic.",
            ["reason"], registry=self.registry,
        )  # fmt: skip
        for reason in ("unavailable", "rejected"):  # from the start: the first one is an increase
            self.cache_failures.labels(reason)
        self.outside_domain = Counter(
            "retrievalguard_images_outside_domain",
            "Decoded images that lose something which the model was not trained to do without.",
            ["purpose", "reason"], registry=self.registry,
        )  # fmt: skip
        self.gallery_size = Gauge("retrievalguard_gallery_items", "Items searched.", registry=self.registry)
        self.gallery_damaged = Gauge(
            "retrievalguard_gallery_damaged_items", "Items left out, being damaged, or their vectors.",
            registry=self.registry,
        )  # fmt: skip
        self.gallery_cut_off = Gauge(
            "retrievalguard_gallery_cut_off", "1 while the server of a shared gallery is away, else 0.",
            registry=self.registry,
        )  # fmt: skip
        self.gallery_version = Gauge(
            "retrievalguard_gallery_version", "Gallery version.", registry=self.registry
        )
        self.gallery_gpu_bytes = Gauge(
            "retrievalguard_gallery_gpu_bytes", "What vectors of items take of the memory of a GPU.",
            registry=self.registry,
        )  # fmt: skip
        self.gallery_gpu_failures = Counter(
            "retrievalguard_gallery_gpu_failures", "Searches that a GPU failed to make.",
            registry=self.registry,
        )  # fmt: skip
        self.gallery_shard_failures = Counter(
            "retrievalguard_gallery_shard_failures", "Questions that no copy of a shard answered.",
            registry=self.registry,
        )  # fmt: skip

        self.jobs = Gauge(
            "retrievalguard_jobs", "Jobs that are kept, by their state.", ["state"], registry=self.registry
        )
        self.disk_free = Gauge(
            "retrievalguard_data_free_bytes", "What the disk of the data folder has left.",
            registry=self.registry,
        )  # fmt: skip
        self.memory_limit = Gauge(
            "retrievalguard_memory_limit_bytes", "What this process and its like may take; 0: no limit.",
            registry=self.registry,
        )  # fmt: skip
        self.memory_limit.set(memory_limit())

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)


def memory_limit(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """The bytes at which the kernel ends a process of this container; 0: no limit is known.

    `groups`: where control groups are mounted, of version 2 or 1 (cgroups(7)).
    """
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError):
            said = (groups / name).read_text().strip()
            return int(said) if said.isdecimal() and int(said) < NO_LIMIT else 0
    return 0

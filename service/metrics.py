"""What an operator can watch: Prometheus metrics, in a registry of their own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_RADII = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 2, 4)


class Metrics:
    """The metrics of one service; documented in docs/operations.md."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "retrievalguard_requests", "HTTP requests.", ["route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "retrievalguard_request_seconds", "Time to answer a request.", ["route"],
            buckets=_SECONDS, registry=self.registry,
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
        self.abandoned = Counter(
            "retrievalguard_queries_abandoned", "Queries whose client left first.", registry=self.registry
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
        self.gallery_version = Gauge(
            "retrievalguard_gallery_version", "Gallery version.", registry=self.registry
        )

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)

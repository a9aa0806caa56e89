"""The retriever: from an image to its nearest neighbour and certificate. Knows nothing of HTTP."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from certify import (
    TARGET_HORIZON,
    Certificate,
    EmbeddingSpace,
    Method,
    Terms,
    round_down,
    rounds,
    settled,
)
from index import Gallery, GalleryError, Item, NewItem, Snapshot
from models import EmbeddingModel, SmoothedModel
from service.admission import Admission
from service.cache import SampleCache
from service.cache_stores import EmbeddedStore, RedisStore
from service.contest import decide
from service.decode import decode_image, media_type
from service.errors import GalleryEmpty, InvalidOption
from service.metrics import Metrics
from service.options import RetrieveOptions
from service.samples import QuerySamples
from service.schemas import CertificateBody, GalleryRef, ModelRef, Neighbor, RetrieveResponse, Timing
from service.sealed import CacheStore
from service.settings import Settings, noise_secret

# Methods that may be read after every round.
ANYTIME: tuple[Method, ...] = ("cdf", "mean")
# A sample may be off by so much (l2) from h at its noisy input: float32 sums in another order where it stood
# elsewhere in its batch. In chunks of fixed shape no difference was seen; across CPU kernels, up to 3e-6.
SAMPLE_SLACK = 1e-5


@dataclass(frozen=True)
class _Query:
    """A checked query: the input tensor (C, H, W), what was asked of it, and how many samples it may cost."""

    image: NDArray[np.float32]
    options: RetrieveOptions
    terms: Terms
    samples: int


class Retriever:
    """A smoothed model, a gallery and a cache, tied together. Safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        model: EmbeddingModel,
        store: CacheStore,
        metrics: Metrics,
        secret: bytes,
        progress: Callable[[Iterable[str]], Iterable[str]],
    ) -> None:
        self.settings = settings
        self.model = model
        self.metrics = metrics
        self.sigma = settings.sigma or model.manifest.sigma
        self.smoothed = SmoothedModel(model, self.sigma, secret, settings.threads)
        self.space = EmbeddingSpace(
            nonnegative=model.manifest.architecture.nonnegative,
            slack=SAMPLE_SLACK,
            padded=settings.label_weight > 0,
        )
        self._cache = SampleCache(
            store, secret, model_digest=model.manifest.digest, sigma=self.sigma, dimension=model.dimension,
            count=lambda event: metrics.cache_failures.labels(event).inc(),
        )  # fmt: skip
        self._admission = Admission(settings.concurrency, settings.max_waiting)
        threadpool_limits(1, user_api="blas")  # certify in parallel by query; torch keeps its own threads
        embedding = f"{model.manifest.digest} sigma {self.sigma!r} samples {settings.gallery_samples}"
        self.gallery = Gallery(
            settings.data_dir / "gallery.sqlite3", embedding, model.dimension, settings.label_weight
        )
        self._embed_missing(progress)

    @classmethod
    def open(
        cls,
        settings: Settings | None = None,
        *,
        progress: Callable[[Iterable[str]], Iterable[str]] = lambda ids: ids,
    ) -> Self:
        """Load the model and the gallery that `settings` (default: the environment) name.

        Items that this model has not embedded yet are embedded first; `progress` wraps their ids. Raises
        `models.ModelError` if the model folder cannot be used.
        """
        settings = settings or Settings.from_environment()
        store: CacheStore
        if settings.redis_url is not None:
            store = RedisStore(
                settings.redis_url.get_secret_value(),
                timeout_ms=settings.redis_timeout_ms,
                ttl_seconds=settings.cache_ttl_seconds,
            )
        else:
            store = EmbeddedStore(
                settings.data_dir / "cache.sqlite3",
                max_bytes=settings.cache_max_bytes,
                ttl_seconds=settings.cache_ttl_seconds,
            )
        model = EmbeddingModel.load(settings.model)
        return cls(settings, model, store, Metrics(), noise_secret(settings), progress)

    def close(self) -> None:
        """Close gallery and cache, and stop the sampling."""
        self.smoothed.close()
        self.gallery.close()
        self._cache.close()

    @property
    def radius_unit(self) -> str:
        """In what the radii are measured."""
        return f"l2 over [0,1] pixels of the {'x'.join(map(str, self.model.input_shape))} model input"

    # --- the gallery

    def snapshot(self) -> Snapshot:
        """The newest gallery version."""
        snapshot = self.gallery.snapshot()
        self.metrics.gallery_size.set(len(snapshot))
        self.metrics.gallery_version.set(snapshot.version)
        return snapshot

    def decode(self, content: bytes) -> NDArray[np.float32]:
        """The input tensor (C, H, W) of an image file; raises the image problems of `service.errors`."""
        return decode_image(
            content,
            self.model.input_shape,
            max_pixels=self.settings.max_image_pixels,
            min_side=self.settings.min_image_side,
        )

    def prepare(self, item: Item, content: bytes) -> NewItem:
        """Decode and embed an image file for the gallery; raises the image problems of `service.errors`."""
        vector = self.smoothed.mean(self.decode(content), self.settings.gallery_samples)
        return NewItem(item, content, media_type(content), vector)

    def holds(self, item: Item, content: bytes) -> bool:
        """Whether the gallery has this very item, with this very image."""
        store = self.gallery.store
        try:
            return store.item(item.id) == item and store.image(item.id)[0] == content
        except GalleryError:
            return False

    def check(self) -> dict[str, str]:
        """Run the model and a search, for /readyz; raises what they raise."""
        image = np.zeros(self.model.input_shape, np.float32)
        vector = self.smoothed.sample(image, 0, 1).mean(axis=0, dtype=np.float64)
        snapshot = self.snapshot()
        snapshot.nearest(snapshot.lift(vector[None])[0], 1)
        return {"model": self.model.manifest.name, "gallery": f"{len(snapshot)} items"}

    def _embed_missing(self, progress: Callable[[Iterable[str]], Iterable[str]]) -> None:
        missing = self.gallery.missing()
        if missing:
            count = self.settings.gallery_samples
            self.gallery.set_vectors(
                {id_: self.smoothed.mean(self.decode(self.gallery.store.image(id_)[0]), count)
                 for id_ in progress(missing)}
            )  # fmt: skip

    # --- a query

    def retrieve(
        self, image: NDArray[np.float32] | bytes, options: RetrieveOptions | None = None
    ) -> RetrieveResponse:
        """The nearest neighbour of `image` with its certificate.

        `image` is an image file, or the input tensor itself: (C, H, W) float32 in [0, 1]. Raises
        `service.errors.Problem`: an image that cannot be read, an option over its limit, an empty gallery,
        or too many queries in line.
        """
        started = time.perf_counter()
        query = self._check(self.decode(image) if isinstance(image, bytes) else image, options)
        decoded = time.perf_counter()
        with self._admission.enter() as queued:
            snapshot = self.snapshot()
            if not len(snapshot):
                raise GalleryEmpty(
                    "the gallery is empty: add images with `retrievalguard gallery add FOLDER`"
                )
            admitted = time.perf_counter()
            samples = QuerySamples(self._cache, self.smoothed, self.metrics, query.image)
            sampling = searching = 0.0
            for count in rounds(query.samples) if query.terms.target else (query.samples,):
                looked = time.perf_counter()
                drawn = samples.first(count)
                sampling += time.perf_counter() - looked
                outcome = decide(
                    snapshot,
                    drawn,
                    self.space,
                    query.options.rule,
                    query.terms,
                    top_k=query.options.top_k,
                    max_rivals=self.settings.max_rivals,
                )
                searching += outcome.searching
                if settled(outcome.certificate):
                    break
            decided = time.perf_counter()
            cached = samples.keep()
        finished = time.perf_counter()
        neighbors, votes = outcome.neighbors, outcome.votes or (None,) * len(outcome.neighbors.rows)
        body = self._certificate(outcome.certificate, query.options)
        self.metrics.certificates.labels(body.status, body.method, body.guarantee).inc()
        self.metrics.radius.observe(body.radius)
        ranked = [
            Neighbor(
                id=item.id,
                label=item.label,
                distance=round(float(distance), 6),
                votes=count,
                metadata=item.metadata,
            )
            for item, distance, count in zip(
                (snapshot.items[row] for row in neighbors.rows), neighbors.distances, votes, strict=True
            )
        ]
        spans = {
            "decode": decoded - started,
            "queue": queued,
            "sample": sampling + finished - decided,
            "search": searching,
            "certify": decided - admitted - sampling - searching,
            "total": time.perf_counter() - started,
        }
        return RetrieveResponse(
            neighbor=ranked[0],
            neighbors=ranked[1:],
            certificate=body,
            model=ModelRef(name=self.model.manifest.name, digest=self.model.manifest.digest),
            gallery=GalleryRef(version=snapshot.version, size=len(snapshot)),
            cache=cached,
            timing_ms=Timing(**{name: round(1000 * seconds, 2) for name, seconds in spans.items()}),
        )

    def _check(self, image: NDArray[np.float32], options: RetrieveOptions | None) -> _Query:
        options = options or RetrieveOptions()
        samples = options.max_samples or self.settings.samples
        for option, value, limit in (
            ("max_samples", samples, self.settings.samples_limit),
            ("top_k", options.top_k, self.settings.top_k_limit),
        ):
            if value > limit:
                raise InvalidOption((option, f"must be at most {limit} here, got {value}"))
        if options.rule == "vote" and options.method != "cdf":
            raise InvalidOption(("method", f"rule vote has the method cdf only, got {options.method}"))
        if options.target_radius is not None and options.method not in ANYTIME:
            raise InvalidOption(
                ("target_radius", f"method {options.method} holds for one number of samples: ask for cdf")
            )
        terms = Terms(
            sigma=self.sigma,
            alpha=options.alpha or self.settings.alpha,
            guarantee=options.guarantee,
            method=options.method,
            horizon=samples if options.target_radius is None else min(samples, TARGET_HORIZON),
            target=options.target_radius,
            blur=self.smoothed.blur,
        )
        return _Query(image, options, terms, samples)

    def _certificate(self, certificate: Certificate, options: RetrieveOptions) -> CertificateBody:
        """The certificate as it is sent. Without rivals the radius is the diameter of the input space."""
        diameter = round_down(float(np.sqrt(np.prod(self.model.input_shape))))
        return CertificateBody(
            status="certified" if certificate.radius > 0 else "abstained",
            guarantee=options.guarantee,
            radius=min(certificate.radius, diameter),
            label_radius=min(certificate.label_radius, diameter),
            item_radius=min(certificate.item_radius, diameter),
            radius_unit=self.radius_unit,
            alpha=certificate.terms.alpha,
            sigma=certificate.terms.sigma,
            samples=certificate.samples,
            rule=options.rule,
            method=options.method,
            reason=certificate.reason,
        )

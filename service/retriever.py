"""The retriever: from an image to its nearest neighbour and certificate. Knows nothing of HTTP."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from certify import Guarantee, Method, Rule, Terms
from index import Copy, Filter, Gallery, Shards, Snapshot, StoreFailure, gpu
from models import EmbeddingModel, Recall, ShippedVectors, SmoothedModel, Stop, calibrated, model_folder
from models.sampling.samplers import SamplersElsewhere
from service.asking import GalleryQueries
from service.cache.chosen import chosen_store
from service.cache.redis_store import RedisStore
from service.cache.sealed import CacheStore
from service.decoding import Decoder
from service.gallery.managed import ManagedGallery
from service.gallery.place import gallery_place
from service.gallery.vectors import GalleryVectors
from service.health import HealthCheck
from service.metrics import Metrics
from service.parts import GalleryParts
from service.retrieval.answer import RetrieveResponse
from service.retrieval.answering import OnRound, Reserve, unlimited
from service.retrieval.assembly import assembled
from service.retrieval.attack import AttackResponse
from service.retrieval.contest import Contest
from service.retrieval.known import KnownAnswer
from service.retrieval.options import RetrieveOptions
from service.secret import noise_secret
from service.settings import Settings, SettingsError
from service.traffic.admission import Admission
from service.traffic.backlog import Backlog


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
        shipped: ShippedVectors | None = None,
        recall: Recall | None = None,
        elsewhere: SamplersElsewhere | None = None,
        shards: Sequence[Sequence[Copy]] = (),
    ) -> None:
        self.settings = settings
        self.model = model
        self.metrics = metrics
        # As it was measured before the model was shipped; nothing is measured here.
        self.recall = recall
        self.sigma = settings.sigma or model.manifest.sigma
        self.smoothed = SmoothedModel(
            model,
            self.sigma,
            secret,
            elsewhere.calibration
            if elsewhere is not None
            else calibrated(model, self.sigma, settings.variant, settings.data_dir / "calibration.json"),
            workers=settings.threads,
            elsewhere=elsewhere,
        )
        self._store = store
        threads = settings.threads or len(os.sched_getaffinity(0))
        self.backlog = Backlog(
            settings.max_backlog_seconds,
            settings.short_share,
            settings.short_query_seconds,
            self.smoothed.engine.workers,
        )
        self._admission = Admission(settings.max_queries, seconds=self.backlog.until_one_leaves)
        # Counts that replicas share, if they share a store.
        self.shared_count = store.add if isinstance(store, RedisStore) else None
        self._answering, repeats = assembled(
            settings, self.smoothed, store, secret, self.backlog, metrics, threads
        )
        self.space = self._answering.space
        self.vectors = GalleryVectors(self.smoothed, settings.gallery_samples, shipped)
        embedding = self.vectors.key
        if model.manifest.preprocessing is not None:
            embedding += f" {model.manifest.preprocessing.model_dump_json()}"
        failed = metrics.gallery_shard_failures.inc
        kept = self._answering.arranged.handed_over
        self.shards = Shards(shards, settings.shard_seconds, failed, kept) if shards else None
        # Shards search where vectors are.
        self.device = None if shards else gpu(settings.gallery_gpu_bytes, metrics.gallery_gpu_failures.inc)
        try:
            self.gallery = Gallery(
                gallery_place(settings), embedding, model.dimension, settings.label_weight,
                settings.max_filter_bytes, self.device, self.shards,
            )  # fmt: skip
        except StoreFailure:  # its server may be away: whoever waits for it opens another retriever
            if self.shards is not None:
                self.shards.close()
            self.smoothed.close()
            store.close()
            raise
        self._decoder = Decoder(model.manifest, settings, metrics, self.backlog, threads)
        self.losses = self._decoder.losses
        managed = ManagedGallery(settings, self.gallery, self.vectors, self._decoder.item)
        self.intake, self.items, self.named = managed.intake, managed.items, managed.named
        self.snapshots, self.jobs = managed.snapshots, managed.jobs
        self._asking = GalleryQueries(
            settings, self.gallery, self.named, self._decoder, self._answering, repeats, self._admission,
            metrics,
        )  # fmt: skip
        self.parts = GalleryParts(self.named, self.gallery.store, self.snapshot, settings.max_filter_seconds)
        health = HealthCheck(
            settings, self.smoothed, self.gallery, self.snapshot, self.device, self.backlog, self.jobs,
            metrics,
        )  # fmt: skip
        self.check, self.measure = health.check, health.measure
        try:
            self.intake.embed_missing(progress)
        except StoreFailure:  # as above
            self.close()
            raise

    @classmethod
    def open(
        cls,
        settings: Settings | None = None,
        *,
        progress: Callable[[Iterable[str]], Iterable[str]] = lambda ids: ids,
        metrics: Metrics | None = None,
        model: EmbeddingModel | None = None,
        elsewhere: SamplersElsewhere | None = None,
        shards: Sequence[Sequence[Copy]] = (),
    ) -> Self:
        """Load the model and the gallery that `settings` (default: the environment) name.

        `model`: the one of the settings, if it was loaded before. Items that it has not embedded yet are
        embedded first; `progress` wraps their ids. Samplers `elsewhere` draw all samples, if there are such;
        `shards`, each with its copies, hold the vectors of the gallery if there are any. Raises
        `SettingsError` if they are not as many as the settings say, `models.ModelError` if the model folder
        cannot be used, `models.VariantError` if the network cannot be run as the settings want it,
        `index.StoreFailure` if the gallery cannot be read: then nothing is left open.
        """
        settings = settings or Settings.from_environment()
        if settings.gallery_shards != len(shards):
            raise SettingsError(
                f"RETRIEVALGUARD_GALLERY_SHARDS is {settings.gallery_shards}, and {len(shards)} shards were"
                " given: pass them to Retriever.open, as `retrievalguard serve` does, or unset it"
            )
        store, model = chosen_store(settings), model or EmbeddingModel.load(settings.model)
        secret = noise_secret(settings.secret, settings.data_dir)
        folder = model_folder(settings.model)
        recall = Recall.read(folder, model.manifest, settings.sigma or model.manifest.sigma)
        shipped = ShippedVectors.read(folder)
        return cls(
            settings, model, store, metrics or Metrics(), secret, progress, shipped, recall, elsewhere, shards
        )  # fmt: skip

    def close(self) -> None:
        """Close gallery and cache, and stop jobs and sampling."""
        self.jobs.close()
        self.smoothed.close()
        self.gallery.close()
        if self.shards is not None:
            self.shards.close()
        self._store.close()

    def snapshot(self, wanted: Filter | None = None, seconds: float | None = None) -> Snapshot:
        """The newest gallery version, or what a filter leaves of it.

        Raises `GalleryFailure`; `Overloaded` if it takes more than `seconds` to read what the filter asks
        for; `InvalidOption` if that takes more memory than filters may.
        """
        return self._asking.snapshot(wanted, seconds)

    def decode(self, content: bytes) -> NDArray[np.float32]:
        """The input tensor (C, H, W) of an image file; raises the image problems of `service.errors`."""
        return self._decoder.picture(content, "query").tensor

    def seen(self, content: bytes) -> tuple[NDArray[np.float32], list[str]]:
        """What the model sees of an image file, and what that loses; counted as no query.

        The input tensor (C, H, W), and a sentence for each loss. Raises what `decode` does.
        """
        return self._decoder.seen(content)

    def contest(
        self,
        snapshot: Snapshot,
        *,
        alpha: float,
        samples: int,
        horizon: int | None,
        rule: Rule = "embedding",
        method: Method = "cdf",
        target: float | None = None,
        guarantee: Guarantee = "label",
        within_k: int = 1,
    ) -> Contest:
        """The contest behind an answer, for experiments that bring samples of their own.

        `samples`: the most that it is shown, whose noise is paid for. `rule` as in the options of a query;
        all else as in `certify.Terms`.
        """
        terms = Terms(
            self.sigma,
            alpha,
            guarantee,
            method,
            horizon=horizon,
            target=target,
            blur=self.smoothed.blur,
            within_k=within_k,
            comparisons=self.settings.max_comparisons,
            noise=self.smoothed.noise_distance(samples),
        )
        return self._answering.contest(snapshot, terms, rule)

    def retrieve(
        self,
        image: NDArray[np.floating] | bytes,
        options: RetrieveOptions | None = None,
        *,
        stop: Stop | None = None,
        on_round: OnRound | None = None,
        reserve: Reserve = unlimited,
        waits: bool = False,
        name: str | None = None,
    ) -> RetrieveResponse:
        """The nearest neighbour of `image` with its certificate.

        `image` is an image file, or the input tensor itself: (C, H, W) in [0, 1], float32 or float64.
        Only of a file there is a `file_radius`.
        `on_round` is told of every round of samples, `reserve` asked before any is drawn. `stop` may be
        cancelled from another thread; its deadline is the caller's (default: that of `options`, from now).
        When there is too much to do, a query is refused, unless it `waits`. The answer may be kept for
        `known` under a `name`, which no query with another image or other options may have.
        Raises `service.errors.Problem`: an image that cannot be read, an option over its limit, a gallery
        that is empty or that nobody named, or too much to do already; `Abandoned` if cancelled.
        """
        options = options or RetrieveOptions()
        return self._asking.retrieve(
            image, options, stop=stop or options.stop(), on_round=on_round, reserve=reserve, waits=waits,
            name=name,
        )  # fmt: skip

    def known(self, name: str) -> KnownAnswer | None:
        """The answer that `retrieve` gave under this `name`, if it would give it now; counted as a query.

        Waits for nothing: None also where it cannot be told at once whether the gallery is as it was. Raises
        `Overloaded` if `retrieve` said to come back later than now, and there is no room yet.
        """
        known = self._asking.known(name)
        if known is None:
            self.backlog.check(name)
        return known

    def attack(
        self,
        image: NDArray[np.floating] | bytes,
        size: float,
        options: RetrieveOptions | None = None,
        *,
        stop: Stop | None = None,
        reserve: Reserve = unlimited,
    ) -> AttackResponse:
        """Try to have another answer to `image` by a change of its input of at most `size` (l2).

        The changed input is answered as every query is. All but `size` is as in `retrieve`, which both are
        asked of. Raises what that does, and `AttacksNotAllowed`.
        """
        options = options or RetrieveOptions()
        return self._asking.attack(image, size, options, stop=stop or options.stop(), reserve=reserve)

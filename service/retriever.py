"""The retriever: from an image to its nearest neighbour and certificate. Knows nothing of HTTP."""

import logging
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Self, get_args

import numpy as np
from numpy.typing import NDArray

from certify import EmbeddingSpace, Guarantee, Method, Rule, Terms, prepare
from index import (
    Copy,
    Filter,
    FilterTooLarge,
    Gallery,
    ItemDamaged,
    ItemGone,
    NotReadYet,
    ShardMissing,
    Shards,
    Snapshot,
    StoreFailure,
    gpu,
)
from models import (
    EmbeddingModel,
    Recall,
    ShippedVectors,
    SmoothedModel,
    Stop,
    calibrated,
    model_folder,
)
from models.sampling.samplers import SamplersElsewhere
from service import traces
from service.cache.answers import AnswerCache
from service.cache.leases import Leases
from service.cache.redis_store import RedisStore
from service.cache.samples import SampleCache
from service.cache.sealed import CacheStore, Event
from service.cache.sqlite_store import embedded_store
from service.decoding import Decoder
from service.errors import (
    AttacksNotAllowed,
    FilterMatchesNothing,
    GalleryEmpty,
    GalleryFailure,
    InvalidOption,
    Overloaded,
)
from service.gallery.check import ItemRules
from service.gallery.intake import Intake
from service.gallery.items import GalleryItems
from service.gallery.job_records import State
from service.gallery.jobs import JobLimits, Jobs
from service.gallery.named import FilterLimits, NamedGalleries
from service.gallery.place import gallery_place
from service.gallery.replica import replica_name
from service.gallery.snapshots import Snapshots
from service.gallery.unpacking import UnpackLimits
from service.gallery.vectors import GalleryVectors
from service.metrics import Metrics
from service.retrieval.answer import RetrieveResponse, about_file
from service.retrieval.answering import Answering, OnRound, Question, Reserve, unlimited
from service.retrieval.attack import AttackResponse, Attacks, attacked, check_attackable
from service.retrieval.contest import Contest
from service.retrieval.options import RetrieveOptions
from service.retrieval.query import Query, checked
from service.retrieval.repeats import Repeats
from service.retrieval.samples import SamplesInUse
from service.secret import noise_secret
from service.settings import Settings, SettingsError
from service.traffic.admission import Admission
from service.traffic.backlog import Backlog
from service.traffic.turns import Turns

log = logging.getLogger("retrievalguard")

# A sample may be off by so much (l2) from h at its noisy input, h being the function of the digest: one set
# of kernels, one processor. There a row may come out otherwise only where it stands elsewhere in its batch,
# and calibration refuses every pass and batch in which it saw one do so, by a bit. This covers what it did
# not see: float32 sums in another order were 3e-6 apart at most in the demo network.
SAMPLE_SLACK = 1e-5

NOT_WHOLE = "a part of the gallery cannot be reached, and nothing is certified without it: try again"
# Versions of the gallery that a query is asked to, if items go while they answer.
ATTEMPTS = 5


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
        self.space = EmbeddingSpace.normalized(
            model.dimension,
            nonnegative=model.nonnegative,
            slack=SAMPLE_SLACK,
            padded=settings.label_weight > 0,
        )
        self._store = store
        threads = settings.threads or len(os.sched_getaffinity(0))

        def count(event: Event) -> None:
            metrics.cache_failures.labels(event).inc()

        cache = SampleCache(
            store, secret, model_digest=self.smoothed.digest, sigma=self.sigma, dimension=model.dimension,
            chunk=self.smoothed.chunk, count=count,
        )  # fmt: skip
        self.backlog = Backlog(
            settings.max_backlog_seconds,
            settings.short_share,
            settings.short_query_seconds,
            self.smoothed.engine.workers,
        )
        self._admission = Admission(settings.max_queries, seconds=self.backlog.until_one_leaves)
        # Counts that replicas share, if they share a store.
        self.shared_count = store.add if isinstance(store, RedisStore) else None
        prepare()
        self._answering = Answering(
            smoothed=self.smoothed,
            space=self.space,
            samples=SamplesInUse(
                cache,
                self.smoothed,
                metrics,
                Leases(store, secret) if isinstance(store, RedisStore) else None,
            ),
            turns=Turns(threads),
            backlog=self.backlog,
            metrics=metrics,
            abstains=settings.shard_missing == "abstain",
        )
        self._attacks = Attacks(self._answering, settings.attack_seconds)
        self._repeats = Repeats(self._answering, AnswerCache(store, secret, count=count))
        self.vectors = GalleryVectors(self.smoothed, settings.gallery_samples, shipped)
        embedding = self.vectors.key
        if model.manifest.preprocessing is not None:
            embedding += f" {model.manifest.preprocessing.model_dump_json()}"
        failed = metrics.gallery_shard_failures.inc
        kept = self._answering.arranged.handed_over
        self.shards = Shards(shards, settings.shard_seconds, failed, kept) if shards else None
        # Shards search where vectors are.
        self.device = None if shards else gpu(settings.gallery_gpu_bytes, metrics.gallery_gpu_failures.inc)
        self.gallery = Gallery(
            gallery_place(settings), embedding, model.dimension, settings.label_weight,
            settings.max_filter_bytes, self.device, self.shards,
        )  # fmt: skip
        self._decoder = Decoder(model.manifest, settings, metrics, self.backlog, threads)
        self.losses = self._decoder.losses
        self.intake = Intake(self.gallery, self.vectors, self._decoder.item)
        rules = ItemRules(settings.max_name_length, settings.max_metadata_bytes)
        self.items = GalleryItems(self.gallery, self.intake, rules, settings.max_changes)
        self.named = NamedGalleries(
            self.gallery.store,
            FilterLimits(settings.max_filter_conditions, settings.max_filter_values),
            settings.max_galleries,
        )
        self.snapshots = Snapshots(
            settings.data_dir / "snapshots", self.gallery, self.intake.beside, settings.max_snapshots,
            replica_name(settings),
        )  # fmt: skip
        unpacked = UnpackLimits(
            settings.max_unpacked_files, settings.max_body_bytes, settings.max_unpacked_bytes
        )
        self.jobs = Jobs(
            settings.data_dir / "jobs",
            settings.jobs_root,
            self.intake,
            rules,
            JobLimits(settings.max_jobs, settings.kept_jobs, unpacked),
            replica_name(settings),
        )
        self.intake.embed_missing(progress)

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
        cannot be used, `models.VariantError` if the network cannot be run as the settings want it.
        """
        settings = settings or Settings.from_environment()
        if settings.gallery_shards != len(shards):
            raise SettingsError(
                f"RETRIEVALGUARD_GALLERY_SHARDS is {settings.gallery_shards}, and {len(shards)} shards were"
                " given: pass them to Retriever.open, as `retrievalguard serve` does, or unset it"
            )
        store: CacheStore
        if settings.redis_url is not None:
            store = RedisStore(
                settings.redis_url.get_secret_value(),
                timeout_ms=settings.redis_timeout_ms,
                ttl_seconds=settings.cache_ttl_seconds,
            )
        else:
            store = embedded_store(
                settings.data_dir / "cache.sqlite3",
                max_bytes=settings.cache_max_bytes,
                ttl_seconds=settings.cache_ttl_seconds,
            )
        model = model or EmbeddingModel.load(settings.model)
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
        try:
            snapshot = self.gallery.snapshot() if wanted is None else self.gallery.filtered(wanted, seconds)
        except NotReadYet as error:
            raise Overloaded(
                "what the filter asks for would not have been read in time: try again later, or with a larger"
                " deadline_ms",
                retry_after=math.ceil(error.seconds),
            ) from error
        except FilterTooLarge as error:
            raise InvalidOption(("filter", str(error))) from error
        except StoreFailure as error:
            log.error("a query failed: %s", error)
            raise GalleryFailure from error
        self.metrics.gallery_size.set(snapshot.of_size)
        self.metrics.gallery_damaged.set(len(self.gallery.damaged))
        self.metrics.gallery_version.set(snapshot.version)
        return snapshot

    def decode(self, content: bytes) -> NDArray[np.float32]:
        """The input tensor (C, H, W) of an image file; raises the image problems of `service.errors`."""
        return self._decoder.picture(content, "query").tensor

    def seen(self, content: bytes) -> tuple[NDArray[np.float32], list[str]]:
        """What the model sees of an image file, and what that loses; counted as no query.

        The input tensor (C, H, W), and a sentence for each loss. Raises what `decode` does.
        """
        return self._decoder.seen(content)

    def check(self) -> dict[str, str]:
        """Run the model and a search, for /readyz; raises what they raise."""
        image = np.zeros(self.model.input_shape, np.float32)
        vector = self.smoothed.sample(image, 0, 1).mean(axis=0, dtype=np.float64)
        snapshot = self.snapshot()
        point = snapshot.lift(vector[None])[0]
        if self.settings.shard_missing == "abstain":  # then it answers also without some of the shards
            snapshot.nearest_reached(point, 1)
        else:
            snapshot.nearest(point, 1)
        damaged = len(self.gallery.damaged)
        left_out = f", {damaged} damaged and left out" if damaged else ""
        away = ", its database is away" if self.gallery.cut_off else ""
        return {"model": self.model.manifest.name, "gallery": f"{len(snapshot)} items{left_out}{away}"}

    def measure(self) -> None:
        """Bring those metrics up to date that are looked up rather than counted."""
        metrics, engine = self.metrics, self.smoothed.engine
        metrics.queued.set(engine.waiting)
        metrics.gallery_cut_off.set(self.gallery.cut_off)
        for lane, seconds in self.backlog.seconds().items():
            metrics.backlog.labels(lane).set(seconds)
        metrics.gallery_gpu_bytes.set(self.device.bytes if self.device else 0)
        jobs = Counter(job.state for job in self.jobs.records.all())
        for state in get_args(State):
            metrics.jobs.labels(state).set(jobs[state])
        with suppress(OSError):  # as long as the disk cannot be asked, what it told last
            metrics.disk_free.set(shutil.disk_usage(self.settings.data_dir).free)

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
    ) -> RetrieveResponse:
        """The nearest neighbour of `image` with its certificate.

        `image` is an image file, or the input tensor itself: (C, H, W) in [0, 1], float32 or float64.
        Only of a file there is a `file_radius`.
        `on_round` is told of every round of samples, `reserve` asked before any is drawn. `stop` may be
        cancelled from another thread; its deadline is the caller's (default: that of `options`, from now).
        When there is too much to do, a query is refused, unless it `waits`.
        Raises `service.errors.Problem`: an image that cannot be read, an option over its limit, a gallery
        that is empty or that nobody named, or too much to do already; `Abandoned` if cancelled.
        """
        started = time.perf_counter()
        options = options or RetrieveOptions()
        stop = stop or options.stop()
        with self._admission.enter(), self.metrics.under_way.track_inprogress():
            pixels = None
            with traces.span("decode"):
                if isinstance(image, bytes):
                    picture = self._decoder.query(image)
                    image, pixels = picture.tensor, picture.pixels
                query = checked(image, options, self.settings, self.smoothed)
            wanted = self.named.within(query.options.gallery, query.filter)
            decoding = time.perf_counter() - started
            for _ in range(ATTEMPTS):
                asked = time.perf_counter()
                snapshot = self.snapshot(wanted, stop.remaining)
                if not snapshot.of_size:
                    raise GalleryEmpty(
                        "the gallery is empty: add images with `retrievalguard gallery add FOLDER`"
                    )
                if not len(snapshot):
                    raise FilterMatchesNothing(
                        f"none of the {snapshot.of_size} items match the filter, or that of the named gallery"
                    )
                filtering = time.perf_counter() - asked
                try:
                    question = Question(
                        query, snapshot, stop, on_round, started, decoding, filtering, reserve, waits
                    )
                    answer = self._repeats.answer(question)
                except ItemGone:  # the answer was deleted before it was told: its samples are still there
                    continue
                except ShardMissing as error:
                    log.error("a query failed: %s", error)
                    raise GalleryFailure(NOT_WHOLE) from error
                except (ItemDamaged, StoreFailure) as error:
                    log.error("a query failed: %s", error)
                    raise GalleryFailure from error
                # Not kept with the answer: files of the same input may have other pixels.
                return answer if pixels is None else about_file(answer, pixels, self.model.input_shape)
            raise GalleryFailure("the gallery changes too fast for an answer: try again")

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
        if not self.settings.attack_seconds:
            raise AttacksNotAllowed("attacks are off here: RETRIEVALGUARD_ATTACK_SECONDS lets them be made")
        options = options or RetrieveOptions()
        stop = stop or options.stop()
        check_attackable(options)
        if isinstance(image, bytes):
            image = self._decoder.query(image).tensor
        query = checked(image, options, self.settings, self.smoothed)
        found = None
        # Two answers contradict each other only if they are of the same gallery.
        snapshot = self._asked(query, stop)
        for _ in range(ATTEMPTS):
            answer = self.retrieve(image, options, stop=stop, reserve=reserve)
            if found is None:
                found = self._attacks.moved(query, snapshot, size, answer.certificate.samples, stop, reserve)
            moved = self.retrieve(found, options, stop=stop, reserve=reserve)
            before, snapshot = snapshot, self._asked(query, stop)
            if snapshot.digest == before.digest:
                break
        else:
            raise GalleryFailure("the gallery changes too fast for an attack: try again")
        outcome = attacked(image, found, answer, moved)
        if outcome.broken:
            log.error(
                "an attack of %s within the radius %s changed the answer: please report it",
                outcome.size, answer.certificate.radius,
            )  # fmt: skip
        return outcome

    def _asked(self, query: Query, stop: Stop) -> Snapshot:
        """The items that `query` is about, as of now. Raises what `snapshot` does."""
        return self.snapshot(self.named.within(query.options.gallery, query.filter), stop.remaining)

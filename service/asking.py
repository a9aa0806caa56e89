"""Asking the gallery as it is now, and again where it changes under the answer. Knows nothing of HTTP."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from index import (
    Filter,
    FilterTooLarge,
    Gallery,
    ItemDamaged,
    NotReadYet,
    ShardMissing,
    Snapshot,
    StoreFailure,
)
from models import Stop
from service import traces
from service.decoding import Decoder
from service.errors import (
    AttacksNotAllowed,
    FilterMatchesNothing,
    GalleryEmpty,
    GalleryFailure,
    InvalidOption,
    Overloaded,
)
from service.gallery.named import NamedGalleries
from service.images import Picture
from service.metrics import Metrics
from service.retrieval.answer import RetrieveResponse, about_file
from service.retrieval.answering import Answering, OnRound, Question, Reserve
from service.retrieval.attack import AttackResponse, Attacks, attacked, check_attackable
from service.retrieval.known import KnownAnswer, KnownAnswers
from service.retrieval.options import RetrieveOptions
from service.retrieval.query import Query, checked
from service.retrieval.repeats import Repeats
from service.settings import Settings
from service.traffic.admission import Admission
from service.versions import ATTEMPTS, newest

log = logging.getLogger("retrievalguard")

NOT_WHOLE = "a part of the gallery cannot be reached, and nothing is certified without it: try again"


class GalleryQueries:
    """Queries to the newest version of `gallery`, worked out by `answering`, each only once (`repeats`).

    Safe to share between threads. `named`: the galleries that a query may name; `decoder`: makes inputs of
    image files; `admission`: how many queries may be under way.
    """

    def __init__(
        self,
        settings: Settings,
        gallery: Gallery,
        named: NamedGalleries,
        decoder: Decoder,
        answering: Answering,
        repeats: Repeats,
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self._settings, self._gallery, self._named, self._decoder = settings, gallery, named, decoder
        self._smoothed, self._repeats = answering.smoothed, repeats
        self._admission, self._metrics = admission, metrics
        self._known = KnownAnswers(settings.known_answers_bytes)
        self._attacks = Attacks(answering, settings.attack_seconds)

    def snapshot(self, wanted: Filter | None = None, seconds: float | None = None) -> Snapshot:
        """As `service.retriever.Retriever.snapshot`."""
        try:
            snapshot = self._gallery.snapshot() if wanted is None else self._gallery.filtered(wanted, seconds)
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
        self._metrics.gallery_size.set(snapshot.of_size)
        self._metrics.gallery_damaged.set(len(self._gallery.damaged))
        self._metrics.gallery_version.set(snapshot.version)
        return snapshot

    def retrieve(
        self,
        image: NDArray[np.floating] | bytes,
        options: RetrieveOptions,
        *,
        stop: Stop,
        on_round: OnRound | None,
        reserve: Reserve,
        waits: bool,
        name: str | None = None,
    ) -> RetrieveResponse:
        """As `service.retriever.Retriever.retrieve`."""
        started = time.perf_counter()
        with self._admission.enter(), self._metrics.under_way.track_inprogress():
            picture = None
            with traces.span("decode"):
                if isinstance(image, bytes):
                    picture = self._decoder.query(image, name)
                    image = picture.tensor
                query = checked(image, options, self._settings, self._smoothed)
            wanted = self._named.within(query.options.gallery, query.filter)
            decoding = time.perf_counter() - started

            def ask() -> tuple[RetrieveResponse, Snapshot]:
                asked = time.perf_counter()
                snapshot = self._searched(wanted, stop)
                filtering = time.perf_counter() - asked
                question = Question(
                    query, snapshot, stop, on_round, started, decoding, filtering, reserve, waits, name
                )
                return self._repeats.answer(question), snapshot

            try:  # asked again, the samples are still there
                answer, snapshot = newest(ask, "for an answer")
            except ShardMissing as error:
                log.error("a query failed: %s", error)
                raise GalleryFailure(NOT_WHOLE) from error
            except (ItemDamaged, StoreFailure) as error:
                log.error("a query failed: %s", error)
                raise GalleryFailure from error
            if picture is not None:
                # Not kept with the answer: files of the same input may have other pixels.
                answer = about_file(answer, picture.pixels, self._smoothed.model.input_shape)
            # What a filter or a name stands for may change, and a deadline may have cut it short.
            if name is not None and wanted is None and stop.remaining is None and answer.complete:
                self._known.keep(name, answer, snapshot, self._counting(picture))
            return answer

    def _searched(self, wanted: Filter | None, stop: Stop) -> Snapshot:
        """As `snapshot`, with items in it. Raises `GalleryEmpty`, and `FilterMatchesNothing`."""
        snapshot = self.snapshot(wanted, stop.remaining)
        if not snapshot.of_size:
            raise GalleryEmpty("the gallery is empty: add images with `retrievalguard gallery add FOLDER`")
        if not len(snapshot):
            raise FilterMatchesNothing("none of the items match the filter, or that of the named gallery")
        return snapshot

    def known(self, name: str) -> KnownAnswer | None:
        """As `service.retriever.Retriever.known`."""
        return self._known.get(name, self._gallery.snapshot_at_once)

    def _counting(self, picture: Picture | None) -> Callable[[], None]:
        """What counts a query that is known, of an image file or none, as what it is."""
        hits = self._metrics.cache.labels("hit")
        if picture is None:
            return hits.inc
        counted = partial(self._decoder.count, replace(picture, tensor=np.empty(0, np.float32)), "query")

        def count() -> None:
            hits.inc()
            counted()

        return count

    def attack(
        self,
        image: NDArray[np.floating] | bytes,
        size: float,
        options: RetrieveOptions,
        *,
        stop: Stop,
        reserve: Reserve,
    ) -> AttackResponse:
        """As `service.retriever.Retriever.attack`."""
        if not self._settings.attack_seconds:
            raise AttacksNotAllowed("attacks are off here: RETRIEVALGUARD_ATTACK_SECONDS lets them be made")
        check_attackable(options)
        if isinstance(image, bytes):
            image = self._decoder.query(image).tensor
        query = checked(image, options, self._settings, self._smoothed)
        found = None
        # Two answers contradict each other only if they are of the same gallery.
        snapshot = self._asked(query, stop)
        for _ in range(ATTEMPTS):
            answer = self.retrieve(image, options, stop=stop, on_round=None, reserve=reserve, waits=False)
            if found is None:
                found = self._attacks.moved(query, snapshot, size, answer.certificate.samples, stop, reserve)
            moved = self.retrieve(found, options, stop=stop, on_round=None, reserve=reserve, waits=False)
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
        return self.snapshot(self._named.within(query.options.gallery, query.filter), stop.remaining)

"""From sources to stored items: decode, embed, add. The one way into the gallery."""

import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from index import (
    Gallery,
    GalleryStore,
    Item,
    ItemDamaged,
    ItemMissing,
    NewItem,
    first_with_image,
    image_checksum,
)
from service.errors import ModelFailure, Problem
from service.gallery.check import shown
from service.gallery.findings import Findings, Refusal, Source
from service.gallery.vectors import GalleryVectors
from service.images import media_type

log = logging.getLogger("retrievalguard")

# Items in one transaction: a crash loses at most these, and a progress bar moves. A gallery that another
# model has embedded is embedded in so many lots at most, each at least as large.
BATCH, LOTS = 64, 64

Progress = Callable[[Iterable[Source]], Iterable[Source]]
Change = Literal["added", "replaced", "unchanged"]

Thing = TypeVar("Thing")
Result = TypeVar("Result")


@dataclass(frozen=True)
class AddReport:
    """What became of every entry of a source, and what was `deleted` because the source no longer has it."""

    added: int
    replaced: int
    unchanged: int
    refused: tuple[Refusal, ...]
    skipped: Mapping[str, int]
    deleted: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """Entries of the source: the sum of all counts but `deleted`."""
        there = self.added + self.replaced + self.unchanged
        return there + len(self.refused) + sum(self.skipped.values())

    def __str__(self) -> str:
        parts = [f"{self.added} added", f"{self.replaced} replaced", f"{self.unchanged} unchanged"]
        parts += [f"{len(self.refused)} refused"]
        parts += [f"{count} skipped ({reason})" for reason, count in sorted(self.skipped.items())]
        end = f"; {self.deleted} deleted" if self.deleted else ""
        return f"{self.found} found: {', '.join(parts)}{end}"


class Intake:
    """Embeds images for one gallery, by `vectors`. `decode`: an image file to the input tensor (C, H, W)."""

    def __init__(
        self,
        gallery: Gallery,
        vectors: GalleryVectors,
        decode: Callable[[bytes], NDArray[np.float32]],
    ) -> None:
        self._gallery, self._vectors, self._decode = gallery, vectors, decode

    def beside(self, path: Path) -> tuple[Gallery, "Intake"]:
        """The gallery in another file, and what embeds for it by the same model."""
        gallery = self._gallery.beside(path)
        return gallery, Intake(gallery, self._vectors, self._decode)

    def prepare(self, item: Item, content: bytes) -> NewItem:
        """Decode and embed an image file for the gallery.

        Raises the image problems of `service.errors`, or `ModelFailure`.
        """
        vector = self._vectors.of(self._decode(content))
        if not np.isfinite(vector).all():
            raise ModelFailure("the model returned an embedding that is not finite for this image")
        return NewItem(item, content, media_type(content), vector)

    def prepare_all(self, images: Sequence[tuple[Item, bytes]]) -> list[NewItem | Problem]:
        """The same for many, several at a time; in the place of one that cannot be, what it raises."""
        if not images:
            return []
        with ThreadPoolExecutor(min(len(images), self._vectors.at_a_time)) as pool:
            return list(pool.map(self._prepared, images))

    def _prepared(self, image: tuple[Item, bytes]) -> NewItem | Problem:
        try:
            return self.prepare(*image)
        except Problem as problem:
            return problem

    def add(
        self,
        findings: Findings,
        *,
        replace: bool = False,
        prune: bool = False,
        prefix: str = "",
        batch: int = BATCH,
        progress: Progress = lambda sources: sources,
        stored: Callable[[AddReport], None] = lambda so_far: None,
    ) -> AddReport:
        """Store what is new, `batch` items a transaction, and tell what became of every entry.

        replace  also what is there under the same id with another image, label or metadata; else refused
        prune    then delete items that the source does not have, those whose id begins with `prefix`; not if
                 anything was refused: what cannot be read is not gone
        stored   is told after each transaction what became of the entries so far
        """
        counts: dict[Change, int] = {"added": 0, "replaced": 0, "unchanged": 0}
        refused, prepared, pairs = list(findings.refused), list[NewItem](), list[str]()
        twins = Twins(self._gallery.store)

        def read(source: Source) -> tuple[bytes, Change, NewItem | None]:
            content = source.read()
            change = self._change(source.item, content)
            wanted = change == "added" or (change == "replaced" and replace)
            return content, change, self.prepare(source.item, content) if wanted else None

        for source, future in _several(read, progress(findings.sources), self._vectors.at_a_time):
            try:
                content, change, new = future.result()
            except (OSError, Problem) as error:
                refused.append(Refusal(source.place, _reason(error)))
                continue
            if change == "replaced" and not replace:
                refused.append(Refusal(source.place, _there_already(source.item.id)))
                continue
            if new is not None:
                prepared.append(new)
            pair = twins.see(source.item, content)
            if pair is not None:
                pairs.append(pair)
            counts[change] += 1
            if len(prepared) == batch:
                self._gallery.add(prepared)
                prepared = []
                stored(_so_far(counts, refused, findings))
        if prepared:
            self._gallery.add(prepared)
        warnings = [*findings.warnings, *twins_warning(pairs)]
        if prune and refused:
            warnings.append("nothing was deleted, as entries were refused: what cannot be read is not gone")
        return AddReport(
            **counts,
            refused=tuple(refused),
            skipped=findings.skipped,
            deleted=self._prune(findings, prefix) if prune and not refused else 0,
            warnings=tuple(warnings),
        )

    def embed_missing(self, progress: Callable[[Iterable[str]], Iterable[str]]) -> None:
        """Give items that this model has not embedded yet their vectors; `progress` wraps their ids.

        In an order of its own, and stored in lots: replicas that start together share the work, and one that
        starts again goes on where it was. Items whose image is damaged, or is not read any more, stay out of
        every answer, and the log says so.
        """
        missing, vectors = self._gallery.missing(), dict[str, NDArray[np.float32]]()
        images = dict[str, bytes]()  # an item may get another image meanwhile, by another process
        lot, still = max(BATCH, len(missing) // LOTS), set(missing)
        random.shuffle(missing)

        def embedded(id_: str) -> tuple[NDArray[np.float32], bytes] | None:
            if id_ not in still:  # another replica was faster
                return None
            content, kind = self._gallery.store.image(id_)
            return self._vectors.of(self._decode(content)), image_checksum(kind.encode(), content)

        for id_, future in _several(embedded, progress(missing) if missing else (), self._vectors.at_a_time):
            try:
                found = future.result()
            except ItemMissing:
                continue  # deleted meanwhile
            except (ItemDamaged, Problem) as error:
                log.error("item %r is left out of every answer: %s", id_, error)
                continue
            if found is not None:
                vectors[id_], images[id_] = found
            if len(vectors) == lot:
                self._gallery.set_vectors(vectors, images)
                vectors, images = {}, {}
                still = set(self._gallery.missing())
        if vectors:
            self._gallery.set_vectors(vectors, images)

    def _change(self, item: Item, content: bytes) -> Change:
        """What storing this item with this image would be."""
        store = self._gallery.store
        try:
            same = store.item(item.id) == item and store.image(item.id)[0] == content
        except ItemMissing:
            return "added"
        except ItemDamaged:
            same = False
        return "unchanged" if same else "replaced"

    def _prune(self, findings: Findings, prefix: str) -> int:
        kept = {source.item.id for source in findings.sources}
        store = self._gallery.store
        gone = [id_ for id_ in store.ids() if id_.startswith(prefix) and id_ not in kept]
        if gone:
            store.delete(gone)
        return len(gone)


def _so_far(counts: Mapping[Change, int], refused: Sequence[Refusal], findings: Findings) -> AddReport:
    return AddReport(
        counts["added"], counts["replaced"], counts["unchanged"], tuple(refused), findings.skipped
    )


class Twins:
    """Notices equal images under different labels: one of them is wrong, and would be certified.

    It knows the images of the gallery, and those that it has seen.
    """

    def __init__(self, store: GalleryStore) -> None:
        self._store = store
        self._first = dict[bytes, tuple[str, str]]()

    def see(self, item: Item, content: bytes) -> str | None:
        """An item that is added, or there already, and its image file: it and its twin, if it has one."""
        image = image_checksum(media_type(content).encode(), content)
        if image not in self._first:
            other = first_with_image(self._store, image, but=item.id)
            self._first[image] = other or (item.id, item.label)
        id_, label = self._first[image]
        if id_ == item.id:  # the first, or in its place
            self._first[image] = (item.id, item.label)
        elif label != item.label:
            return f"{shown(id_)} ({shown(label)}) and {shown(item.id)} ({shown(item.label)})"
        return None


def twins_warning(found: Sequence[str]) -> tuple[str, ...]:
    """What tells of such twins, on one line; nothing if there are none."""
    if not found:
        return ()
    more = f", and {len(found) - 5} more" if len(found) > 5 else ""
    return (f"equal images have different labels: {'; '.join(found[:5])}{more}",)


def _there_already(id_: str) -> str:
    return f"{shown(id_)} is there already, with another image, label or metadata: --replace replaces it"


def _reason(error: OSError | Problem) -> str:
    return str(error) if isinstance(error, Problem) else f"cannot be read: {error.strerror or error}"


def _several(
    work: Callable[[Thing], Result], things: Iterable[Thing], at_a_time: int
) -> Iterator[tuple[Thing, Future[Result]]]:
    """Each of `things` with what `work` makes of it, in order; so many at a time, on threads."""
    with ThreadPoolExecutor(at_a_time, thread_name_prefix="intake") as pool:
        under_way = deque[tuple[Thing, Future[Result]]]()
        for thing in things:
            under_way.append((thing, pool.submit(work, thing)))
            if len(under_way) > at_a_time:
                yield under_way.popleft()
        yield from under_way

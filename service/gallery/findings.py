"""What a source holds: items to add, entries that are refused or skipped, and what looks like a mistake."""

import errno
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from index import Item
from service.gallery.check import ItemRefused, ItemRules, same_label, shown

# Id, label, metadata and path of the image, as a source has them.
Entry = tuple[str, str, dict[str, object], Path]


class ImportFailure(Exception):
    """A source that cannot be read; the message names the file, the line and the mend."""


class Stopped(Exception):
    """The work was cancelled, or the server ends: nobody waits for the rest."""


@dataclass(frozen=True)
class Source:
    """An item to add, where it was found, and where its image comes from: a file, or bytes at hand."""

    item: Item
    path: Path | None = None
    content: bytes = b""
    place: str = ""

    def read(self) -> bytes:
        """The image file's bytes; `OSError` if the file cannot be read."""
        if self.path is None:
            return self.content
        check_plain(self.path)
        return self.path.read_bytes()


def check_plain(path: Path) -> None:
    """Raises `OSError` for what is no plain file: opening a pipe waits for somebody to write to it."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no plain file")


@dataclass(frozen=True)
class Refusal:
    """An entry that is not added: where it is, and why, with the mend."""

    place: str
    reason: str


@dataclass(frozen=True)
class Findings:
    """All that a source holds. `skipped`: how many entries were passed over, by reason."""

    sources: tuple[Source, ...] = ()
    refused: tuple[Refusal, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Entries found: every one of them is a source, refused or skipped."""
        return len(self.sources) + len(self.refused) + sum(self.skipped.values())


@dataclass(frozen=True)
class Bounds:
    """What may be looked at of a source that somebody else named.

    inside    nothing outside of this folder, which has no links in its path, be it by name or by a link
    entries   the most there may be
    stopped   is asked at each entry whether to give up
    """

    inside: Path | None = None
    entries: int | None = None
    stopped: Callable[[], bool] = lambda: False

    def allow(self, path: Path) -> bool:
        """Whether `path` is where it may be."""
        try:
            return self.inside is None or path.resolve().is_relative_to(self.inside)
        except (OSError, RuntimeError):  # links in a circle
            return False


NO_BOUNDS = Bounds()


class Collector:
    """Findings in the making: readers tell it of every entry, so that none is passed over in silence.

    Being told raises `ImportFailure` or `Stopped`, as `bounds` want it.
    """

    def __init__(self, rules: ItemRules, prefix: str = "", bounds: Bounds = NO_BOUNDS) -> None:
        self._rules, self._prefix, self.bounds = rules, prefix, bounds
        self._seen = 0
        self._sources: list[Source] = []
        self._refused: list[Refusal] = []
        self._skipped: Counter[str] = Counter()

    def add(self, place: str, make: Callable[[], Entry]) -> None:
        """An item from what `make` returns: id, label, metadata and path. It may raise `ItemRefused`."""
        try:
            id_, label, metadata, path = make()
            item = self._rules.item(self._prefix + id_, label, metadata)
            if not self.bounds.allow(path):
                raise ItemRefused("names a file outside of what was sent")
        except ItemRefused as error:
            self.refuse(place, str(error))
        else:
            self._count()
            self._sources.append(Source(item, path, place=place))

    def give(self, item: Item, content: bytes) -> None:
        """An item of a data set, whose image is at hand."""
        self._sources.append(Source(replace(item, id=self._prefix + item.id), content=content, place=item.id))

    def refuse(self, place: str, reason: str) -> None:
        """An entry that cannot be added."""
        self._count()
        self._refused.append(Refusal(place.encode(errors="backslashreplace").decode(), reason))

    def skip(self, reason: str) -> None:
        """An entry that is not meant to be added."""
        self._count()
        self._skipped[reason] += 1

    def _count(self) -> None:
        self._seen += 1
        if self.bounds.entries is not None and self._seen > self.bounds.entries:
            raise ImportFailure(f"there are more than {self.bounds.entries} entries: send them in parts")
        if self.bounds.stopped():
            raise Stopped

    def findings(self) -> Findings:
        """All of it; raises `ImportFailure` on ids that are claimed by different entries."""
        sources = self._without_repetitions()
        return Findings(
            tuple(sources), tuple(self._refused), dict(self._skipped), tuple(_look_alikes(sources))
        )

    def _without_repetitions(self) -> list[Source]:
        """Entries that say the same twice are one; those that contradict each other are told, all at once."""
        first: dict[str, Source] = {}
        conflicts = []
        for source in self._sources:
            known = first.setdefault(source.item.id, source)
            if known is source:
                continue
            if (known.item, known.path) == (source.item, source.path):
                self._skipped["said twice"] += 1
            else:
                conflicts.append(f"{shown(source.item.id)}: {known.place}, and {source.place}")
        if conflicts:
            more = f", and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
            raise ImportFailure(
                f"{len(conflicts)} ids stand for different items; nothing was added. Give each an id of its"
                f" own (column `id`, or --prefix for one of two folders): {'; '.join(conflicts[:5])}{more}"
            )
        return list(first.values())


def _look_alikes(sources: Iterable[Source]) -> list[str]:
    """Labels that a person would take for one."""
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for source in sources:
        spellings[same_label(source.item.label)].add(source.item.label)
    return [
        "labels that differ only by case, spaces or Unicode form count as different: "
        + ", ".join(map(shown, sorted(found)))
        for found in spellings.values()
        if len(found) > 1
    ]

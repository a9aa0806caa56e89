"""What a source holds: items to add, entries that are refused or skipped, and what looks like a mistake."""

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
        return self.content if self.path is None else self.path.read_bytes()


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


class Collector:
    """Findings in the making: readers tell it of every entry, so that none is passed over in silence."""

    def __init__(self, rules: ItemRules, prefix: str = "") -> None:
        self._rules, self._prefix = rules, prefix
        self._sources: list[Source] = []
        self._refused: list[Refusal] = []
        self._skipped: Counter[str] = Counter()

    def add(self, place: str, make: Callable[[], Entry]) -> None:
        """An item from what `make` returns: id, label, metadata and path. It may raise `ItemRefused`."""
        try:
            id_, label, metadata, path = make()
            item = self._rules.item(self._prefix + id_, label, metadata)
        except ItemRefused as error:
            self.refuse(place, str(error))
        else:
            self._sources.append(Source(item, path, place=place))

    def give(self, item: Item, content: bytes) -> None:
        """An item of a data set, whose image is at hand."""
        self._sources.append(Source(replace(item, id=self._prefix + item.id), content=content, place=item.id))

    def refuse(self, place: str, reason: str) -> None:
        """An entry that cannot be added."""
        self._refused.append(Refusal(place.encode(errors="backslashreplace").decode(), reason))

    def skip(self, reason: str) -> None:
        """An entry that is not meant to be added."""
        self._skipped[reason] += 1

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
                self.skip("said twice")
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

"""Answers to requests that came before, kept in this process: what is left to do is to look at the gallery.

A request is known by a name that holds all that decides its answer but the gallery, and an answer is told
again only while the newest snapshot is the one that gave it. All else is fixed for a process: model, settings
and code. Nothing in here was ever outside of the process, so there is nothing that others could forge.
"""

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from index import Recent, Snapshot
from service.retrieval.answer import RetrieveResponse, Timing, milliseconds, timing

# The times of an answer that needed no work, up to the total, which comes last.
_NO_WORK = timing(dict.fromkeys(Timing.model_fields, 0.0)).model_dump_json().removesuffix("0.0}")


@dataclass(frozen=True)
class KnownAnswer:
    """The JSON of an answer, `before` and `after` its time; and what of it logs and metrics tell."""

    before: bytes
    after: bytes
    certified: bool
    samples: int
    version: int

    @classmethod
    def of(cls, answer: RetrieveResponse) -> Self:
        """What is told of `answer` whenever it is asked for again."""
        told = answer.model_copy(update={"cache": "hit"})
        before = told.model_dump_json(exclude={"timing_ms", "explanation"}).removesuffix("}")
        after = "null" if told.explanation is None else told.explanation.model_dump_json()
        return cls(
            f'{before},"timing_ms":{_NO_WORK}'.encode(),
            f'}},"explanation":{after}}}'.encode(),
            answer.certificate.status == "certified",
            answer.certificate.samples,
            answer.gallery.version,
        )

    def json(self, seconds: float) -> bytes:
        """As `RetrieveResponse.model_dump_json`, of an answer that took so many seconds."""
        return b"%b%a%b" % (self.before, milliseconds(seconds), self.after)


@dataclass(frozen=True)
class _Kept:
    answer: KnownAnswer
    snapshot: "weakref.ref[Snapshot]"
    told: Callable[[], None]


class KnownAnswers:
    """The answers that were asked for last, up to `most_bytes` of them. Threads may share it."""

    def __init__(self, most_bytes: int) -> None:
        self._lock = threading.Lock()
        self._kept = Recent[_Kept](most_bytes)

    def get(self, name: str, newest: Callable[[], Snapshot | None]) -> KnownAnswer | None:
        """The answer to the request of this `name`, if the `newest` snapshot is the one that gave it."""
        with self._lock:
            kept = self._kept.get(name)
        # Held here, so that it is no other one at the address of one that is gone.
        snapshot = None if kept is None else kept.snapshot()
        if kept is None or snapshot is None or newest() is not snapshot:
            return None
        kept.told()
        return kept.answer

    def keep(self, name: str, answer: RetrieveResponse, snapshot: Snapshot, told: Callable[[], None]) -> None:
        """Keep the `answer` that `snapshot` gave; `told` is called whenever it is told again."""
        known = KnownAnswer.of(answer)
        with self._lock:
            kept = _Kept(known, weakref.ref(snapshot), told)
            self._kept.put(name, kept, len(known.before) + len(known.after))

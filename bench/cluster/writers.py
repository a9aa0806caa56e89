"""Clients that change the gallery while all around them is killed, and know what has to be there."""

import random
import threading
from dataclasses import dataclass, field

import httpx

from bench.cluster.asking import ANSWER_SECONDS
from bench.item_changes import Known, next_state, send

# Items that each changes, and seconds between two changes, at most.
ITEMS, PAUSE_SECONDS = 60, 1.5


@dataclass
class ChangingClient:
    """Changes items that are its own: `known` is what was acknowledged, `unknown` what else may be there.

    counts   of changes, by the status that was answered; without an answer: by the name of the error
    wrong    what was not as it had to be, in words
    """

    name: str
    images: list[bytes]
    known: dict[str, Known] = field(default_factory=dict)
    unknown: dict[str, Known] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    version: int = 0

    def work(self, url: str, ended: threading.Event, chance: random.Random) -> None:
        """Change items, one after the other, until it has `ended`."""
        with httpx.Client(base_url=url, timeout=ANSWER_SECONDS) as client:
            while not ended.wait(chance.uniform(0, PAUSE_SECONDS)):
                id_ = f"{self.name}/{chance.randrange(ITEMS)}"
                if id_ not in self.unknown:
                    wanted = next_state(self.known.get(id_), len(self.images), chance)
                    self.change(client, id_, wanted)

    def change(self, client: httpx.Client, id_: str, wanted: Known) -> bool:
        """Have an item be as `wanted`; whether it was acknowledged."""
        there = self.known.setdefault(id_, None)  # looked for at the end, also if this is refused
        try:
            answer = send(client, id_, there, wanted, self.images)
        except httpx.HTTPError as error:
            self._count(type(error).__name__)
            self.unknown[id_] = wanted
            return False
        self._count(str(answer.status_code))
        if answer.is_success:
            self.known[id_] = wanted
            version = int(answer.json()["version"])
            if version <= self.version:
                self.wrong.append(f"version {version} came after {self.version}")
            self.version = max(self.version, version)
        elif answer.status_code == 502 or "not known whether" in answer.text:
            self.unknown[id_] = wanted
        elif answer.status_code != 503 or "retry-after" not in answer.headers:
            self.wrong.append(f"{id_}: {answer.status_code} {answer.text[:200]}")
            self.unknown[id_] = wanted
        return answer.is_success

    def check(self, client: httpx.Client) -> None:
        """Adds to `wrong` what is not there as it was acknowledged, or is there as half of something."""
        for id_ in sorted(self.known.keys() | self.unknown.keys()):
            found = client.get(f"/gallery/items/{id_}")
            allowed = [self.known.get(id_)]
            if id_ in self.unknown:
                allowed.append(self.unknown[id_])
            if not any(self._is(client, found, id_, each) for each in allowed):
                self.wrong.append(f"{id_}: {found.status_code} {found.text[:200]}, and not {allowed}")

    def _is(self, client: httpx.Client, found: httpx.Response, id_: str, known: Known) -> bool:
        if known is None or found.status_code != 200:
            return known is None and found.status_code == 404
        label, image = known
        content = client.get(f"/gallery/images/{id_}").content
        return bool(found.json()["label"] == label) and content == self.images[image]

    def _count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

"""Random histories of changes: numpy, a gallery in this process and a server have the same answers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from numpy.typing import NDArray

from index import Item
from index.blending import blend
from models.noise import on_grid
from service.errors import FilterMatchesNothing, GalleryEmpty, ItemNotFound
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings
from tests.index.filtering import matches
from tests.service.processes import Server, emptied, opened
from tests.service.queries import Json, claims, digit, tensor

IDS = st.sampled_from([f"item-{number}" for number in range(8)])
LABELS = st.sampled_from(["3", "7", "é"])
# Few pictures, so that there are twins: ties of distance, and equal items of different labels.
PICTURES = st.integers(20, 25)
FILTERS: list[Json | None] = [
    None, {"label": {"$ne": "3"}}, {"metadata.n": {"$lt": 2}}, {"id": {"$prefix": "item-1"}}, {"label": "7"},
]  # fmt: skip
HISTORIES, STEPS = 6, 12


@dataclass
class Sides:
    """The server, the gallery in this process, and the vectors of pictures for numpy."""

    server: Server
    retriever: Retriever
    vectors: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    def vector(self, picture: int) -> NDArray[np.float32]:
        if picture not in self.vectors:
            self.vectors[picture] = self.retriever.vectors.of(self.retriever.decode(digit(picture)))
        return self.vectors[picture]


@pytest.fixture(scope="module")
def sides(
    demo_settings: Settings, own_gallery_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sides]:
    """Both without items, with one secret and one way to run the network."""
    with opened(demo_settings, data_dir=tmp_path_factory.mktemp("histories")) as retriever:
        yield Sides(emptied(own_gallery_server), retriever)


class Histories(RuleBasedStateMachine):
    """The same changes to both, beside a dictionary of what they have to hold, in the order of addition."""

    sides: Sides

    @initialize()
    def begin(self) -> None:
        self.http, self.here = self.sides.server.client, self.sides.retriever
        self.held = dict[str, tuple[str, int, int]]()
        for label in ("3", "7", "é"):
            assert self.http.delete("/gallery/items", params={"label": label}).status_code == 200
            self.here.items.delete_where(label, None)
        self.ahead = self.http.get("/gallery").json()["version"] - self.here.snapshot().version

    @rule(id_=IDS, label=LABELS, picture=PICTURES, number=st.integers(0, 2))
    def put(self, id_: str, label: str, picture: int, number: int) -> None:
        options = {"label": label, "metadata": f'{{"n": {number}}}'}
        told = self.http.put(f"/gallery/items/{id_}", params=options, content=digit(picture))
        done = self.here.items.put(id_, label, {"n": number}, digit(picture))
        assert told.headers["etag"] == f'"{done.tag}"'
        assert told.json()["outcome"] == done.outcome
        assert told.json()["version"] == done.version + self.ahead
        if self.held.get(id_) != (label, picture, number):
            self.held.pop(id_, None)
            self.held[id_] = (label, picture, number)

    @rule(id_=IDS, label=LABELS)
    def relabel(self, id_: str, label: str) -> None:
        told = self.http.patch(f"/gallery/items/{id_}", json={"label": label})
        if id_ not in self.held:
            assert told.status_code == 404
            with pytest.raises(ItemNotFound):
                self.here.items.revise(id_, label=label)
            return
        assert told.json()["version"] == self.here.items.revise(id_, label=label).version + self.ahead
        if self.held[id_][0] != label:
            _, picture, number = self.held.pop(id_)
            self.held[id_] = (label, picture, number)

    @rule(id_=IDS)
    def delete(self, id_: str) -> None:
        told = self.http.delete(f"/gallery/items/{id_}")
        assert told.status_code == (200 if id_ in self.held else 404)
        if id_ in self.held:
            assert told.json()["version"] == self.here.items.delete(id_) + self.ahead
            del self.held[id_]

    @rule(row=st.integers(0, 1), document=st.sampled_from(FILTERS), top_k=st.integers(1, 4))
    def ask(self, row: int, document: Json | None, top_k: int) -> None:
        options: dict[str, Any] = {"top_k": top_k, "explain": True, "filter": document}
        told = self.http.post("/retrieve", json={"pixels": tensor(row).astype(float).tolist(), **options})
        try:
            found = self.here.retrieve(tensor(row), RetrieveOptions(**options))
        except GalleryEmpty:
            assert (told.status_code, bool(self.held)) == (409, False)
            return
        except FilterMatchesNothing:
            assert told.status_code == 409
            assert not self.wanted(document)
            return
        body = told.json()
        here = claims(found.model_dump(mode="json"))
        here["gallery"]["version"] += self.ahead
        assert claims(body) == here
        self.check_brute_force(row, document, body, found.certificate.samples)

    def wanted(self, document: Json | None) -> list[str]:
        return [
            id_
            for id_, (label, _, number) in self.held.items()
            if matches(Item(id_, label, {"n": number}), document or {})
        ]

    def check_brute_force(self, row: int, document: Json | None, body: Json, samples: int) -> None:
        """Against numpy and the dictionary, without a line of the index but the formula of blending."""
        plain = np.stack([self.sides.vector(picture) for _, picture, _ in self.held.values()])
        names = [label for label, _, _ in self.held.values()]
        labels = np.array([sorted(set(names)).index(name) for name in names])
        exact = dict(zip(self.held, blend(plain, labels, self.here.settings.label_weight), strict=True))
        drawn = self.here.smoothed.first(on_grid(tensor(row), self.here.sigma), samples)
        mean = self.here.snapshot().lift(drawn).mean(axis=0)
        distance = {id_: float(np.linalg.norm(exact[id_] - mean)) for id_ in self.wanted(document)}
        listed = [body["neighbor"], *body["neighbors"]]
        assert [item["distance"] for item in listed] == pytest.approx(
            sorted(distance.values())[: len(listed)], abs=2e-6
        )
        for item in listed:
            assert item["distance"] == pytest.approx(distance[item["id"]], abs=2e-6)
            label, _, number = self.held[item["id"]]
            assert (item["label"], item["metadata"]) == (label, {"n": number})
        assert (body["gallery"]["size"], body["gallery"]["matching"]) == (
            len(self.held), None if document is None else len(distance),
        )  # fmt: skip
        winner, certificate = listed[0]["label"], body["certificate"]
        rivals = {id_ for id_ in distance if self.held[id_][0] != winner}
        if rivals:
            assert body["explanation"]["rival"]["id"] in rivals
            assert certificate["label_radius"] < 8.0
        else:  # nothing can change the label: the diameter of the input space
            assert certificate["label_radius"] == 8.0
        if len(distance) == 1:
            assert certificate["item_radius"] == 8.0


def test_numpy_a_gallery_in_this_process_and_a_server_agree_through_any_history(sides: Sides) -> None:
    machine = type("Machine", (Histories,), {"sides": sides})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=HISTORIES, stateful_step_count=STEPS, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip

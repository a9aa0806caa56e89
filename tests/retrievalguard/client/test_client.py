"""The client against a real server: what it sends, what it makes of answers, and of refusals."""

import asyncio
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from retrievalguard import client as door
from retrievalguard.client import (
    Answer,
    AnswerRound,
    AsyncClient,
    BadInput,
    Client,
    MissingItem,
    NoConnection,
    NotNow,
    Options,
    ServiceProblem,
)
from service import errors
from tests.service.processes import Server, run_cli, wait_for
from tests.service.queries import Json, answer, claims, digit, noisy_digit, picture, tensor


@pytest.fixture(scope="module")
def client(demo_server: Server) -> Iterator[Client]:
    with Client(demo_server.url) as client:
        yield client


# --- shapes

SHAPES = {
    "RetrieveResponse": door.Answer,
    "AttackResponse": door.AnswerAttack,
    "Neighbor": door.AnswerItem,
    "WithinBody": door.AnswerWithin,
    "FileStepsBody": door.AnswerFileSteps,
    "CertificateBody": door.AnswerCertificate,
    "ModelRef": door.AnswerModel,
    "GalleryRef": door.AnswerGallery,
    "Timing": door.AnswerTiming,
    "ExplanationBody": door.AnswerExplanation,
    "RoundBody": door.AnswerRound,
    "RoundNeighbor": door.RoundItem,
    "GalleryBody": door.GallerySummary,
    "ItemBody": door.GalleryItem,
    "ItemsBody": door.ItemPage,
    "Job": door.GalleryJob,
    "RefusedEntry": door.RefusedFile,
    "ChangeBody": door.ItemChange,
}
PLAIN = {"string": str, "integer": int, "number": float, "boolean": bool}


def matches(hint: Any, schema: Json) -> bool:
    """Whether values of a JSON `schema` are of the type `hint`."""
    if "anyOf" in schema:
        some = [one for one in schema["anyOf"] if one.get("type") != "null"]
        nullable = len(some) < len(schema["anyOf"])
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        return isinstance(hint, UnionType) == nullable and all(
            any(matches(kind, one) for kind in kinds) for one in some
        )
    if "$ref" in schema:
        return hint is SHAPES[schema["$ref"].rpartition("/")[2]]
    if schema["type"] == "array":
        items = [schema["items"]] if "items" in schema else schema["prefixItems"]
        return get_origin(hint) is list and all(matches(get_args(hint)[0], one) for one in items)
    if schema["type"] == "object":
        value = schema.get("additionalProperties", True)
        return get_origin(hint) is dict and (value is True or matches(get_args(hint)[1], value))
    return hint is PLAIN[schema["type"]]


@pytest.fixture(scope="module")
def document(demo_server: Server) -> Json:
    found: Json = demo_server.client.get("/openapi.json").json()
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_its_shapes_are_those_of_openapi(document: Json, name: str) -> None:
    schema, hints = document["components"]["schemas"][name], get_type_hints(SHAPES[name])
    assert hints.keys() == schema["properties"].keys()
    for field, described in schema["properties"].items():
        assert matches(hints[field], described), field


def test_its_options_are_those_of_openapi(document: Json) -> None:
    references = document["paths"]["/retrieve"]["post"]["parameters"]
    names = [reference["$ref"].rpartition("/")[2] for reference in references]
    schemas, hints = document["components"]["schemas"], get_type_hints(Options)
    known = schemas["RetrieveImageBody"]["properties"]
    assert list(hints) == names
    plain = PLAIN | {"boolean": bool, "object": Mapping[str, Any]}
    for name in names:
        schema = known[name]["anyOf"][0]
        described = schemas[schema["$ref"].rpartition("/")[2]]
        assert hints[name] == plain[described["type"]], name


def test_every_problem_of_the_service_is_an_error_that_says_what_to_do() -> None:
    def below(kind: type[errors.Problem]) -> Iterator[type[errors.Problem]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    for problem in [kind for kind in below(errors.Problem) if not kind.__subclasses__()]:
        found = door.refusals.problem(problem.status, {"type": f"urn:retrievalguard:problem:{problem.slug}"})
        assert found.kind == problem.slug
        # Who may come back is told so, and nobody else.
        later = issubclass(problem, errors.Unavailable | errors.RequestTimeout)
        assert isinstance(found, NotNow) == later, problem
        assert isinstance(found, door.ServiceBroken) == (problem.status == 500), problem


# --- answers


def test_an_image_may_be_a_path_bytes_a_picture_or_the_exact_input(
    client: Client, demo_server: Server, tmp_path: Path
) -> None:
    (tmp_path / "three.png").write_bytes(digit(3))
    expected = claims(answer(demo_server.client, digit(3), top_k=3, explain="true"))
    for image in (tmp_path / "three.png", str(tmp_path / "three.png"), digit(3), picture(3), tensor(3)):
        found = client.retrieve(image, top_k=3, explain=True)
        assert claims(found.as_dict()) == expected


def test_a_stream_is_rounds_and_then_the_answer(client: Client, demo_server: Server) -> None:
    image = noisy_digit(12, seed=6)
    *rounds, last = client.stream(image, max_samples=2000, min_gain=0)
    assert [type(one) for one in rounds] == [AnswerRound] * len(rounds)
    assert len(rounds) > 1
    assert isinstance(last, Answer)
    assert claims(last.as_dict()) == claims(answer(demo_server.client, image, max_samples=2000, min_gain=0))


def test_an_attack_finds_nothing_inside_the_radius_and_something_far_outside(
    client: Client, demo_server: Server
) -> None:
    radius = client.retrieve(digit(3), max_samples=1000).certificate.radius
    inside = client.attack(digit(3), 0.9 * radius, max_samples=1000)
    assert inside.inside
    assert not inside.changed
    assert not inside.broken

    async def far() -> door.AnswerAttack:
        async with AsyncClient(demo_server.url) as remote:
            return await remote.attack(digit(3), 4 * radius, max_samples=1000)

    outside = asyncio.run(far())
    assert outside.changed
    assert not outside.inside
    moved = np.array(outside.input(), np.float32)
    assert list(moved.shape) == outside.shape
    assert outside.size == pytest.approx(float(np.linalg.norm((moved - tensor(3)).astype(np.float64))))
    again = client.retrieve(moved, max_samples=1000)
    assert claims(again.as_dict()) == claims(outside.moved.as_dict())


def test_who_stops_listening_ends_the_query(client: Client, demo_server: Server) -> None:
    before = demo_server.metric("retrievalguard_queries_abandoned_total")
    for _ in client.stream(noisy_digit(13, seed=7), max_samples=100_000, min_gain=0):
        break
    wait_for(lambda: demo_server.metric("retrievalguard_queries_abandoned_total") > before)


def test_the_gallery_is_read(client: Client, demo_server: Server) -> None:
    assert client.gallery().labels == demo_server.client.get("/gallery").json()["labels"]
    found = client.retrieve(digit(3)).neighbor
    item = client.item(found.id)
    assert (item.id, item.label) == (found.id, found.label)
    assert client.item_image(found.id) == demo_server.client.get(f"/gallery/images/{found.id}").content


def test_a_batch_is_answered_in_its_order_each_with_its_own_problem(client: Client) -> None:
    images = [digit(3), b"nothing", tensor(4), 2 * tensor(3) + 1, picture(5)]
    found = client.batch(images, top_k=2)
    kinds = [one.kind if isinstance(one, ServiceProblem) else None for one in found]
    assert kinds == [None, "not-an-image", None, "pixels-invalid", None]
    for image, one in zip(images, found, strict=True):
        if isinstance(one, Answer):
            assert claims(one.as_dict()) == claims(client.retrieve(image, top_k=2).as_dict())


def test_the_gallery_is_changed(empty_server: Server) -> None:
    with Client(empty_server.url) as client:
        for row in range(3):
            added = client.add(digit(row), item_id=f"a/{row}?.png", label="some", metadata={"row": row})
            assert added.outcome == "added"
        assert [item.metadata for item in client.items()] == [{"row": 0}, {"row": 1}, {"row": 2}]
        assert client.put(picture(4), item_id="a/0?.png", label="other").outcome == "replaced"
        assert client.revise("a/1?.png", label="other").item.label == "other"
        assert sorted(item.id for item in client.items("other")) == ["a/0?.png", "a/1?.png"]
        with pytest.raises(door.ConflictingChange) as refused:
            client.add(digit(5), item_id="a/0?.png", label="some")
        assert refused.value.status == 409
        client.delete("a/0?.png")
        with pytest.raises(MissingItem):
            client.item("a/0?.png")
        assert client.gallery().size == 2


def test_an_archive_becomes_items_while_its_progress_is_asked_for(
    empty_server: Server, tmp_path: Path
) -> None:
    archive = tmp_path / "shop.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for row in range(3):
            file.writestr(f"some/{row}.png", digit(row))
        file.writestr("some/3.png", b"no picture")
    with Client(empty_server.url) as client:
        before = {one.id for one in client.jobs()}
        job = client.start_job(archive, prefix="shop/")
        assert job.state in ("waiting", "running", "done")
        wait_for(lambda: client.job(job.id).ended is not None)
        ended = client.job(job.id)
        assert (ended.state, ended.seen, ended.total, ended.added, ended.refused) == ("done", 4, 4, 3, 1)
        assert [one.place for one in ended.refusals] == ["some/3.png"]
        assert sorted(item.id for item in client.items()) == [f"shop/some/{row}.png" for row in range(3)]
        assert {one.id for one in client.jobs()} == before | {job.id}
        client.cancel_job(job.id)
        assert {one.id for one in client.jobs()} == before


def test_changes_that_are_not_allowed_are_forbidden(client: Client) -> None:
    with pytest.raises(door.Forbidden, match="RETRIEVALGUARD_GALLERY_WRITES"):
        client.delete("digits-0045")


def test_the_async_client_is_the_same(client: Client, demo_server: Server) -> None:
    async def ask() -> tuple[Answer, list[Any], str]:
        async with AsyncClient(demo_server.url) as remote:
            one, two = await asyncio.gather(remote.retrieve(digit(3)), remote.retrieve(digit(4)))
            events = [event async for event in remote.stream(noisy_digit(14, seed=8), max_samples=1000)]
            return one, [two, *events], (await remote.item("digits-0045")).label

    one, others, label = asyncio.run(ask())
    assert claims(one.as_dict()) == claims(client.retrieve(digit(3)).as_dict())
    assert isinstance(others[-1], Answer)
    assert label == client.item("digits-0045").label


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)


def test_a_notebook_shows_the_answer(client: Client) -> None:
    found = client.retrieve(digit(3))
    assert f"{found.certificate.radius:g}" in found._repr_html_()
    assert str(found).startswith(f"{found.neighbor.label}, ")


def test_labels_that_look_like_markup_are_text() -> None:
    body = {
        "neighbor": {"id": "<b>", "label": "<script>", "distance": 1.0, "metadata": {}},
        "neighbors": [], "model": {}, "gallery": {}, "timing_ms": {},
        "certificate": {
            "status": "abstained", "guarantee": "label", "radius": 0.0, "radius_unit": "l2", "alpha": 0.1,
            "sigma": 0.1, "samples": 2, "reason": "a < b",
        },
    }  # fmt: skip
    shown = door.answers.shaped(Answer, body)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt; (&lt;b&gt;)" in shown


def test_the_command_line_asks_a_service(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "three.png").write_bytes(digit(3))
    done = run_cli(tmp_path / "none", "retrieve", str(tmp_path / "three.png"), "--url", demo_server.url)
    assert claims(json.loads(done.stdout)) == claims(answer(demo_server.client, digit(3)))
    assert not (tmp_path / "none").exists()
    lost = run_cli(tmp_path, "retrieve", str(tmp_path / "three.png"), "--url", "http://127.0.0.1:9")
    assert lost.returncode == 1
    assert "no answer from the service" in lost.stderr


# --- what goes wrong

REFUSALS: dict[str, tuple[type[ServiceProblem], str, Callable[[Client], object]]] = {
    "no image": (BadInput, "not-an-image", lambda client: client.retrieve(b"nothing")),
    "an option": (BadInput, "invalid-option", lambda client: client.retrieve(digit(3), top_k=0)),
    "pixels": (BadInput, "pixels-invalid", lambda client: client.retrieve(2 * tensor(3) + 1)),
    "no item": (MissingItem, "item-not-found", lambda client: client.item("no such/item?")),
    "in a stream": (BadInput, "not-an-image", lambda client: list(client.stream(b"nothing"))),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_an_error_of_its_kind(client: Client, case: str) -> None:
    kind, name, ask = REFUSALS[case]
    with pytest.raises(kind) as refused:
        ask(client)
    assert refused.value.kind == name
    assert str(refused.value) == refused.value.document["detail"]
    assert refused.value.request_id


def test_pixels_that_are_no_model_input_are_not_sent(client: Client) -> None:
    with pytest.raises(TypeError, match="send 8-bit pixels as a PIL image"):
        client.retrieve((255 * tensor(3)).astype("uint8"))


class _Refusing(BaseHTTPRequestHandler):
    """Refuses for now as often as it is told, and then is a gallery; or cuts connections."""

    protocol_version = "HTTP/1.1"
    refusals: ClassVar[list[int]] = []
    came: ClassVar[list[float]] = []

    def do_GET(self) -> None:
        self.came.append(time.monotonic())
        status = self.refusals.pop() if self.refusals else 200
        if status == 0:
            self.close_connection = True
            return
        gallery = {"version": 1, "size": 0, "damaged": 0, "labels": {}}
        body = json.dumps(gallery if status == 200 else {"status": status, "detail": "later"}).encode()
        self.send_response(status)
        if status != 200:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def refusing(*refusals: int) -> Iterator[str]:
    _Refusing.refusals[:], _Refusing.came[:] = refusals, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_who_is_refused_for_now_comes_back_when_told(demo_server: Server) -> None:
    with refusing(503, 429) as url, Client(url) as client:
        assert client.gallery().size == 0
    first, second, third = _Refusing.came
    assert second - first >= 1
    assert third - second >= 1


def test_without_time_to_come_back_the_refusal_is_told() -> None:
    with refusing(503, 503) as url, Client(url, retry=0.5) as client, pytest.raises(NotNow) as refused:
        client.gallery()
    assert refused.value.retry_after == 1
    assert len(_Refusing.came) == 1


def test_what_was_cut_off_is_sent_again_only_where_that_does_no_harm() -> None:
    with refusing(0, 0) as url, Client(url) as client:
        assert client.gallery().version == 1
        assert len(_Refusing.came) == 3
        _Refusing.refusals[:] = [0]
        with pytest.raises(NoConnection):
            client.delete("an item")
        assert len(_Refusing.came) == 4

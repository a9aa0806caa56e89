"""A gallery in PostgreSQL: its layout, what goes wrong with a server, and what replicas see of each other."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from index import (
    Gallery,
    GalleryError,
    GalleryStore,
    ItemChanged,
    OutcomeUnknown,
    SharedGallery,
    StoreFailure,
    StoreUnreachable,
    export_gallery,
    import_gallery,
    list_items,
    names,
    prepared,
    put_items,
    put_name,
    replace_all,
    revise,
    stored_item,
)
from index.history import advance
from index.postgres_schema import STEPS
from index.postgres_session import PostgresSession
from index.rows import WholeItem, new_row, put_item, put_vector, put_whole, whole_items
from index.store import checked_vector
from tests.index.filtering import filter_of
from tests.index.items import MODEL, enough, loaded, new, process
from tests.postgres import ESCAPED, PASSWORD, PostgresServer


@pytest.fixture
def shared(postgres_server: PostgresServer, tmp_path: Path) -> SharedGallery:
    return SharedGallery(postgres_server.emptied(), tmp_path / "gallery.sqlite3")


@pytest.fixture
def store(shared: SharedGallery) -> Iterator[GalleryStore]:
    opened = GalleryStore(shared)
    yield opened
    opened.close()


@pytest.fixture
def gallery(shared: SharedGallery) -> Iterator[Gallery]:
    opened = Gallery(shared, MODEL, 2)
    yield opened
    opened.close()


def within(seconds: float, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def ids(gallery: Gallery) -> list[str]:
    return [item.id for item in gallery.snapshot().items]


def sql(server: PostgresServer, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with server.connect(server.url) as db:
        cursor = db.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


# --- the layout


def test_the_layout_is_made_once_by_whoever_comes_first(
    shared: SharedGallery, postgres_server: PostgresServer
) -> None:
    code = "ready()\nfor _ in until_told(): time.sleep(0.001)\nGalleryStore(place).close()"
    with process(code, shared) as one, process(code, shared) as other:
        enough(shared)
        assert (one.wait(30), other.wait(30)) == (0, 0)
    assert sql(postgres_server, "SELECT steps FROM layout") == [(len(STEPS),)]
    assert sql(
        postgres_server, "SELECT version, length(name) FROM gallery JOIN versions USING (version)"
    ) == [(0, 16)]


def refusal(shared: SharedGallery) -> str:
    with pytest.raises(StoreFailure) as error:
        GalleryStore(shared)
    assert PASSWORD not in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_database_without_an_encoding_is_opened_again(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """As initdb makes them where there is no locale."""
    with closing(postgres_server.connect()) as db:
        db.execute("CREATE DATABASE bare ENCODING 'SQL_ASCII' TEMPLATE template0")
    url = postgres_server.url.removesuffix("postgres") + "bare"
    for version in (1, 2):
        store = GalleryStore(SharedGallery(url, tmp_path / "gallery.sqlite3"))
        assert store.add([new(f"\u00e9 {version}")], MODEL) == version
        assert len(store.ids()) == version
        store.close()


def test_a_newer_layout_and_a_schema_of_another_program_are_refused_untouched(
    shared: SharedGallery, postgres_server: PostgresServer
) -> None:
    GalleryStore(shared).close()
    sql(postgres_server, f"UPDATE layout SET steps = {len(STEPS) + 1}")
    assert "newer version" in refusal(shared)
    sql(postgres_server, "DROP SCHEMA retrievalguard CASCADE")
    sql(postgres_server, "CREATE SCHEMA retrievalguard")
    sql(postgres_server, "CREATE TABLE retrievalguard.music (title TEXT)")
    assert "another program" in refusal(shared)
    assert sql(postgres_server, "SELECT tablename FROM pg_tables WHERE schemaname = 'retrievalguard'") == [
        ("music",)
    ]


def test_a_step_that_fails_leaves_the_layout_before(
    shared: SharedGallery, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = GalleryStore(shared)
    first.add([new("one")], MODEL)
    first.close()

    def fail(db: "psycopg.Connection[Any]") -> None:
        db.execute("DROP TABLE named")
        db.execute("SELECT 1 / 0")

    monkeypatch.setattr("index.postgres_schema.STEPS", (*STEPS, fail))
    assert "division by zero" in refusal(shared)
    monkeypatch.undo()
    again = GalleryStore(shared)
    assert (again.ids(), names(again)) == (["one"], {})
    again.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace(ESCAPED, "wrong"), "password authentication failed"),
        (lambda url: url.rpartition("/")[0] + "/nowhere", 'database "nowhere" does not exist'),
        (lambda url: "postgresql://tests@127.0.0.1:1/postgres", "Connection refused"),
        (lambda url: f"{url}?colour={ESCAPED}", "DATABASE_URL is not like"),
    ],
)
def test_a_server_that_does_not_let_us_in_is_named_without_the_password(
    change: Callable[[str], str], said: str, shared: SharedGallery
) -> None:
    message = refusal(SharedGallery(change(shared.url), shared.path))
    assert said in message
    assert PASSWORD not in repr(shared) + str(shared)


# --- rows


def test_texts_of_any_length_can_be_stored_and_found(store: GalleryStore) -> None:
    """An index of PostgreSQL holds no more than 2.7 kB of random text."""
    rng = np.random.default_rng(0)
    long = ["".join(map(chr, rng.integers(0x4E00, 0x9FFF, 9000))) for _ in range(2)]
    labels = [long[0], long[0][:-1] + "x"]  # apart in their ends alone
    store.add([new(id_, label) for id_, label in zip(long, labels, strict=True)], MODEL)
    for id_, label in zip(long, labels, strict=True):
        assert store.item(id_).label == label
        assert [one.item.id for one in list_items(store, most=5, label=label)[0]] == [id_]
    with pytest.raises(GalleryError):
        store.item(long[0][:-1])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE items SET label = 'b' WHERE id = 'two'",
        "UPDATE items SET label = '\\xff' WHERE id = 'two'",
        "UPDATE vectors SET vector = '\\x0000803f00000000' WHERE row = 2",
        "DELETE FROM checksums WHERE row = 2",
    ],
)
def test_a_row_that_was_changed_is_left_out(
    statement: str, gallery: Gallery, shared: SharedGallery, postgres_server: PostgresServer
) -> None:
    gallery.add([new("one"), new("two"), new("three")])
    assert ids(gallery) == ["one", "two", "three"]
    sql(postgres_server, statement)
    sql(postgres_server, "UPDATE gallery SET version = version + 1")  # and tells nobody
    within(1.0, lambda: ids(gallery) == ["one", "three"])
    assert gallery.damaged == ("two",)


def test_what_is_not_held_any_more_is_gone_and_what_stays_is_held(gallery: Gallery) -> None:
    gallery.add([new("one"), new("two", "b"), new("three")])
    before = gallery.snapshot()
    gallery.put([new("one", "z", metadata={"n": 1})], lambda there, wanted: True)
    gallery.store.delete(["two"])
    gallery.set_vectors({"three": np.array([1, 0], np.float32)})
    assert [(i.id, i.label, i.metadata) for i in gallery.snapshot().items] == [
        ("three", "a", {}),
        ("one", "z", {"n": 1}),
    ]
    with pytest.raises(GalleryError, match="changed while it was read"):
        list(before.items)
    assert gallery._held is not None
    assert len(gallery._held._texts) == 2


def test_a_start_from_what_was_kept_knows_the_texts(
    shared: SharedGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.next_start.LARGE", 5)
    before = Gallery(shared, MODEL, 2)
    before.add([new(f"{number}", vector=(1, number), metadata={"n": number}) for number in range(8)])
    before.snapshot()
    within(10.0, shared.path.with_suffix(".pack").exists)
    before.store.delete(["3"])
    before.add([new("after", metadata={"n": 9})])
    items, digest = list(before.snapshot().items), before.snapshot().digest
    before.close()
    with monkeypatch.context() as patched:
        patched.setattr(Gallery, "_load", None)  # not needed
        after = Gallery(shared, MODEL, 2)
    assert after.snapshot().digest == digest
    assert list(after.snapshot().items) == items
    assert [item.id for item in items] == ["0", "1", "2", "4", "5", "6", "7", "after"]
    after.close()


# --- from one kind to the other


def test_a_gallery_goes_from_a_file_to_a_server_and_back(store: GalleryStore, tmp_path: Path) -> None:
    file, back = GalleryStore(tmp_path / "file" / "g.sqlite3"), GalleryStore(tmp_path / "back" / "g.sqlite3")
    items = [new(f"é\0{n}", f"{n % 3}", (n, 1), {"n": n}, image=bytes([n]) * 50) for n in range(40)]
    file.add(items, MODEL)
    file.set_vectors({items[0].item.id: np.array([1, 2, 3], np.float32)}, "another model")
    put_name(file, "cats", '{"label":"1"}', 10)
    export_gallery(file, tmp_path / "first")
    assert import_gallery(store, tmp_path / "first") == 40
    export_gallery(store, tmp_path / "second")
    assert import_gallery(back, tmp_path / "second") == 40
    for one in (store, back):
        assert names(one) == names(file)
        assert [loaded(one, name)[1] for name in (MODEL, "another model")] == [
            loaded(file, name)[1] for name in (MODEL, "another model")
        ]
        assert np.array_equal(loaded(one, MODEL)[2], loaded(file, MODEL)[2])
        assert [one.image(id_) for id_ in one.ids()] == [file.image(id_) for id_ in file.ids()]
    with pytest.raises(GalleryError, match="has 40 items: import into an empty one"):
        import_gallery(store, tmp_path / "first")
    for opened in (file, back):
        opened.close()


def test_a_snapshot_takes_the_place_of_a_gallery_and_its_names(store: GalleryStore, tmp_path: Path) -> None:
    store.add([new("one"), new("two")], MODEL)
    put_name(store, "cats", '{"label":"a"}', 10)
    export_gallery(store, tmp_path / "archive")
    put_name(store, "cats", "{}", 10)
    put_name(store, "other", "{}", 10)
    store.delete(["one"])
    with prepared(store, tmp_path / "archive") as (path, with_names):
        assert replace_all(store, path, with_names=with_names) == (3, 2)
    assert store.ids() == ["one", "two"]
    assert {name: json.loads(text) for name, text in names(store).items()} == {"cats": {"label": "a"}}


def test_what_is_filled_in_is_what_is_put_one_by_one(store: GalleryStore, tmp_path: Path) -> None:
    """In one transaction, and nothing of it if one item cannot be stored; with no, one and two vectors."""
    file = GalleryStore(tmp_path / "file.sqlite3")
    items = [new(f"é\0{n}", f"{n % 3}", (n, 1), {"n": n}, image=bytes([n]) * 50) for n in range(40)]
    file.add(items, MODEL)
    file.set_vectors({items[0].item.id: np.array([1, 2, 3], np.float32)}, "another model")
    with file.transaction() as db:
        db.execute("DELETE FROM vectors WHERE row = 2")
    with file.scan() as source:
        wholes = [whole for whole in whole_items(source) if isinstance(whole, WholeItem)]
    rows = list[list[tuple[Any, ...]]]()
    tables = (
        "SELECT id, label, metadata, image, media_type FROM items ORDER BY row",
        "SELECT id, c.image, c.item FROM items JOIN checksums c USING (row) ORDER BY row",
        "SELECT id, model, vector, checksum FROM items JOIN vectors USING (row) ORDER BY row, model",
    )
    for filled in (False, True):
        with store.transaction() as db:
            db.execute("DELETE FROM items")
            if filled:
                assert db.fill(map(new_row, wholes)) == len(wholes) == 40
            else:
                for whole in wholes:
                    put_whole(db, whole)
            advance(db, [])
        with store.reading() as db:
            rows.append([row for table in tables for row in db.execute(table).fetchall()])
    assert rows[0] == rows[1]
    with pytest.raises(StoreFailure, match="cannot be used"), store.transaction() as db:
        db.fill(map(new_row, [*wholes[:3], wholes[0]]))

    def replaced_by_half() -> None:
        with store.transaction() as db:
            db.execute("DELETE FROM items")
            db.fill(new_row(whole) if whole is not wholes[5] else _failing() for whole in wholes)

    with pytest.raises(RuntimeError):
        replaced_by_half()
    assert len(store.ids()) == 40
    assert store.add([new("after")], MODEL) == 3
    file.close()


def _failing() -> Any:
    raise RuntimeError


def test_a_restore_ends_where_the_server_hangs_in_its_middle(
    store: GalleryStore, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.following.HANGING_SECONDS", 1.0)
    monkeypatch.setattr("index.following.LEFT_SECONDS", 0.5)
    store.add([new("one"), new("two")], MODEL)
    export_gallery(store, tmp_path / "archive")
    store.delete(["one"])
    middle, hangs = threading.Event(), threading.Event()

    def pausing(db: Any) -> Iterator[Any]:
        for whole in whole_items(db):
            yield whole
            middle.set()
            hangs.wait(60)

    with prepared(store, tmp_path / "archive") as (path, with_names), ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr("index.restoring.whole_items", pausing)
        restoring = pool.submit(replace_all, store, path, with_names=with_names)
        assert middle.wait(60)
        with postgres_server.hanging():
            hangs.set()
            with pytest.raises(StoreUnreachable):
                restoring.result(timeout=20)
    assert store.ids() == ["two"]
    assert store.add([new("three")], MODEL) == 3


# --- replicas


def test_of_two_replicas_one_is_told_that_the_other_was_faster(shared: SharedGallery) -> None:
    one, other = GalleryStore(shared), GalleryStore(shared)
    put_items(one, [new("item")], MODEL)
    seen = stored_item(other, "item").tag
    assert revise(one, "item", label="b", condition=lambda there, wanted: there == seen)[0] == 2
    with pytest.raises(ItemChanged):
        revise(other, "item", label="c", condition=lambda there, wanted: there == seen)
    assert put_items(other, [new("item")], MODEL) == (2, ["refused"])
    assert stored_item(other, "item").item.label == "b"
    one.close()
    other.close()


def test_a_replica_sees_a_change_though_nobody_told_it(
    gallery: Gallery, shared: SharedGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling alone: whoever changes the gallery tells nobody."""
    monkeypatch.setattr("index.postgres._TELL", b"SELECT 1")
    other = GalleryStore(shared)
    for number in range(3):
        other.add([new(f"{number}")], MODEL)
        within(1.0, lambda: len(gallery.snapshot()) == number + 1)  # noqa: B023
    other.close()


def test_a_replica_is_told_of_a_change_and_need_not_ask(
    shared: SharedGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.following.ASKED_SECONDS", 60.0)
    gallery, other = Gallery(shared, MODEL, 2), GalleryStore(shared)
    for number in range(3):
        other.add([new(f"{number}")], MODEL)
        within(1.0, lambda: len(gallery.snapshot()) == number + 1)  # noqa: B023
    gallery.close()
    other.close()


def test_what_is_usual_for_a_user_weakens_nothing(
    shared: SharedGallery, postgres_server: PostgresServer
) -> None:
    usual = {"synchronous_commit": "off", "default_transaction_isolation": "serializable"}
    for name, value in usual.items():
        sql(postgres_server, f"ALTER ROLE tests SET {name} = '{value}'")
    try:
        one, other = GalleryStore(shared), GalleryStore(shared)
        with one.transaction() as db:
            assert db.execute("SHOW synchronous_commit").fetchone() == ("on",)
            assert db.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
        one.add([new("one")], MODEL)
        assert other.add([new("two")], MODEL) == 2
        one.close()
        other.close()
    finally:
        for name in usual:
            sql(postgres_server, f"ALTER ROLE tests RESET {name}")


def test_whoever_makes_a_change_sees_it_at_once(gallery: Gallery) -> None:
    for number in range(60):
        assert gallery.add([new(f"{number}")]) == number + 1
        assert gallery.snapshot().version == number + 1


class Late:
    """A connection whose answers are old when they arrive: something happened in between."""

    def __init__(self, connection: Any, happened: Callable[[], object]) -> None:
        self._connection, self._happened = connection, happened

    def execute(self, *what: Any, **options: Any) -> Any:
        found = self._connection.execute(*what, **options)
        self._happened()
        return found


def test_an_old_answer_does_not_hide_a_change_of_our_own(
    gallery: Gallery, postgres_server: PostgresServer
) -> None:
    following = gallery.store.transaction.__self__._following  # type: ignore[attr-defined]
    with postgres_server.connect(postgres_server.url) as db:
        following._ask(Late(db, lambda: gallery.add([new("one")])))
    assert following.newest().number == 1


def test_another_history_of_as_many_versions_is_seen(
    gallery: Gallery, postgres_server: PostgresServer
) -> None:
    """A standby that became the primary and lacked the last change, and then was given another one."""
    gallery.add([new("one"), new("two")])
    assert ids(gallery) == ["one", "two"]
    with postgres_server.connect(postgres_server.url) as db, db.transaction():
        db.execute("DELETE FROM items WHERE id = 'two'")
        db.execute("UPDATE versions SET name = sha256('another')")
    within(1.0, lambda: ids(gallery) == ["one"])


def test_another_history_is_not_taken_for_the_one_that_is_known(gallery: Gallery) -> None:
    """A server was put back to an older state, and another change got the number of one that was lost."""
    gallery.add([new("one", metadata={"n": 1})])
    gallery.add([new("lost", metadata={"n": 7})])
    wanted = filter_of({"metadata.n": 1})
    before = gallery.snapshot()
    assert [item.id for item in gallery.filtered(wanted).items] == ["one"]
    rival = new("rival", "b", metadata={"n": 1})
    database = gallery.store.transaction.__self__  # type: ignore[attr-defined]
    with database._connected() as db, db.transaction():
        db.execute(b"DELETE FROM items WHERE id = 'lost'")
        db.execute(b"DELETE FROM versions WHERE version = 2")
        db.execute(b"UPDATE gallery SET version = 1")
        db.execute(b"ALTER TABLE items ALTER COLUMN row RESTART WITH 2")
        session = PostgresSession(db)
        row, image, _ = put_item(session, rival.item, rival.image, rival.media_type)
        put_vector(session, row, "rival", image, MODEL, checked_vector(rival))
        assert (row, advance(session, [row])) == (2, before.version)
    within(2.0, lambda: ids(gallery) == ["one", "rival"])
    assert [item.id for item in gallery.filtered(wanted).items] == ["one", "rival"], "a rival is missed"
    assert [item.id for item in before.items] == ["one", "lost"], "an older snapshot names another item"


# --- a server that goes away


def test_queries_go_on_while_the_server_is_away_and_changes_do_when_it_is_back(
    gallery: Gallery, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gallery.add([new("one", metadata={"n": 1}), new("two", "b", (0, 1))])
    before = gallery.snapshot().digest
    postgres_server.kill()
    within(2.0, lambda: gallery.cut_off)
    assert gallery.snapshot_at_once() is None  # there may be a newer one
    assert gallery.snapshot().digest == before
    assert gallery.snapshot().items[0].metadata == {"n": 1}
    begun = time.monotonic()
    with pytest.raises(StoreUnreachable, match="cannot be reached"):
        gallery.add([new("three")])
    with pytest.raises(StoreUnreachable):
        gallery.store.image("one")
    assert time.monotonic() - begun < 1.0, "it waits for a server that is known to be away"
    postgres_server.start()
    within(5.0, lambda: not gallery.cut_off)
    assert gallery.add([new("three")]) == 2
    assert ids(gallery) == ["one", "two", "three"]
    assert gallery.snapshot_at_once() is gallery.snapshot()
    lines = [record.message for record in caplog.records if "PostgreSQL at" in record.message]
    assert len(lines) == 2, lines
    assert "answered from version 1" in lines[0]
    assert "answers again" in lines[1]
    assert PASSWORD not in caplog.text


def test_a_server_that_hangs_holds_no_query_up(
    gallery: Gallery, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.following.HANGING_SECONDS", 1.0)
    monkeypatch.setattr("index.following.LEFT_SECONDS", 0.5)
    leaving = Gallery(gallery.store._opened, MODEL, 2)
    gallery.add([new("one")])
    assert ids(gallery) == ["one"]
    with postgres_server.hanging():
        assert ids(gallery) == ["one"]
        within(8.0, lambda: gallery.snapshot_at_once() is None)
        within(8.0, lambda: gallery.cut_off)
        with pytest.raises(StoreUnreachable, match="does not answer"):
            gallery.add([new("two")])
        assert ids(gallery) == ["one"]
        begun = time.monotonic()
        leaving.close()
        assert time.monotonic() - begun < 4.0
    within(5.0, lambda: not gallery.cut_off)
    assert gallery.add([new("two")]) == 2


def test_whoever_waits_for_a_server_that_hangs_is_told(
    gallery: Gallery, store: GalleryStore, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.following.HANGING_SECONDS", 1.0)
    monkeypatch.setattr("index.following.LEFT_SECONDS", 0.5)
    gallery.add([new("one", metadata={"price": 1})])
    assert ids(gallery) == ["one"]
    cheap = filter_of({"metadata.price": {"$lt": 5}})
    leaving = Gallery(gallery.store._opened, MODEL, 2)
    store.add([new("elsewhere")], MODEL)
    within(5.0, lambda: gallery.store.newest().number == 2)  # known, and not read yet
    with ThreadPoolExecutor(14) as pool, postgres_server.hanging():
        waiting: list[Future[Any]] = [pool.submit(gallery.store.item, "one") for _ in range(4)]
        waiting += [pool.submit(gallery.filtered, cheap) for _ in range(4)]
        queries = [pool.submit(ids, gallery) for _ in range(2)]
        waiting.append(pool.submit(gallery.add, [new("two")]))
        waiting.append(pool.submit(leaving.store.item, "one"))
        left = pool.submit(leaving.close)
        within(5.0, lambda: gallery.cut_off)
        for each in waiting:
            with pytest.raises(StoreUnreachable):
                each.result(timeout=10)
        assert [query.result(timeout=10) for query in queries] == [["one"], ["one"]]
        left.result(timeout=10)
        begun = time.monotonic()
        for refused in (lambda: gallery.store.item("one"), lambda: gallery.filtered(cheap)):
            with pytest.raises(StoreUnreachable):
                refused()
        assert time.monotonic() - begun < 1.0
    within(5.0, lambda: not gallery.cut_off)
    assert ids(gallery) == ["one", "elsewhere"]
    assert gallery.add([new("two")]) == 3
    assert len(gallery.filtered(cheap)) == 1


END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'retrievalguard'"


def test_a_connection_that_was_ended_is_made_anew(
    store: GalleryStore, postgres_server: PostgresServer
) -> None:
    store.add([new("one")], MODEL)
    for number in range(2):
        sql(postgres_server, END)
        assert store.ids()[0] == "one"
        assert store.add([new(f"more {number}")], MODEL) == number + 2


WRITING = """
import json
store, said, failed = GalleryStore(place), [], []
for number in until_told():
    try:
        version = store.add([new(f"{number} a", image=bytes(5000)), new(f"{number} b")], MODEL)
        said.append((number, version))
    except Exception:
        failed.append(number)
        time.sleep(0.02)
    if number == 5:
        ready()
path.with_name("said").write_text(json.dumps([said, failed]))
store.close()
"""


def test_of_a_server_that_is_killed_under_a_writer_nothing_acknowledged_is_lost(
    shared: SharedGallery, postgres_server: PostgresServer
) -> None:
    with process(WRITING, shared) as running:
        for pause in (0.15, 0.4):
            time.sleep(pause)
            postgres_server.kill()
            postgres_server.start()
        time.sleep(0.5)
        enough(shared)
        assert running.wait(60) == 0
    said, failed = json.loads(shared.path.with_name("said").read_text())
    store = GalleryStore(shared)
    held = set(store.ids())
    assert failed
    assert {f"{number} {part}" for number, _ in said for part in "ab"} == held, "lost, or half of it there"
    assert [version for _, version in said] == list(range(1, len(said) + 1)), "a change counts twice"
    assert store.version() == len(said)
    store.close()


class Cut:
    """A connection that loses the answer to COMMIT: whether the server gets it is for the test to say."""

    def __init__(self, connection: Any, *, arrives: bool) -> None:
        self._connection, self._arrives = connection, arrives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: Any, *values: Any, **options: Any) -> Any:
        if statement != "COMMIT":
            return self._connection.execute(statement, *values, **options)
        if self._arrives:
            self._connection.execute("COMMIT")
        self._connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")


@pytest.mark.parametrize("arrives", [True, False])
def test_a_commit_whose_answer_is_lost_is_looked_up(arrives: bool, store: GalleryStore) -> None:
    store.add([new("one")], MODEL)
    database = store.transaction.__self__  # type: ignore[attr-defined]
    database._writer = Cut(database._writer, arrives=arrives)
    if arrives:
        assert store.add([new("two")], MODEL) == 2
    else:
        with pytest.raises(StoreUnreachable):
            store.add([new("two")], MODEL)
    assert store.version() == (2 if arrives else 1)
    assert store.ids() == (["one", "two"] if arrives else ["one"])
    assert store.add([new("three")], MODEL) == (3 if arrives else 2)


def test_a_change_that_leaves_no_version_is_not_said_to_be_stored(store: GalleryStore) -> None:
    database = store.transaction.__self__  # type: ignore[attr-defined]
    database._writer = Cut(database._writer, arrives=True)
    with pytest.raises(OutcomeUnknown, match="not known whether that was stored"):
        put_name(store, "cats", "{}", 10)
    assert names(store) == {"cats": "{}"}


def test_a_writer_that_stands_still_keeps_others_waiting_for_so_long_alone(
    store: GalleryStore, postgres_server: PostgresServer
) -> None:
    with postgres_server.connect(postgres_server.url) as other:
        other.execute("BEGIN")
        other.execute("SELECT version FROM gallery FOR UPDATE")
        store.transaction.__self__._writer.execute("SET lock_timeout = '100ms'")  # type: ignore[attr-defined]
        with pytest.raises(StoreFailure, match="nothing of this change was stored; try again when"):
            store.add([new("one")], MODEL)
        other.execute("ROLLBACK")
    assert store.add([new("one")], MODEL) == 1


def test_a_full_disk_is_told_and_stores_nothing(postgres_server: PostgresServer, tmp_path: Path) -> None:
    with postgres_server.small_database() as url:
        store = GalleryStore(SharedGallery(url, tmp_path / "gallery.sqlite3"))
        rng, count = np.random.default_rng(0), 0
        with pytest.raises(StoreFailure, match="disk is full"):  # noqa: PT012 (one of many)
            for count in range(100):
                store.add([new(f"{count}"), new(f"{count} large", image=rng.bytes(2_000_000))], MODEL)
        assert store.version() == count > 3
        assert len(store.ids()) == 2 * count
        assert len(store.image("0 large")[0]) == 2_000_000
        store.delete(["0 large"])
        store.close()

"""The command line, as a user and a script meet it: what it prints, and its exit status."""

import json
from pathlib import Path

import pytest

from service.retriever import Retriever
from tests.service.processes import SAMPLES, Finished, Server, run_cli, spawn_cli
from tests.service.queries import answer, claims, digit, folder_of


@pytest.fixture(scope="module")
def adding(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """`gallery add` of a folder with two good images, a broken one, and a text; and its data folder."""
    files = {"3/a.png": digit(0), "3/b.png": digit(0)[:30], "5/deep/c.png": digit(1), "5/notes.txt": b"x"}
    source = folder_of(tmp_path_factory.mktemp("source"), files)
    data = tmp_path_factory.mktemp("filled")
    return data, spawn_cli(data, "gallery", "add", source)


@pytest.fixture
def filled(adding: tuple[Path, Finished]) -> Path:
    return adding[0]


def test_adding_a_folder_names_the_broken_file_adds_the_others_and_exits_1(
    adding: tuple[Path, Finished],
) -> None:
    added = adding[1]
    assert added.returncode == 1
    assert len([line for line in added.stderr.splitlines() if line.startswith("refused: ")]) == 1
    assert "3/b.png: the image file is damaged" in added.stderr
    assert "4 found: 2 added, 0 replaced, 0 unchanged, 1 refused, 1 skipped (no image)" in added.stderr
    assert "the gallery has 2 items" in added.stderr
    assert "Traceback" not in added.stderr


def test_list_prints_id_and_label_separated_by_a_tab(filled: Path) -> None:
    listed = run_cli(filled, "gallery", "list")
    assert listed.returncode == 0
    assert listed.stdout == "3/a.png\t3\n5/deep/c.png\t5\n"


def test_deleting_an_unknown_id_is_one_line_exits_1_and_deletes_nothing(filled: Path) -> None:
    refused = run_cli(filled, "gallery", "delete", "3/a.png", "no such id")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "no such id" in refused.stderr
    assert run_cli(filled, "gallery", "list").stdout.startswith("3/a.png\t")


def test_adding_an_unknown_origin_is_one_line_and_exits_1(tmp_path: Path) -> None:
    refused = run_cli(tmp_path, "gallery", "add", "no/such/folder")
    assert refused.returncode == 1
    assert "no/such/folder" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("RETRIEVALGUARD_ALPHA", "2", 2),
        ("RETRIEVALGUARD_SAMPLES", "many", 2),
        ("RETRIEVALGUARD_LABEL_WEIGHT", "1", 2),
        ("RETRIEVALGUARD_SECRET", "hunter2", 2),
        ("RETRIEVALGUARD_MODEL", "no-such-model", 1),
        ("REDIS_URL", "localhost:6379", 2),
        ("RETRIEVALGUARD_DATA_DIR", "/dev/null/data", 1),
    ],
)
def test_a_bad_setting_is_one_line_that_names_what_is_wrong(
    tmp_path: Path, name: str, value: str, status: int
) -> None:
    refused = run_cli(tmp_path, "gallery", "list", **{name.removeprefix("RETRIEVALGUARD_"): value})
    assert refused.returncode == status
    assert len(refused.stderr.splitlines()) == 1
    assert (name if status == 2 else value) in refused.stderr
    assert "hunter2" not in refused.stderr


@pytest.mark.parametrize("content", ["", "cut off"])
def test_a_secret_file_that_was_cut_off_is_one_line_that_names_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_text(content)
    refused = run_cli(tmp_path, "gallery", "list", SECRET=None)
    assert refused.returncode in (1, 2)
    assert len(refused.stderr.splitlines()) == 1
    assert str(tmp_path / "secret") in refused.stderr


def test_serve_with_a_bad_setting_ends_with_one_line_and_exits_2(tmp_path: Path) -> None:
    refused = spawn_cli(tmp_path, "serve", PORT="http")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "RETRIEVALGUARD_PORT" in refused.stderr


def test_retrieve_prints_what_the_server_answers(
    demo_server: Server, demo_retriever: Retriever, tmp_path: Path
) -> None:
    image = tmp_path / "digit.png"
    image.write_bytes(digit(0))
    data = demo_retriever.settings.data_dir
    options = ("--top-k", "2", "--alpha", "0.01", "--max-samples", str(SAMPLES), "--guarantee", "item")
    printed = run_cli(data, "retrieve", str(image), *options)
    assert printed.returncode == 0
    expected = answer(
        demo_server.client, digit(0), top_k=2, alpha=0.01, max_samples=SAMPLES, guarantee="item"
    )
    assert claims(json.loads(printed.stdout)) == claims(expected)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"not an image", (), "PNG, JPEG or WebP"),
        (digit(0), ("--method", "guess"), "method"),
        (digit(0), ("--max-samples", "100000000"), "max_samples"),
    ],
)
def test_retrieve_refuses_in_one_line(
    filled: Path, tmp_path: Path, content: bytes, options: tuple[str, ...], said: str
) -> None:
    image = tmp_path / "digit.png"
    image.write_bytes(content)
    refused = run_cli(filled, "retrieve", str(image), *options)
    assert refused.returncode in (1, 2)
    assert refused.stdout == ""
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_running_server_sees_what_the_command_line_adds_and_deletes(
    empty_server: Server, tmp_path: Path
) -> None:
    client = empty_server.client
    before = client.get("/gallery").json()
    folder = folder_of(tmp_path, {"3/a.png": digit(0), "5/c.png": digit(1)})
    assert run_cli(empty_server.data, "gallery", "add", folder).returncode == 0
    after = client.get("/gallery").json()
    assert after["version"] > before["version"]
    assert (after["size"], after["labels"]) == (2, {"3": 1, "5": 1})
    assert answer(client, digit(0))["neighbor"]["id"] == "3/a.png"

    assert run_cli(empty_server.data, "gallery", "add", folder).returncode == 0
    assert client.get("/gallery").json() == after  # what is there already is left alone

    assert run_cli(empty_server.data, "gallery", "delete", "3/a.png").returncode == 0
    body = answer(client, digit(0))
    assert body["neighbor"]["id"] == "5/c.png"
    assert body["gallery"] == {
        "name": "default", "version": after["version"] + 1, "size": 1, "matching": None,
    }  # fmt: skip


def test_items_are_relabelled_deleted_and_brought_back_under_a_running_server(
    empty_server: Server, tmp_path: Path
) -> None:
    data, client = empty_server.data, empty_server.client

    def labels() -> dict[str, str]:
        return {item["id"]: item["label"] for item in client.get("/gallery/items").json()["items"]}

    files = {"3/a.png": digit(0), "3/b.png": digit(1), "5/c.png": digit(2)}
    assert run_cli(data, "gallery", "add", folder_of(tmp_path, files)).returncode == 0
    assert run_cli(data, "gallery", "relabel", "3/a.png", "three").returncode == 0
    before = labels()
    assert before == {"3/a.png": "three", "3/b.png": "3", "5/c.png": "5"}
    assert run_cli(data, "gallery", "list", "--label", "three").stdout == "3/a.png\tthree\n"
    assert run_cli(data, "gallery", "snapshot", "before").returncode == 0
    assert "before\t" in run_cli(data, "gallery", "snapshots").stdout
    assert run_cli(data, "gallery", "delete", "--prefix", "3/", "--label", "3").returncode == 0
    assert labels() == {"3/a.png": "three", "5/c.png": "5"}
    assert run_cli(data, "gallery", "restore", "before").returncode == 0
    assert labels() == before
    assert answer(client, digit(0))["neighbor"]["label"] == "three"
    for bad in (
        ["relabel", "none", "x"],
        ["relabel", "3/a.png", " "],
        ["restore", "none"],
        ["snapshot", "a/b"],
    ):
        assert run_cli(data, "gallery", *bad).returncode == 1, bad
    for bad in (["delete"], ["delete", "3/a.png", "--label", "3"]):
        assert run_cli(data, "gallery", *bad).returncode == 2, bad
    assert labels() == before

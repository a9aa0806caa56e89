"""The paper's experiment on replicas of its data sets: from a copy on disk to the table, by one command."""

import json
import subprocess
from pathlib import Path

import pytest

from bench.server import EXECUTABLE
from certify import METHODS
from evaluation.certified_recall import ROWS
from evaluation.queries import QueryImage, left_out
from models.datasets import DATASETS, PUBLISHED
from service.retriever import Retriever
from tests.models.datasets import replicas
from tests.models.datasets.replicas import EACH
from tests.service.processes import environment, run_as, run_cli, wait_for

MADE = {"cub200": replicas.cub200, "cars196": replicas.cars_with_devkit}
SIGMAS = ("0.25", "0.1")
MADE |= {"online-products": replicas.online_products, "in-shop": replicas.in_shop}


@pytest.mark.parametrize("name", PUBLISHED)
def test_one_command_makes_the_table(name: str, tmp_path: Path) -> None:
    # One of them is enough to see that several are taken.
    sigmas = [word for sigma in SIGMAS[: 2 if name == "cub200" else 1] for word in ("--sigma", sigma)]
    report, table, plot = (tmp_path / file for file in ("report.json", "table.md", "plot.png"))
    root = MADE[name](tmp_path / "copy")
    done = run_cli(
        run_as("eager", tmp_path / "data"), "evaluate", "--data", name, "--root", str(root),
        "--model", "digits-cnn", "--samples", "256", *sigmas,
        *(word for row in ROWS for word in ("--method", row)),
        "--json", str(report), "--table", str(table), "--plot", str(plot), VARIANT="eager",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = json.loads(report.read_text())
    for one in written.get("reports", [written]):
        if name == "in-shop":
            expected = (4, 4 * (EACH - 1), "held-out images")
        else:
            asked = 6 if name == "cars196" else 4 * EACH
            expected = (asked, asked - 1, "each item, left out once")
        assert (one["queries"], one["gallery"], one["asking"]) == expected
        # Nothing is asked that nobody could answer, and digits of one class look alike.
        assert (one["data"], one["alone"], one["refused"]) == (name, 0, {})
        assert one["recall_at_1"]["smoothed"] > 0.5
        assert tuple(one["methods"]) == (*METHODS, "vote")
        (warning,) = one["warnings"]
        assert f"{PUBLISHED[name].sizes['gallery']:,} as published" in warning
        assert warning in done.stdout
    rows = [line.split("|")[1:3] for line in table.read_text().splitlines()[4:]]
    assert [(row.strip(), sigma.strip()) for row, sigma in rows] == [
        (row, sigma) for row in ROWS for sigma in sigmas[1::2]
    ]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_run_that_is_killed_goes_on_and_gives_the_same_figures(tmp_path: Path) -> None:
    root, data = replicas.cub200(tmp_path / "copy"), run_as("eager", tmp_path / "data")
    arguments = [
        "evaluate", "--data", "cub200", "--root", str(root), "--model", "digits-cnn", "--samples", "512",
        "--method", "mean", "--sigma", "0.25", "--json",
    ]  # fmt: skip
    killed, whole = tmp_path / "killed.json", tmp_path / "whole.json"
    kept = tmp_path / "killed.json.unfinished" / "sigma-0.25" / "results.jsonl"
    with subprocess.Popen(
        [EXECUTABLE, *arguments, killed], env=environment(data, VARIANT="eager"), stderr=subprocess.DEVNULL
    ) as cut:
        wait_for(lambda: kept.exists() and len(kept.read_text().splitlines()) > 2)
        cut.kill()
    assert not killed.exists()
    for path in (killed, whole):
        done = run_cli(data, *arguments, str(path), VARIANT="eager")
        assert done.returncode == 0, done.stderr
    assert killed.read_text() == whole.read_text()


def test_a_query_that_is_an_item_is_answered_without_itself(demo_retriever: Retriever) -> None:
    gallery, data = demo_retriever.gallery, DATASETS["digits"]
    asked = [
        QueryImage(images.ids[row], images.labels[row], bytes)
        for images in (data("gallery"), data("query"))
        for row in (0, 17)
    ]
    rows = [query.row for query in left_out(asked, gallery)]
    assert rows[2:] == [None, None]
    items, _ = gallery.plain()
    assert [items[row].id for row in rows[:2] if row is not None] == [query.id for query in asked[:2]]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "cub200"], "name its folder by --root"),
        (["--data", "cub200"], PUBLISHED["cub200"].page),
        (["--data", "digits", "--root", "."], "--root is about --data cub200, cars196, online-products"),
        (["--root", "."], "--root is about --data cub200"),
        (["--data", "in-shop", "--root", "nowhere"], "does not exist"),
    ],
)
def test_a_name_without_a_folder_and_a_folder_without_a_name_are_told(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    refused = run_cli(tmp_path, "evaluate", *arguments)
    assert refused.returncode == 2
    assert told in " ".join(refused.stderr.replace("│", " ").split()).replace(" / ", "/")


def test_a_damaged_picture_is_named_and_nothing_is_evaluated_in_part(tmp_path: Path) -> None:
    root = replicas.cub200(tmp_path / "copy")
    (path,) = root.rglob("Bird_103_0001.jpg")
    path.write_bytes(path.read_bytes()[:100])
    asked = ["evaluate", "--data", "cub200", "--root", str(root), "--model", "digits-cnn"]
    data = run_as("eager", tmp_path / "data")
    refused = run_cli(data, *asked, "--samples", "256", VARIANT="eager")
    assert refused.returncode == 1
    assert "1 refused" in refused.stderr
    assert "Bird_103_0001.jpg" in refused.stderr
    path.unlink()
    refused = run_cli(data, *asked, VARIANT="eager")
    assert refused.returncode == 1
    assert f"1 of {4 * EACH} images are missing" in refused.stderr

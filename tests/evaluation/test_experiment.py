"""What is evaluated: one's own gallery, each item asked for without itself; any source, asked by another."""

import hashlib
import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from evaluation.certified_recall import Conditions, QueryResult
from evaluation.experiment import Experiment, run
from evaluation.kept import Kept, OtherExperiment
from evaluation.material import Material
from evaluation.words import verdict
from index import Snapshot
from models.datasets import DATASETS
from service.errors import GalleryEmpty
from service.images import png
from service.settings import Settings
from tests.service.processes import SECRET, Server, copy_gallery, opened, run_as, run_cli
from tests.service.queries import answer, claims, folder_of, noisy_digit

ASKED = Conditions(("cdf", "vote"), 512, 0.001)
OWN = Experiment(Material(None, None, 100), ASKED)
DIGITS = DATASETS["digits"]("query")


def files_of(folder: Path) -> dict[str, str]:
    """What each file of a data folder holds; not the log, the cache, and the locks of readers."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.suffix != ".log" and not path.name.startswith("cache") and not path.name.endswith("-shm")
    }


def row_of(label: str) -> int:
    return DIGITS.labels.index(label)


def filled(tmp_path: Path, files: dict[str, bytes]) -> Settings:
    data = tmp_path / "data"
    data.mkdir()
    added = run_cli(data, "gallery", "add", folder_of(tmp_path / "source", files))
    assert added.returncode == 0, added.stderr
    return Settings(data_dir=data, gallery_samples=256, secret=SecretStr(SECRET))


def test_the_command_measures_the_gallery_of_a_running_server_and_changes_nothing(
    demo_server: Server, tmp_path: Path
) -> None:
    before, asked = files_of(demo_server.data), answer(demo_server.client, noisy_digit(7, 7))
    path = tmp_path / "report.json"
    done = run_cli(
        demo_server.data, "evaluate", "--gallery", "--queries", "12", "--samples", "512", "--json", str(path)
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert (report["data"], report["queries"], report["gallery"]) == ("gallery", 12, 599)
    assert report["recall_at_1"]["smoothed"] >= 0.8
    assert 0 < report["methods"]["cdf"]["certified_recall"]["0.1"] <= 1
    assert (report["alone"], report["refused"], report["losses"]) == (0, {}, None)
    assert report["model_digest"] == demo_server.client.get("/model").json()["digest"]
    assert "12 queries, gallery 599, 512 samples" in done.stdout
    assert "the right label comes first for" in done.stdout
    assert f"cdf: {report['certified_wrong']['cdf']} of 12 answers are wrong and certified" in done.stdout
    assert files_of(demo_server.data) == before
    again = answer(demo_server.client, noisy_digit(7, 7))
    assert claims(again) == claims(asked)


def test_a_gallery_that_nobody_uses_is_left_as_it_is(demo_gallery: Path, tmp_path: Path) -> None:
    data = copy_gallery(demo_gallery, tmp_path / "data")
    before = files_of(data)
    done = run_cli(data, "evaluate", "--gallery", "--queries", "2", "--samples", "256")
    assert done.returncode == 0, done.stderr
    assert files_of(data) == before
    assert {path.name for path in data.iterdir()} == before.keys()


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_gallery_without_an_item_is_the_one_from_which_it_was_deleted(
    demo_settings: Settings, demo_gallery: Path, tmp_path: Path, weight: float
) -> None:
    for row in (0, 250, 599):
        data = copy_gallery(demo_gallery, tmp_path / str(row))
        with opened(demo_settings, data_dir=data, label_weight=weight) as retriever:
            items, vectors = retriever.gallery.plain()
            left = Snapshot(0, items, vectors, retriever.model.dimension, weight).without(row, vectors)
            assert left.digest != retriever.gallery.snapshot().digest
            retriever.gallery.store.delete([items[row].id])
            assert left.digest == retriever.gallery.snapshot().digest


def test_recall_is_what_it_must_be_where_that_is_known(tmp_path: Path) -> None:
    """Two labels of two alike, and one item that has no mate: four of five can be right, and are."""
    files = {f"{label}/{seed}.png": noisy_digit(row_of(label), seed) for label in "01" for seed in range(2)}
    settings = filled(tmp_path, files | {"4/0.png": noisy_digit(row_of("4"), 0)})
    report = run(OWN, settings)
    assert report["recall_at_1"] == {"base": 0.8, "smoothed": 0.8, "vote": 0.8}
    assert (report["queries"], report["gallery"], report["alone"]) == (5, 4, 1)
    radii = {query["id"]: query["radii"]["cdf"] for query in report["details"]}
    assert radii.pop("4/0.png") == 0
    assert len(radii) == 4
    assert min(radii.values()) > 0
    assert "80%" in report["verdict"]
    assert "does not fit" not in report["verdict"]


def test_a_gallery_whose_labels_say_nothing_gets_nothing_right_and_is_told_so(tmp_path: Path) -> None:
    """Each image stands under both labels: without itself, its twin of the other label is nearest."""
    files = {f"{label}/{row}.png": png(DIGITS.pixels[row]) for label in ("a", "b") for row in range(3)}
    settings = filled(tmp_path, files).model_copy(update={"label_weight": 0.0})
    report = run(OWN, settings)
    assert report["recall_at_1"]["base"] == report["recall_at_1"]["smoothed"] == 0
    assert report["methods"]["cdf"]["certified_recall"] == {"0.1": 0.0, "0.25": 0.0, "0.5": 0.0}
    certified = [query["radii"]["cdf"] for query in report["details"]]
    assert certified == [0.0] * 6
    assert report["certified_wrong"]["cdf"] > 0
    assert report["verdict"].startswith("the model does not fit these images")


def test_queries_are_spread_over_the_gallery(demo_settings: Settings) -> None:
    report = run(Experiment(Material(None, None, 3), Conditions(("cdf",), 256, 0.001)), demo_settings)
    with opened(demo_settings) as retriever:
        items, _ = retriever.gallery.plain()
    middle = int(np.rint((len(items) - 1) / 2))
    assert [query["id"] for query in report["details"]] == [items[0].id, items[middle].id, items[-1].id]


def test_without_a_gallery_or_with_one_item_it_says_what_to_do(tmp_path: Path) -> None:
    for settings in (Settings(data_dir=tmp_path), filled(tmp_path, {"0/0.png": noisy_digit(0, 0)})):
        with pytest.raises(GalleryEmpty, match="retrievalguard gallery add"):
            run(OWN, settings)
    refused = run_cli(tmp_path / "none", "evaluate", "--gallery")
    assert refused.returncode == 1
    assert "there is no gallery in" in refused.stderr
    both = run_cli(tmp_path, "evaluate", "--gallery", "--data", "digits")
    assert both.returncode == 2
    assert "leave out --data" in both.stderr


def test_half_of_the_answers_must_be_right() -> None:
    assert "does not fit" in verdict(0.49)
    assert "does not fit" not in verdict(0.5)


def pictures(folder: Path, part: range) -> str:
    """Digits as a folder per label."""
    return folder_of(folder, {f"{DIGITS.labels[row]}/{row}.png": png(DIGITS.pixels[row]) for row in part})


def test_a_folder_asks_another_with_every_sigma_and_one_is_recommended(tmp_path: Path) -> None:
    gallery, asking = pictures(tmp_path / "gallery", range(40)), pictures(tmp_path / "asking", range(60, 68))
    folder_of(Path(asking), {"1/torn.png": png(DIGITS.pixels[0])[:60], "new/alone.png": noisy_digit(9, 9)})
    report, table, plot = (tmp_path / name for name in ("report.json", "table.md", "plot.png"))
    done = run_cli(
        run_as("eager", tmp_path / "data"), "evaluate", "--data", gallery, "--query-data", asking,
        "--samples", "512", "--method", "cdf", "--method", "vote", "--sigma", "0.25", "--sigma", "2",
        "--radius", "0.1",
        "--json", str(report), "--table", str(table), "--plot", str(plot), VARIANT="eager",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = json.loads(report.read_text())
    assert [one["sigma"] for one in written["reports"]] == [0.25, 2.0]
    for one in written["reports"]:
        assert (one["queries"], one["gallery"], one["alone"]) == (9, 40, 1)
        assert one["refused"].keys() == {"1/torn.png"}
        assert one["asking"] == asking
    # Noise of 2 drowns an 8 x 8 digit.
    few, many = (one["methods"]["cdf"]["certified_recall"]["0.1"] for one in written["reports"])
    assert few > many
    assert f"at radius 0.1 the largest certified Recall@1 is {few:.3f}, with sigma 0.25" in done.stdout
    rows = [line.split("|")[1:-1] for line in table.read_text().splitlines() if line.startswith("| ")]
    assert [(row[0].strip(), row[1].strip()) for row in rows[1:]] == [
        ("cdf", "0.25"), ("cdf", "2"), ("vote", "0.25"), ("vote", "2"),
    ]  # fmt: skip
    at = [cell.strip() for cell in rows[0]].index("0.1")
    assert float(rows[1][at]) == pytest.approx(few, abs=5e-4)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_what_is_kept_is_taken_and_that_of_another_experiment_is_not(tmp_path: Path) -> None:
    path, results = tmp_path / "sigma" / "results.jsonl", [kept_result(f"query {n}", n / 3) for n in range(3)]
    path.parent.mkdir()
    with closing(Kept(path, "one", QueryResult)) as kept:
        for result in results:
            kept.add(result)
    with path.open("a") as file:
        file.write(path.read_text().splitlines()[-1][:-7])  # as a kill leaves it
    with closing(Kept(path, "one", QueryResult)) as kept:
        assert [kept[result.id] for result in results] == results
        assert kept["another"] is None
        kept.add(kept_result("another", 0.1))
    with closing(Kept(path, "one", QueryResult)) as kept:
        assert kept["another"] == kept_result("another", 0.1)
    with pytest.raises(OtherExperiment, match=f"delete {tmp_path}"):
        Kept(path, "two", QueryResult)


def kept_result(id_: str, radius: float) -> QueryResult:
    return QueryResult(id_, "1", {"base": True, "embedding": True, "cdf": True}, {"cdf": radius}, {"cdf": 9})


def test_data_that_is_nowhere_is_refused_with_what_there_is(tmp_path: Path) -> None:
    refused = run_cli(tmp_path, "evaluate", "--data", "no-such-thing")
    assert refused.returncode == 2
    assert "no-such-thing" in refused.stderr
    assert "emoji" in refused.stderr


def test_a_gallery_with_an_entry_that_is_refused_is_not_evaluated_in_part(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "source", {"0/a.png": noisy_digit(0, 0), "0/b.png": noisy_digit(0, 1)[:50]})
    refused = run_cli(run_as("eager", tmp_path / "data"), "evaluate", "--data", str(folder), VARIANT="eager")
    assert refused.returncode == 1
    assert "1 refused" in refused.stderr
    assert "b.png" in refused.stderr

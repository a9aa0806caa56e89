"""What a model card says of recall is what was measured, with these weights and this σ, or nothing."""

import json
import shutil
from pathlib import Path

import pytest

from evaluation.card import main
from models import Manifest, ModelError, Recall
from models.recall import FILE
from tests.models import folders

REPORTS = {
    "digits-cnn": "docs/evaluation.json",
    "emoji-small": "docs/evaluation-emoji.json",
}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", REPORTS)
def test_what_ships_is_what_the_documents_report(name: str) -> None:
    folder, report = folders.SHIPPED.parent / name, json.loads((ROOT / REPORTS[name]).read_text())
    manifest = Manifest.read(folder)
    found = Recall.read(folder, manifest, manifest.sigma)
    assert found is not None
    assert (found.recall, found.queries) == (report["recall_at_1"]["smoothed"], report["queries"])
    shares = {f"{one.radius:g}": one.share for one in found.certified}
    assert shares == report["methods"]["cdf"]["certified_recall"]
    assert Recall.read(folder, manifest, 2 * manifest.sigma) is None


def test_figures_of_other_weights_are_not_told_and_damaged_ones_are_a_problem(tmp_path: Path) -> None:
    folder = shutil.copytree(folders.SHIPPED, tmp_path / "model")
    manifest = Manifest.read(folder)
    other = manifest.weights.model_copy(update={"sha256": "0" * 64})
    assert Recall.read(folder, manifest.model_copy(update={"weights": other}), manifest.sigma) is None
    (folder / FILE).write_text("{}")
    with pytest.raises(ModelError, match=r"recall\.json is no measurement of a model: .*; delete it"):
        Recall.read(folder, manifest, manifest.sigma)
    (folder / FILE).unlink()
    assert Recall.read(folder, manifest, manifest.sigma) is None
    main(ROOT / REPORTS["digits-cnn"], str(folder))
    assert (folder / FILE).read_bytes() == (folders.SHIPPED / FILE).read_bytes()
    with pytest.raises(SystemExit, match="is about the model emoji-small, not digits-cnn"):
        main(ROOT / REPORTS["emoji-small"], str(folder))

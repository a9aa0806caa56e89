"""`model import` and `model info`, and a backbone that is served."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import Manifest
from models.passes.pictures import pictures
from tests.models import backbones
from tests.service.processes import run_cli, serving


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return backbones.made("vit", tmp_path_factory.mktemp("backbone") / "tiny vit", backbones.CROPPED)


@pytest.fixture(scope="module")
def model(encoder: Path) -> Path:
    """The model folder that the command wrote."""
    output = encoder.with_name("model")
    imported = run_cli(
        encoder.parent, "model", "import", str(encoder), "--output", str(output), "--sigma", "0.1"
    )
    assert imported.returncode == 0, imported.stderr
    facts = dict(line.split(maxsplit=1) for line in imported.stdout.splitlines())
    assert facts["kind"] == "transformers vit, pooled by first"
    assert facts["input"].startswith("3 x 32 x 32; a picture is resized to a shortest edge of 36 (bicubic)")
    assert (facts["name"], facts["dimension"], facts["sigma"]) == ("tiny-vit", "32", "0.1")
    assert (facts["space"], facts["labels"]) == ("of norm 1", "2")
    assert facts["digest"] == Manifest.read(output).digest()
    assert f"RETRIEVALGUARD_MODEL={output}" in imported.stderr
    return output


def picture(number: int) -> bytes:
    """Of another size than the input."""
    pixels = np.rint(255 * pictures((3, 50, 70), 6)[number].transpose(1, 2, 0)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_backbone_is_imported_served_and_asked(model: Path, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / "pictures" / f"label-{number % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / f"label-{number % 3}" / f"{number}.png").write_bytes(picture(number))
    settings = {"MODEL": model, "VARIANT": "openvino-int8"}

    added = run_cli(tmp_path / "data", "gallery", "add", str(tmp_path / "pictures"), **settings)
    assert added.returncode == 0, added.stderr

    with serving(tmp_path / "data", **settings) as server:
        answer = server.client.post(
            "/retrieve?max_samples=4096", content=picture(4), headers={"content-type": "image/png"}
        ).json()
        described = server.client.get("/model").json()

    assert answer["neighbor"]["id"] == "label-1/4.png"
    assert answer["certificate"]["status"] == "certified"
    assert answer["certificate"]["radius_unit"] == "l2 over [0,1] pixels of the 3x32x32 model input"
    assert described["forward_pass"]["variant"] == "openvino-int8"
    assert described["preprocessing"] == {
        "size": None,
        "shortest_edge": 36,
        "interpolation": "bicubic",
    }
    assert "Traceback" not in server.log.read_text()
    assert "loss_type" not in server.log.read_text()


def test_info_measures_what_a_query_will_cost(model: Path, tmp_path: Path) -> None:
    told = run_cli(tmp_path, "model", "info", str(model), VARIANT="eager")

    assert told.returncode == 0, told.stderr
    assert "run as       eager: " in told.stdout
    assert "10,000 samples: " in told.stdout
    assert Manifest.read(model).digest() in told.stdout


def test_info_without_a_folder_is_about_the_model_of_the_settings(tmp_path: Path) -> None:
    told = run_cli(tmp_path, "model", "info", VARIANT="eager")
    assert "name         digits-cnn" in told.stdout
    assert "space        non-negative and of norm 1" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("import", "no-such-folder"), "no-such-folder is no folder"),
        (("import", "."), "config.json cannot be read"),
        (("info", "no-such-model"), "no-such-model is neither a model that ships"),
    ],
)
def test_a_bad_folder_is_one_line_and_exits_1(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    refused = run_cli(tmp_path, "model", *arguments)

    assert refused.returncode == 1
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list((tmp_path / "here").iterdir()) == []


def test_a_folder_that_holds_something_is_not_written_into(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    refused = run_cli(tmp_path, "model", "import", str(encoder), "--output", str(tmp_path))
    assert refused.returncode == 1
    assert "is not empty: name a new folder" in refused.stderr

"""Pictures to train on: read as the service reads them, or told with the reason."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import Preprocessing
from models.datasets import digits
from service.gallery.findings import Findings
from service.gallery.sources import sources
from service.gallery.training_set import PictureLimits, as_findings, look, training_set
from service.images import decode_image, png

LIMITS = PictureLimits(max_pixels=10_000, min_side=8)
CROPPED = Preprocessing(shortest_edge=20, interpolation="bicubic")


def pixels(height: int, width: int, colour: bool = True) -> NDArray[np.uint8]:
    drawn = np.random.default_rng(height).integers(0, 255, (3, height, width), dtype=np.uint8)
    return drawn if colour else drawn[:1].repeat(3, axis=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "cat/1.png": png(pixels(30, 40)),
        "cat/2.png": png(pixels(20, 20)),
        "dog/1.png": png(pixels(60, 24)),
        "dog/2.png": png(pixels(30, 40))[:200],
        "dog/3.png": png(pixels(200, 200)),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("preprocessing", [None, CROPPED], ids=["stretched", "cropped"])
def test_pictures_become_what_the_service_makes_of_them(
    preprocessing: Preprocessing | None, folder: Path
) -> None:
    found, refused = training_set(sources(str(folder)), (3, 16, 16), preprocessing, LIMITS, about="pets")

    assert (found.ids, found.labels) == (("cat/1.png", "cat/2.png", "dog/1.png"), ("cat", "cat", "dog"))
    assert found.about == "pets"
    for image, id_ in zip(found.tensors, found.ids, strict=True):
        served = decode_image(
            (folder / id_).read_bytes(), (3, 16, 16),
            max_pixels=10_000, min_side=8, preprocessing=preprocessing,
        )  # fmt: skip
        assert np.abs(image - served).max() <= 0.5 / 255 + 1e-6
    assert found.original == (30, 24)
    assert [Path(one.place).name for one in refused] == ["2.png", "3.png"]
    assert "200 x 200 pixels are over the limit of 10000" in refused[1].reason


def test_a_file_that_is_gone_is_told(folder: Path) -> None:
    found = sources(str(folder))
    (folder / "cat" / "1.png").unlink()

    data, refused = training_set(found, (3, 16, 16), None, LIMITS, about="pets")

    assert "cat/1.png" not in data.ids
    assert any(one.place.endswith("cat/1.png") and "cannot be read" in one.reason for one in refused)


def test_a_look_tells_size_and_colours(folder: Path) -> None:
    seen = look(sources(str(folder)), LIMITS)
    assert (seen.size, seen.colourful) == ((30, 24), True)

    grey = folder / "grey" / "cat"
    grey.mkdir(parents=True)
    (grey / "1.png").write_bytes(png(pixels(12, 10, colour=False)))
    assert look(sources(str(grey.parent)), LIMITS) == type(seen)((12, 10), colourful=False)


def test_of_nothing_that_can_be_read_nothing_is_kept(folder: Path) -> None:
    bad = Findings(tuple(one for one in sources(str(folder)).sources if one.item.id == "dog/2.png"))
    look(bad, LIMITS)
    data, refused = training_set(bad, (3, 16, 16), None, LIMITS, about="pets")
    assert (len(data), len(refused)) == (0, 1)


def test_a_data_set_reads_as_its_pictures_are(tmp_path: Path) -> None:
    data = digits("train").take(range(5))
    again, refused = training_set(as_findings(data), (1, 8, 8), None, LIMITS, about="digits")
    assert not refused
    assert np.array_equal(again.pixels, data.pixels)
    assert (again.ids, again.labels) == (data.ids, data.labels)

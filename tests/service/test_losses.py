"""A model answers anything: what images lose on their way to it is counted, told in sum, and logged once."""

import logging
from pathlib import Path

import numpy as np
import pytest
from fastapi import Request
from PIL import Image

from models import Domain, Manifest
from service.file_radius import FilePixels
from service.http.routes.model import model
from service.images import Picture
from service.losses import Losses
from service.resizing import Axis
from service.settings import Settings
from tests.models import folders
from tests.service.processes import opened, run_cli
from tests.service.queries import digit, folder_of, saved

WITHOUT_KEY = Request({"type": "http"})
MANIFEST = Manifest.read(folders.SHIPPED)


def picture(width: int, height: int, colourful: bool) -> Picture:
    sides = (Axis(side, 8, 0, side, Image.Resampling.BILINEAR) for side in (width, height))
    pixels = FilePixels("PNG", "RGB", False, False, *sides)
    return Picture(np.zeros((1, 8, 8), np.float32), (width, height), colourful, pixels)


def photo(seed: int, colourful: bool = True) -> bytes:
    """640 x 480 pixels of large spots."""
    spots = np.random.default_rng(seed).integers(0, 256, (6, 8, 3 if colourful else 1), np.uint8)
    image = Image.fromarray(spots if colourful else spots[..., 0]).resize((640, 480))
    return saved(image, "JPEG")


def test_what_is_lost_is_told_in_one_sentence() -> None:
    reasons: list[str] = []
    losses = Losses(MANIFEST, 10, reasons.append)
    assert not losses.add(picture(8, 8, False))
    assert not losses.add(picture(79, 79, False))
    assert losses.statement is None
    assert losses.add(picture(640, 480, True))
    assert not losses.add(picture(480, 480, False))
    assert not losses.add(picture(20, 20, True))
    assert losses.statement == (
        "2 of 5 images lose their colour, 2 of 5 images are shrunk 60 times or more:"
        " the model digits-cnn was trained on 8 x 8 grey handwritten digits"
    )
    assert sorted(reasons) == ["colour", "colour", "shrunk", "shrunk"]


def test_a_model_of_colours_loses_none_and_its_own_size_counts() -> None:
    domain = Domain(images="flowers", colour="RGB", size=(400, 300))
    losses = Losses(MANIFEST.model_copy(update={"domain": domain}), 10)
    assert not losses.add(picture(2999, 4000, True))
    assert losses.statement is None
    assert losses.add(picture(3000, 4000, True))
    assert losses.statement == (
        "1 of 2 images are shrunk 10 times or more: the model digits-cnn was trained on 400 x 300 RGB flowers"
    )


def test_adding_photos_to_the_gallery_of_digits_says_so_in_one_line(tmp_path: Path) -> None:
    photos = {f"{seed % 2}/{seed}.jpg": photo(seed, colourful=seed > 0) for seed in range(4)}
    for name in ("photos", "digits"):
        (tmp_path / name).mkdir()
    added = run_cli(
        tmp_path / "photos", "gallery", "add", folder_of(tmp_path / "from", photos | {"0/d.png": digit(0)})
    )
    assert added.returncode == 0, added.stderr
    warned = [line for line in added.stderr.splitlines() if "trained on" in line]
    assert len(warned) == 1
    assert "3 of 5 images lose their colour, 4 of 5 images are shrunk 69 times or more" in warned[0]
    assert "8 x 8 grey handwritten digits" in warned[0]

    quiet = run_cli(tmp_path / "digits", "gallery", "add", folder_of(tmp_path / "fit", {"0/d.png": digit(0)}))
    assert quiet.returncode == 0
    assert "trained on" not in quiet.stderr


def test_queries_are_counted_logged_once_and_told_by_the_model(
    demo_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(demo_settings) as retriever:

        def counted(reason: str) -> float | None:
            return retriever.metrics.registry.get_sample_value(
                "retrievalguard_images_outside_domain_total", {"purpose": "query", "reason": reason}
            )

        with caplog.at_level(logging.WARNING, "retrievalguard"):
            retriever.retrieve(digit(0))
            assert model(WITHOUT_KEY, retriever).warnings == []
            assert not caplog.records
            for seed in range(3):
                retriever.retrieve(photo(seed))
        (warning,) = model(WITHOUT_KEY, retriever).warnings
        assert warning == (
            "query: 3 of 4 images lose their colour, 3 of 4 images are shrunk 69 times or more:"
            " the model digits-cnn was trained on 8 x 8 grey handwritten digits"
        )
        assert counted("colour") == counted("shrunk") == 3
        assert len([record for record in caplog.records if "trained on" in record.getMessage()]) == 1

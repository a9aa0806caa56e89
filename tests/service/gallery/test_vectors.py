"""Gallery vectors that ship with a model, from the machine that makes them to the one that takes them."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from models import PRETRAINED
from models.shipped import FILE
from service.gallery.sources import sources
from service.settings import Settings
from tests.service.processes import opened, run_cli
from tests.service.queries import digit, folder_of


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {f"3/{row}.png": digit(row) for row in range(4)}
    return folder_of(tmp_path_factory.mktemp("photos"), files)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A model folder with the vectors of `photos`, each of 256 samples."""
    folder = tmp_path_factory.mktemp("model")
    for file in (PRETRAINED / "digits-cnn").iterdir():
        shutil.copy(file, folder)
    data = tmp_path_factory.mktemp("made")
    assert run_cli(data, "gallery", "add", str(photos)).returncode == 0
    written = run_cli(data, "gallery", "vectors", str(folder / FILE))
    assert written.returncode == 0, written.stderr
    assert "4 vectors of 256 samples each" in written.stderr
    return folder


def test_they_spare_the_embedding_and_are_named_in_the_key(
    model: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path, model=str(model), redis_url=None)
    with opened(settings) as retriever:
        assert retriever.vectors.statement is None
        retriever.intake.add(sources(str(photos)))
        assert retriever.vectors.statement == "4 vectors shipped with the model, 0 embedded here"
        retriever.intake.add(sources(str(folder_of(tmp_path / "more", {"5/a.png": digit(9)}))))
        assert retriever.vectors.statement == "4 vectors shipped with the model, 1 embedded here"
        items, vectors = retriever.gallery.plain()
        shipped = retriever.vectors.shipped
        assert shipped is not None
        for item, vector in zip(items, vectors, strict=True):
            image = retriever.decode(retriever.gallery.store.image(item.id)[0])
            found = shipped.of(image)
            assert (found is None) == (item.label == "5")
            expected = retriever.smoothed.mean(image, retriever.vectors.samples) if found is None else found
            assert np.array_equal(expected, vector)
        assert retriever.vectors.key.endswith(f"shipped {shipped.digest}")
    # Whoever asks for a number of samples gets vectors of that many: others than those that are stored.
    with opened(settings, gallery_samples=128) as retriever, caplog.at_level("INFO", "retrievalguard"):
        assert "shipped" not in retriever.vectors.key
        assert retriever.vectors.statement is None
        embedded = retriever.gallery.plain()[1]
    assert not any(np.array_equal(ours, theirs) for ours, theirs in zip(embedded, vectors, strict=True))


def test_items_are_embedded_together_as_one_by_one(demo_settings: Settings, tmp_path: Path) -> None:
    files = {f"{row % 3}/{row}.png": digit(row) for row in range(12)}
    with opened(demo_settings, data_dir=tmp_path) as retriever:
        retriever.gallery.store.delete(retriever.gallery.store.ids())
        found = sources(str(folder_of(tmp_path / "source", files)))
        retriever.intake.add(found, batch=5)
        items, vectors = retriever.gallery.plain()
        assert [item.id for item in items] == [source.item.id for source in found.sources]
        for source, vector in zip(found.sources, vectors, strict=True):
            alone = retriever.smoothed.mean(retriever.decode(source.read()), retriever.vectors.samples)
            assert np.array_equal(alone, vector)
        chunks = retriever.smoothed.chunks(retriever.vectors.samples)
        engine, calibration = retriever.smoothed.engine, retriever.smoothed.calibration
        assert retriever.vectors.at_a_time * chunks >= engine.workers * calibration.batch


def test_another_sigma_does_without_them_and_says_so(
    model: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path, model=str(model), sigma=0.3, redis_url=None)
    with caplog.at_level("INFO", "retrievalguard"), opened(settings) as retriever:
        assert retriever.vectors.shipped is None
    assert "not used: they are for sigma 0.25" in caplog.text


def test_the_commands_say_which_they_took(model: Path, photos: Path, tmp_path: Path) -> None:
    added = run_cli(tmp_path, "gallery", "add", str(photos), MODEL=model, GALLERY_SAMPLES=None)
    assert added.returncode == 0, added.stderr
    assert "4 vectors shipped with the model, 0 embedded here" in added.stderr
    again = run_cli(tmp_path, "gallery", "vectors", str(tmp_path / FILE), MODEL=model, GALLERY_SAMPLES=None)
    assert again.returncode == 1
    assert "set RETRIEVALGUARD_GALLERY_SAMPLES" in again.stderr

"""A model is what its manifest says, or is refused; its embeddings lie where certificates assume them."""

import hashlib
import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from certify import EmbeddingSpace
from models import EmbeddingModel, ModelError
from models.datasets import digits
from models.manifest import ConvolutionalArchitecture, Normalization
from models.model import build_network, save_weights
from models.networks.convolutional import ConvolutionalEmbedding
from tests.models import folders
from tests.models.folders import model_of


def test_the_shipped_model_is_the_bytes_that_its_manifest_names(shipped: EmbeddingModel) -> None:
    content = (folders.SHIPPED / shipped.manifest.weights.file).read_bytes()

    assert shipped.manifest.weights.sha256 == hashlib.sha256(content).hexdigest()


def test_the_shipped_model_is_small() -> None:
    assert sum(path.stat().st_size for path in folders.SHIPPED.iterdir()) < 2_000_000


def test_the_shipped_model_finds_the_label_of_nearly_every_query(shipped: EmbeddingModel) -> None:
    gallery, query = digits("gallery"), digits("query")
    references, embeddings = shipped(gallery.tensors), shipped(query.tensors)
    nearest = np.linalg.norm(embeddings[:, None] - references[None], axis=2).argmin(axis=1)

    # 1-nearest neighbour of raw pixels finds 97 %: an untrained or mangled network is far below.
    assert np.mean(np.array(gallery.labels)[nearest] == query.labels) > 0.95


def test_a_model_is_the_same_by_name_and_by_path(shipped: EmbeddingModel, tmp_path: Path) -> None:
    images = digits("query").tensors[:16]

    by_path = EmbeddingModel.load(folders.copy(tmp_path / "elsewhere"))

    assert by_path.manifest == shipped.manifest
    assert by_path.manifest.digest() == shipped.manifest.digest()
    assert np.array_equal(by_path(images), shipped(images))


def test_a_model_says_what_goes_in_and_what_comes_out(shipped: EmbeddingModel) -> None:
    embeddings = shipped(np.zeros((3, *shipped.input_shape), np.float32))

    assert embeddings.shape == (3, shipped.dimension)
    assert embeddings.dtype == np.float32


@pytest.mark.parametrize("where", ["length of the header", "header", "first number", "last number"])
def test_a_changed_weights_file_is_refused(where: str, tmp_path: Path) -> None:
    folder = folders.copy(tmp_path / "model")
    content = bytearray((folder / folders.WEIGHTS).read_bytes())
    header = int.from_bytes(content[:8], "little")
    at = {"length of the header": 0, "header": 9, "first number": 8 + header, "last number": -1}[where]
    content[at] ^= 1
    (folder / folders.WEIGHTS).write_bytes(content)

    with pytest.raises(ModelError, match=r"changed or damaged; restore it, or train again") as error:
        EmbeddingModel.load(folder)

    for part in (folders.WEIGHTS, hashlib.sha256(content).hexdigest(), folders.read()["weights"]["sha256"]):
        assert part in str(error.value)


class _Dropper:
    """Unpickling it creates the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return shutil.copyfile, (__file__, str(self.path))


def _torch_zip(payload: object) -> bytes:
    buffer = io.BytesIO()
    torch.save({"head.bias": payload}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("dump", [_torch_zip, pickle.dumps], ids=["torch.save", "pickle"])
def test_a_pickle_under_the_name_of_safetensors_is_refused_and_not_run(
    dump: Callable[[object], bytes], tmp_path: Path
) -> None:
    folder, dropped = folders.copy(tmp_path / "model"), tmp_path / "dropped"
    content = dump(_Dropper(dropped))
    folders.replace_weights(folder, content)

    with pytest.raises(ModelError, match=r"is not a safetensors file .* convert them") as error:
        EmbeddingModel.load(folder)

    assert str(folder / folders.WEIGHTS) in str(error.value)
    assert not dropped.exists()
    # The control: read as a pickle, the very same bytes do create the file.
    if dump is _torch_zip:
        torch.load(io.BytesIO(content), weights_only=False)
    else:
        pickle.loads(content)
    assert dropped.exists()


@pytest.mark.parametrize("size", [0, 7, 100, 100_000])
def test_weights_that_end_early_are_refused(size: int, tmp_path: Path) -> None:
    folder = folders.copy(tmp_path / "model")
    folders.replace_weights(folder, (folder / folders.WEIGHTS).read_bytes()[:size])

    with pytest.raises(ModelError, match=r"weights\.safetensors is not a safetensors file"):
        EmbeddingModel.load(folder)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = folders.copy(tmp_path / "model")
    manifest = folders.read(folder)
    manifest["architecture"]["width"] = 32
    folders.write(folder, manifest)

    with pytest.raises(ModelError, match="does not fit the architecture of its manifest") as error:
        EmbeddingModel.load(folder)

    assert str(folder / folders.WEIGHTS) in str(error.value)
    assert "head.weight" in str(error.value)


@pytest.mark.parametrize("change", ["one tensor more", "one tensor less"])
def test_weights_with_other_tensors_are_refused(change: str, tmp_path: Path) -> None:
    folder = folders.copy(tmp_path / "model")
    tensors = load_safetensors((folder / folders.WEIGHTS).read_bytes())
    if change == "one tensor more":
        tensors["stowaway"] = torch.zeros(1)
    else:
        del tensors["head.bias"]
    folders.replace_weights(folder, save_safetensors(tensors))

    with pytest.raises(ModelError, match=r"stowaway|head\.bias"):
        EmbeddingModel.load(folder)


def test_missing_weights_are_refused_by_name(tmp_path: Path) -> None:
    folder = folders.copy(tmp_path / "model")
    (folder / folders.WEIGHTS).unlink()

    with pytest.raises(ModelError, match="cannot be read: No such file") as error:
        EmbeddingModel.load(folder)

    assert str(folder / folders.WEIGHTS) in str(error.value)


def test_a_weights_file_beside_the_folder_is_not_read(tmp_path: Path) -> None:
    folder = folders.copy(tmp_path / "model")
    (folder / folders.WEIGHTS).rename(tmp_path / folders.WEIGHTS)
    manifest = folders.read(folder)
    manifest["weights"]["file"] = f"../{folders.WEIGHTS}"
    folders.write(folder, manifest)

    with pytest.raises(ModelError, match=r"weights\.file: "):
        EmbeddingModel.load(folder)


@pytest.mark.parametrize("model", ["no-such-model", "."])
def test_a_folder_that_is_no_model_is_told_what_it_needs(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelError, match=r"is not a model folder: it needs manifest\.json"):
        EmbeddingModel.load(model)


# --- the set in which certificates assume every embedding


def _extremes(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    rng = np.random.default_rng(3)
    images = [np.zeros(shape), np.ones(shape), -np.ones(shape), np.full(shape, 1e3), np.full(shape, -1e3)]
    images += [1e3 * rng.standard_normal(shape) for _ in range(200)]
    images += [rng.standard_normal(shape) for _ in range(200)]
    return np.array(images, np.float32)


def _assert_on_the_unit_sphere_and_nonnegative(embeddings: NDArray[np.float32]) -> None:
    space = EmbeddingSpace.normalized(embeddings.shape[1], nonnegative=True)
    assert space.holds(embeddings)
    assert embeddings.min() >= 0
    assert np.abs(np.linalg.norm(embeddings.astype(np.float64), axis=1) - 1).max() < space.norm_bound - 1


def test_embeddings_have_norm_1_and_no_negative_coordinate(shipped: EmbeddingModel) -> None:
    _assert_on_the_unit_sphere_and_nonnegative(shipped(_extremes(shipped.input_shape)))
    _assert_on_the_unit_sphere_and_nonnegative(shipped(digits("query").tensors))


@given(scale=st.floats(1e-3, 1e4), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_embeddings_of_any_noise_have_norm_1(
    shipped: EmbeddingModel, scale: float, shift: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).standard_normal((8, *shipped.input_shape))

    _assert_on_the_unit_sphere_and_nonnegative(shipped((shift + scale * noise).astype(np.float32)))


def test_the_set_holds_by_construction_not_by_training(untrained: ConvolutionalEmbedding) -> None:
    model = model_of(untrained)

    _assert_on_the_unit_sphere_and_nonnegative(model(_extremes((1, 8, 8))))


def test_a_network_whose_relu_silences_all_still_has_norm_1(untrained: ConvolutionalEmbedding) -> None:
    torch.nn.init.constant_(untrained.head.bias, -1e6)
    embeddings = model_of(untrained)(digits("query").tensors[:4])

    _assert_on_the_unit_sphere_and_nonnegative(embeddings)
    assert np.allclose(embeddings, 1 / np.sqrt(16))


def test_an_embedding_does_not_depend_on_its_batch(untrained: ConvolutionalEmbedding) -> None:
    model = model_of(untrained.train())
    images = digits("query").tensors[:8]

    together = model(images)

    assert np.allclose(together, np.concatenate([model(image[None]) for image in images]), atol=1e-6)
    assert np.array_equal(together, model(images)), "a forward pass changed the batch statistics"


def test_saved_weights_are_what_is_loaded(untrained: ConvolutionalEmbedding, tmp_path: Path) -> None:
    sha256 = save_weights(untrained, tmp_path / folders.WEIGHTS)
    manifest = folders.read() | {"normalization": {"mean": 0.3, "std": 0.4}}
    manifest["architecture"] |= {"width": 4, "dimension": 16}
    manifest["weights"]["sha256"] = sha256
    folders.write(tmp_path, manifest)
    images = _extremes((1, 8, 8))

    loaded = EmbeddingModel.load(tmp_path)

    assert sha256 == hashlib.sha256((tmp_path / folders.WEIGHTS).read_bytes()).hexdigest()
    assert np.array_equal(loaded(images), model_of(untrained)(images))


def test_a_network_that_does_not_fit_into_memory_is_refused_in_a_line() -> None:
    architecture = ConvolutionalArchitecture(
        kind="convolutional", width=256, dimension=4096, nonnegative=True
    )  # a head of four terabytes
    with pytest.raises(ModelError, match="cannot be made here") as error:
        build_network(architecture, (3, 2048, 2048), Normalization(mean=0.5, std=0.5))
    assert "\n" not in str(error.value)

"""A folder of transformers becomes a model folder that stands alone, or is refused with what to do."""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional

from certify import EmbeddingSpace
from models import EmbeddingModel, Manifest, ModelError, encoder_config
from models.encoder_config import FAMILIES
from models.encoders import import_encoder
from models.networks.embedding import OrthantEmbedding, SphereEmbedding
from tests.models import backbones

IMAGES = np.random.default_rng(0).random((3, 3, backbones.SIDE, backbones.SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture(scope="module", params=list(backbones.ENCODERS))
def kind(request: pytest.FixtureRequest, folder: Path) -> str:
    found: str = request.param
    import_encoder(backbones.made(found, folder / found), folder / f"{found}-model", sigma=0.5)
    return found


def by_hand(kind: str, path: Path) -> Tensor:
    """What transformers gives for the images, pooled as that family means it, of length 1."""
    mean, std = (torch.tensor(backbones.SCALED[name])[:, None, None] for name in ("image_mean", "image_std"))
    standard = (torch.from_numpy(IMAGES) - mean) / std
    families = {
        "resnet": transformers.ResNetModel,
        "vit": transformers.ViTModel,
        "dinov2": transformers.Dinov2Model,
        "siglip": transformers.SiglipVisionModel,
        "clip": transformers.CLIPVisionModel,
    }
    model = families[kind].from_pretrained(path, local_files_only=True).eval()
    with torch.inference_mode():
        found = model(pixel_values=standard)
    vectors = found.last_hidden_state[:, 0] if kind in ("vit", "dinov2") else found.pooler_output.flatten(1)
    return functional.normalize(vectors, dim=1)


def test_an_embedding_is_the_pooled_output_of_transformers_on_normalized_pixels(
    kind: str, folder: Path
) -> None:
    model = EmbeddingModel.load(folder / f"{kind}-model")

    embeddings = model(IMAGES)

    assert embeddings.shape == (3, model.dimension)
    assert np.abs(embeddings - by_hand(kind, folder / kind).numpy()).max() < 1e-3  # the floor of the orthant
    assert np.ptp(embeddings, axis=0).max() > 1e-3


def test_the_space_is_what_the_last_layers_prove(kind: str, folder: Path) -> None:
    model = EmbeddingModel.load(folder / f"{kind}-model")
    extremes = np.concatenate([IMAGES, 1000 * IMAGES, -1000 * IMAGES, np.zeros_like(IMAGES)])

    assert isinstance(model.network, OrthantEmbedding if kind == "resnet" else SphereEmbedding)
    assert model.nonnegative == (kind == "resnet")
    assert type(model.network).forward in (OrthantEmbedding.forward, SphereEmbedding.forward)
    space = EmbeddingSpace.normalized(model.dimension, nonnegative=model.nonnegative)
    assert space.holds(model(extremes))


def test_what_decides_the_embedding_is_copied_and_where_it_came_from_is_named(
    kind: str, folder: Path
) -> None:
    manifest = Manifest.read(folder / f"{kind}-model")

    assert {path.name for path in (folder / f"{kind}-model").iterdir()} == {
        "manifest.json",
        "weights.safetensors",
    }
    assert (manifest.name, manifest.sigma, manifest.input_shape) == (kind, 0.5, IMAGES.shape[1:])
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        content = (folder / kind / name).read_bytes()
        assert manifest.training["files"][name] == hashlib.sha256(content).hexdigest()
    assert manifest.training.get("labels") == (["cat", "dog"] if kind == "vit" else None)
    assert manifest.preprocessing is not None
    assert manifest.preprocessing.size == (backbones.SIDE, backbones.SIDE)


def test_importing_twice_gives_the_same_model(tmp_path: Path) -> None:
    path = backbones.made("vit", tmp_path / "vit")
    one, two = (import_encoder(path, tmp_path / name, sigma=0.25, dimension=8) for name in "ab")

    assert one.manifest.digest() == two.manifest.digest()
    assert np.array_equal(one(IMAGES), two(IMAGES))
    assert one.dimension == 8


def test_a_projection_keeps_directions_about(tmp_path: Path) -> None:
    path = backbones.made("vit", tmp_path / "vit")
    whole = import_encoder(path, tmp_path / "whole", sigma=0.25)
    turned = import_encoder(path, tmp_path / "turned", sigma=0.25, dimension=whole.dimension)

    assert np.allclose(turned(IMAGES) @ turned(IMAGES).T, whole(IMAGES) @ whole(IMAGES).T, atol=1e-5)


def test_a_pooler_that_the_weights_lack_is_not_drawn_at_random(tmp_path: Path) -> None:
    config = transformers.BeitConfig(
        image_size=32, patch_size=8, vocab_size=4, use_mean_pooling=True, **backbones.TINY
    )
    path = backbones.write(tmp_path / "beit", transformers.BeitModel(config, add_pooling_layer=False))

    manifest = import_encoder(path, tmp_path / "model", sigma=0.25).manifest

    assert manifest.architecture.kind == "transformers"
    assert manifest.architecture.pooling == "first"


def test_nothing_is_downloaded_and_nothing_global_changes(tmp_path: Path) -> None:
    path = backbones.made("vit", tmp_path / "vit")
    script = f"""
import os, socket, logging
def refuse(*arguments, **named):
    raise SystemExit(f"a connection was opened: {{arguments}}")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import torch, transformers
from pathlib import Path
state = lambda: (
    dict(os.environ), logging.getLogger().handlers[:], torch.get_rng_state().tolist(),
    torch.get_num_threads(), torch.get_default_dtype(), transformers.utils.logging.get_verbosity(),
    transformers.utils.logging.is_progress_bar_enabled(),
)
before = state()
from models.encoders import import_encoder
model = import_encoder(Path({str(path)!r}), Path({str(tmp_path / "model")!r}), sigma=.25, dimension=8)
assert state() == before
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Loading weights" not in done.stderr


def _change(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | values))

    return change


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:1000])


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _holding(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(text)

    return change


CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (_without(CONFIG), r"config\.json cannot be read \(No such file"),
    (_without(PREPROCESSOR), r"preprocessor_config\.json cannot be read"),
    (_without("model.safetensors"), r"has no model\.safetensors: load"),
    (_pickled, r"has no model\.safetensors: only pytorch_model\.bin, which can run any code"),
    (_cut, r"config\.json: model\.safetensors beside it is damaged"),
    (_holding(CONFIG, "{"), r"config\.json is no JSON"),
    (_holding(CONFIG, "[]"), r"config\.json is no JSON object"),
    (_change(CONFIG, auto_map={"AutoModel": "code.Model"}), r"config\.json: auto_map names code"),
    (_change(CONFIG, quantization_config={"bits": 4}), "quantized already"),
    (_change(CONFIG, model_type="none-such"), r"config\.json: model_type must name .* not 'none-such'"),
    (_change(CONFIG, model_type=["vit"]), r"config\.json: model_type must name .* not \['vit'\]"),
    (_change(CONFIG, layer_norm_eps=float("inf")), r"config\.json is no JSON: Out of range"),
    (_change(CONFIG, patch_size=0), "transformers cannot load this folder"),
    (_change(CONFIG, hidden_act="none-such"), "transformers cannot load this folder: 'none-such'"),
    (_holding(CONFIG, 100_000 * "[" + 100_000 * "]"), r"config\.json is no JSON: maximum recursion"),
    (_holding("adapter_config.json", "{}"), r"adapter_config\.json: adapters are not read"),
    (_change(CONFIG, num_hidden_layers=1), r"does not fit it: unexpected keys vit\.layers\.1"),
    (_change(CONFIG, hidden_size=64), "does not fit it|cannot load"),
    (_change(CONFIG, num_hidden_layers=3), "does not fit it: missing keys"),
    (_change(CONFIG, image_size=16), "does not fit it|cannot load"),
    (_change(CONFIG, model_type="timm_wrapper"), "must name an architecture that was tried"),
    (_change(PREPROCESSOR, size={"height": 40, "width": 40}), "cannot read an input of"),
    (_change(PREPROCESSOR, image_mean=[0.5]), "one number, or a list of 3"),
    (_change(PREPROCESSOR, image_std=[0, 1, 1]), r"preprocessor_config\.json: (image_)?std"),
    (_change(PREPROCESSOR, do_pad=True), r"preprocessor_config\.json: do_pad is not done"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_no_encoder_is_refused_by_file_with_what_to_do(
    change: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    folder = backbones.made("vit", tmp_path / "encoder")
    change(folder)

    with pytest.raises(ModelError, match=message) as error:
        import_encoder(folder, tmp_path / "model", sigma=0.25)

    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model").exists()


def test_a_model_of_text_is_refused(tmp_path: Path) -> None:
    folder = backbones.made("bert", tmp_path / "encoder")
    with pytest.raises(ModelError, match=r"config\.json: model_type must name .* not 'bert': .* vit"):
        import_encoder(folder, tmp_path / "model", sigma=0.25)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_that_is_taken_was_tried(family: str, tmp_path: Path) -> None:
    path = backbones.made(family, tmp_path / "encoder")
    model = import_encoder(path, tmp_path / "model", sigma=0.25)

    assert model.manifest.architecture.kind == "transformers"
    assert model.manifest.architecture.config["model_type"] == family
    embeddings = model(IMAGES)
    assert np.isfinite(embeddings).all()
    assert np.ptp(embeddings, axis=0).max() > 1e-3
    assert EmbeddingSpace.normalized(model.dimension, nonnegative=model.nonnegative).holds(embeddings)


ELSEWHERE: list[dict[str, Any]] = [
    {"auto_map": {"AutoModel": "owner/name--code.Model"}},
    {"attn_implementation": "owner/kernel"},
    {"_attn_implementation": "owner/kernel"},
    {"experts_implementation": "owner/kernel"},
    {"backbone": "owner/name", "use_pretrained_backbone": True},
    {"backbone_config": {"model_type": "resnet"}},
    {"use_timm_backbone": True},
    {"transformers_weights": "../model.safetensors"},
    {"quantization_config": {"quant_method": "hqq"}},
    {"inner": [{"auto_map": {"AutoConfig": "owner/name--code.Config"}}]},
]


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection, or a look for an address, ends the test."""
    for name in ("socket", "getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, lambda *_, **__: pytest.fail("a connection was opened"))


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("asked", ELSEWHERE, ids=repr)
def test_what_may_be_looked_up_elsewhere_is_refused_by_key(
    asked: dict[str, Any], tmp_path: Path, encoder: tuple[Path, Path]
) -> None:
    """At import, and from a manifest that somebody wrote."""
    key = next(iter(asked if "inner" not in asked else asked["inner"][0]))
    shutil.copytree(encoder[0], tmp_path / "encoder")
    _change(CONFIG, **asked)(tmp_path / "encoder")
    with pytest.raises(ModelError, match=rf"config\.json: {key} ") as error:
        import_encoder(tmp_path / "encoder", tmp_path / "model", sigma=0.25)
    assert "\n" not in str(error.value)

    shutil.copytree(encoder[1], tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    manifest["architecture"]["config"] |= asked
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=rf"architecture\.config: {key} ") as error:
        EmbeddingModel.load(tmp_path / "model")
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> tuple[Path, Path]:
    """A folder of transformers, and the model folder that was made of it."""
    path = backbones.made("vit", folder / "whole")
    import_encoder(path, folder / "whole-model", sigma=0.25)
    return path, folder / "whole-model"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"layer_norm_eps": float("inf")}, "architecture.config: it cannot be written as JSON"),
        ({"patch_size": 0}, "transformers makes no 'vit' of this"),
        ({"num_attention_heads": 5}, "weights.safetensors does not fit the architecture of its manifest"),
        ({"image_size": "large"}, "transformers makes no 'vit' of this"),
        ({"hidden_act": ["relu"]}, "transformers makes no 'vit' of this"),
    ],
    ids=repr,
)
def test_a_manifest_of_which_no_encoder_can_be_made_is_refused_in_a_line(
    config: dict[str, Any], message: str, tmp_path: Path, encoder: tuple[Path, Path]
) -> None:
    shutil.copytree(encoder[1], tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    manifest["architecture"]["config"] |= config
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError) as error:
        EmbeddingModel.load(tmp_path / "model")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A folder whose weights are in several files."""
    path = backbones.made("vit", tmp_path / "sharded")
    model = transformers.ViTForImageClassification.from_pretrained(path)
    (path / "model.safetensors").unlink()
    model.save_pretrained(path, max_shard_size="40KB")
    return path


def test_weights_in_several_files_are_all_read_and_named(
    sharded: Path, tmp_path: Path, encoder: tuple[Path, Path]
) -> None:
    model = import_encoder(sharded, tmp_path / "model", sigma=0.25)

    assert np.array_equal(model(IMAGES), EmbeddingModel.load(encoder[1])(IMAGES))
    written = {path.name for path in sharded.iterdir()}
    assert len(written) > 4
    assert set(model.manifest.training["files"]) == written


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pytorch_model.bin", "'pytorch_model.bin' is not the name of a .safetensors file beside it"),
        ("../other.safetensors", "'../other.safetensors' is not the name"),
        ("/etc/other.safetensors", "is not the name"),
        ("a..safetensors", "is not the name"),
        (1, "1 is not the name"),
        ("other.safetensors", "other.safetensors is not there"),
    ],
)
def test_a_list_of_weights_names_safetensors_beside_it(
    name: object, message: str, sharded: Path, tmp_path: Path
) -> None:
    for pickle in ("pytorch_model.bin", "../other.safetensors"):
        (sharded / pickle).write_bytes(b"")
    places = json.loads((sharded / "model.safetensors.index.json").read_text())
    places["weight_map"][next(iter(places["weight_map"]))] = name
    (sharded / "model.safetensors.index.json").write_text(json.dumps(places))

    with pytest.raises(ModelError) as error:
        import_encoder(sharded, tmp_path / "model", sigma=0.25)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"name": "two words"}, "name: "), ({"name": ""}, "name: "), ({"dimension": 1}, "dimension: ")],
    ids=repr,
)
def test_options_are_checked_before_anything_is_read(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        import_encoder(tmp_path / "none-such", tmp_path / "model", sigma=0.25, **options)


def test_an_encoder_that_gives_something_else_each_time_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the encoder of a masked autoencoder does, which hides other patches each time."""
    monkeypatch.setattr(encoder_config, "FAMILIES", FAMILIES | {"vit_mae"})
    path = backbones.made("vit_mae", tmp_path / "encoder")
    with pytest.raises(ModelError, match="something else each time"):
        import_encoder(path, tmp_path / "model", sigma=0.25)
    assert not (tmp_path / "model").exists()


def test_a_changed_configuration_is_another_model(tmp_path: Path) -> None:
    path = backbones.made("vit", tmp_path / "vit")
    model = import_encoder(path, tmp_path / "model", sigma=0.25)
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    manifest["architecture"]["config"]["layer_norm_eps"] = 1e-3
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))

    changed = EmbeddingModel.load(tmp_path / "model")
    assert changed.manifest.digest() != model.manifest.digest()
    assert not np.array_equal(changed(IMAGES), model(IMAGES))

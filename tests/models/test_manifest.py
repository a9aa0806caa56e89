"""A manifest is strict: what is missing, unknown or malformed is refused by name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from models import Domain, Manifest, ModelError
from models.manifest import MANIFEST, ConvolutionalArchitecture
from tests.models import folders

# Not every model has them: see below.
OPTIONAL = {"domain", "preprocessing", "ranges"}


def fields(model: type[BaseModel] = Manifest, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every required field, nested ones included."""
    for name, field in model.model_fields.items():
        if model is Manifest and name in OPTIONAL:
            continue
        assert field.is_required(), "a field with a default: the tests below do not cover it"
        yield (*above, name)
        inner = ConvolutionalArchitecture if name == "architecture" else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, (*above, name))


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The shipped manifest with the field at `path` set to `value`."""
    manifest = folders.read()
    inner = manifest
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return manifest


def refusal(folder: Path, manifest: Any) -> str:
    """The message with which `manifest` is refused, having named its file."""
    folders.write(folder, manifest)
    with pytest.raises(ModelError) as error:
        Manifest.read(folder)
    assert str(folder / MANIFEST) in str(error.value)
    return str(error.value)


def test_the_shipped_manifest_is_read_as_it_stands() -> None:
    manifest = Manifest.read(folders.SHIPPED)

    assert json.loads(manifest.model_dump_json(exclude_unset=True)) == folders.read()


def test_the_digest_of_the_shipped_model_is_what_it_was_when_there_was_one_architecture() -> None:
    assert Manifest.read(folders.SHIPPED).digest() == (
        "sha256:390097527d2ade5e1e7ee8dc862b8c0a74906de1e5dc36ab5ca363e8173758f1"
    )


def test_a_manifest_says_what_the_model_was_trained_on_and_an_older_one_what_its_input_is(
    tmp_path: Path,
) -> None:
    assert str(Manifest.read(folders.SHIPPED).trained_on) == "8 x 8 grey handwritten digits"
    manifest = folders.read()
    del manifest["domain"]
    folders.write(tmp_path, manifest)
    assert str(Manifest.read(tmp_path).trained_on) == "8 x 8 grey images"
    folders.write(tmp_path, manifest | {"input_shape": [3, 4, 6]})
    assert str(Manifest.read(tmp_path).trained_on) == "4 x 6 RGB images"


@pytest.mark.parametrize("path", [("domain", name) for name in Domain.model_fields], ids=".".join)
def test_a_domain_is_told_as_a_whole(path: tuple[str, str], tmp_path: Path) -> None:
    manifest = folders.read()
    del manifest["domain"][path[1]]
    assert f"{'.'.join(path)}: Field required" in refusal(tmp_path, manifest)
    assert f"{'.'.join(path)}: " in refusal(tmp_path, changed(path, "a blue one" * 40))


@pytest.mark.parametrize("path", list(fields()), ids=".".join)
def test_a_missing_field_is_refused_by_name(path: tuple[str, ...], tmp_path: Path) -> None:
    manifest = folders.read()
    inner = manifest
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]

    assert f"{'.'.join(path)}: Field required" in refusal(tmp_path, manifest)


@pytest.mark.parametrize(
    "path",
    [("note",), ("weights", "note"), ("architecture", "note"), ("normalization", "note")],
    ids=".".join,
)
def test_an_unknown_field_is_refused_by_name(path: tuple[str, ...], tmp_path: Path) -> None:
    assert f"{'.'.join(path)}: Extra inputs" in refusal(tmp_path, changed(path, 1))


@pytest.mark.parametrize(
    "file",
    [
        "../weights.safetensors",
        "../../etc/weights.safetensors",
        "/etc/weights.safetensors",
        "sub/weights.safetensors",
        "sub\\weights.safetensors",
        "..safetensors",
        ".safetensors",
        "weights.safetensors\n",
        "weights.safetensors/../../x.safetensors",
        "weights.pt",
        "",
    ],
)
def test_a_weights_file_outside_of_the_folder_is_refused(file: str, tmp_path: Path) -> None:
    assert "weights.file: " in refusal(tmp_path, changed(("weights", "file"), file))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("name",), "a name with spaces"),
        (("name",), ""),
        (("architecture", "kind"), "transformer"),
        (("ranges",), [1.0, 2.0]),
        (("ranges",), [1.0, 2.0, 0.0]),
        (("architecture", "width"), 0),
        (("architecture", "width"), 10**9),
        (("architecture", "dimension"), 1),
        (("architecture", "nonnegative"), False),
        (("input_shape",), [1, 8]),
        (("input_shape",), [4, 8, 8]),
        (("input_shape",), [1, 8, 3]),
        (("input_shape",), [1, 8, 4097]),
        (("input_shape",), [3, 4096, 4096]),
        (("normalization", "std"), 0),
        (("normalization", "mean"), None),
        (("normalization", "mean"), [0.5, 0.5]),
        (("normalization", "std"), [0.0]),
        (("preprocessing",), {"size": [8, 8], "shortest_edge": 8}),
        (("preprocessing",), {"interpolation": "bilinear"}),
        (("preprocessing",), {"shortest_edge": 7}),
        (("preprocessing",), {"shortest_edge": 8, "interpolation": "fractal"}),
        (("sigma",), 0),
        (("sigma",), -0.25),
        (("sigma",), float("nan")),
        (("training",), []),
        (("weights", "sha256"), "ab12"),
        (("weights", "sha256"), "G" * 64),
    ],
    ids=repr,
)
def test_a_value_out_of_range_is_refused_by_name(path: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    assert ".".join(path) in refusal(tmp_path, changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("normalization", "mean"), float("nan")),
        (("normalization", "mean"), float("inf")),
        (("normalization", "std"), float("inf")),
        (("sigma",), float("inf")),
    ],
    ids=repr,
)
def test_a_value_that_is_not_finite_is_refused(path: tuple[str, ...], value: float, tmp_path: Path) -> None:
    assert ".".join(path) in refusal(tmp_path, changed(path, value))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"format": 1', b"\xff\xfe", b"\x80\x02}."])
def test_a_file_that_is_not_a_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(content)

    with pytest.raises(ModelError, match="is not a valid manifest"):
        Manifest.read(tmp_path)


def test_a_folder_without_a_manifest_is_told_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"needs manifest\.json .* `retrievalguard train`") as error:
        Manifest.read(tmp_path)

    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("architecture", "width"), 32),
        (("architecture", "dimension"), 32),
        (("input_shape",), [1, 16, 4]),
        (("input_shape",), [3, 8, 8]),
        (("normalization", "mean"), 0.3),
        (("normalization", "std"), 0.4),
        (("weights", "sha256"), "0" * 64),
    ],
    ids=repr,
)
def test_what_decides_an_embedding_changes_the_digest(
    path: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    folders.write(tmp_path, changed(path, value))

    assert Manifest.read(tmp_path).digest() != Manifest.read(folders.SHIPPED).digest()


@pytest.mark.parametrize(
    ("path", "value"), [(("name",), "other"), (("sigma",), 0.5), (("training",), {})], ids=repr
)
def test_what_does_not_decide_an_embedding_leaves_the_digest(
    path: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    folders.write(tmp_path, changed(path, value))

    assert Manifest.read(tmp_path).digest() == Manifest.read(folders.SHIPPED).digest()


RESIDUAL = {"kind": "residual", "width": 4, "dimension": 16}
ENCODER = {
    "kind": "transformers",
    "dimension": 32,
    "config": {"model_type": "vit", "image_size": 8},
    "pooling": "first",
    "head": "identity",
}
DENOISED = {"kind": "denoised", "width": 3, "backbone": ENCODER}


@pytest.mark.parametrize("architecture", [RESIDUAL, ENCODER, DENOISED], ids=lambda one: one["kind"])
def test_other_architectures_take_a_mean_for_each_channel(
    architecture: dict[str, Any], tmp_path: Path
) -> None:
    manifest = folders.read() | {"architecture": architecture, "input_shape": [3, 8, 8]}
    del manifest["ranges"]
    folders.write(tmp_path, manifest)
    alike = Manifest.read(tmp_path).normalization.of_channels(3)
    assert alike == ((0.3049,) * 3, (0.3759,) * 3)

    manifest["normalization"] = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    folders.write(tmp_path, manifest)
    assert Manifest.read(tmp_path).normalization.of_channels(3) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))

    for list_of in ([0.1, 0.2], [0.1, 0.2, 0.3, 0.4]):
        manifest["normalization"]["mean"] = list_of
        assert "normalization.mean and .std are one number, or a list of 3" in refusal(tmp_path, manifest)


@pytest.mark.parametrize("architecture", [RESIDUAL, ENCODER, DENOISED], ids=lambda one: one["kind"])
def test_the_ranges_of_other_networks_are_measured_and_not_told(
    architecture: dict[str, Any], tmp_path: Path
) -> None:
    manifest = folders.read() | {"architecture": architecture}
    assert "ranges: only a convolutional network" in refusal(tmp_path, manifest)


def test_a_convolutional_network_has_one_mean(tmp_path: Path) -> None:
    wrong = changed(("normalization", "std"), [0.5])
    assert "one mean and one std" in refusal(tmp_path, wrong)
    del wrong["ranges"]
    wrong["architecture"] = {"kind": "denoised", "width": 3, "backbone": wrong["architecture"]}
    assert "one mean and one std" in refusal(tmp_path, wrong)


def test_a_denoiser_stands_in_front_of_a_backbone_and_not_of_another_denoiser(tmp_path: Path) -> None:
    wrong = changed(("architecture",), {"kind": "denoised", "width": 3, "backbone": DENOISED})
    assert "architecture.backbone.kind: 'denoised' is none of" in refusal(tmp_path, wrong)


def test_the_denoiser_and_all_behind_it_are_part_of_the_digest(tmp_path: Path) -> None:
    manifest = folders.read() | {"input_shape": [3, 8, 8]}
    del manifest["ranges"]
    digests = set()
    for architecture in (
        ENCODER,
        DENOISED,
        DENOISED | {"width": 4},
        DENOISED | {"backbone": ENCODER | {"pooling": "mean"}},
    ):
        folders.write(tmp_path, manifest | {"architecture": architecture})
        digests.add(Manifest.read(tmp_path).digest())
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"model_type": "vit", "auto_map": {}}}, "architecture.config: auto_map names code"),
        ({"config": {}}, "architecture.config: model_type"),
        ({"pooling": "last"}, "architecture.pooling: "),
        ({"head": "mlp"}, "architecture.head: "),
        ({"width": 4}, "architecture.width: Extra inputs"),
        ({"kind": "timm"}, "architecture.kind: 'timm' is none of 'convolutional'"),
    ],
    ids=repr,
)
def test_an_encoder_that_cannot_be_is_refused_by_field(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert message in refusal(tmp_path, folders.read() | {"architecture": ENCODER | change})


def test_the_digest_does_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    shipped = folders.read()
    backwards = {name: shipped[name] for name in reversed(shipped)}
    backwards["architecture"] = dict(reversed(shipped["architecture"].items()))
    folders.write(tmp_path, backwards)

    digest = Manifest.read(tmp_path).digest()

    config = ENCODER["config"]
    assert isinstance(config, dict)
    del shipped["ranges"]
    digests = set()
    for ordered in (config, dict(reversed(config.items()))):
        folders.write(tmp_path, shipped | {"architecture": ENCODER | {"config": ordered}})
        digests.add(Manifest.read(tmp_path).digest())
    assert len(digests) == 1

    assert digest == Manifest.read(folders.SHIPPED).digest()
    assert digest.startswith("sha256:")
    assert len(bytes.fromhex(digest.removeprefix("sha256:"))) == 32

"""The manifest of a model: everything besides the weights that decides what its embedding is."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from models.encoder_config import check_config, plain
from models.errors import ModelError

MANIFEST = "manifest.json"
# What a model may be called.
NAME = r"^[A-Za-z0-9_.-]{1,64}$"
# ReLUs before the head of a convolutional network.
CONVOLUTIONAL_RANGES = 3
# In an input, so that a manifest cannot ask for more memory than there is.
MOST_NUMBERS = 3 * 2048 * 2048


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0)]


Name = Annotated[str, Field(pattern=NAME)]
Width = Annotated[int, Field(ge=1, le=1024)]
Dimension = Annotated[int, Field(ge=2, le=4096)]
Side = Annotated[int, Field(ge=4, le=4096)]


class ConvolutionalArchitecture(_Strict):
    """`models.networks.convolutional`; `nonnegative` is what its class proves, and older versions read."""

    kind: Literal["convolutional"]
    width: Width
    dimension: Dimension
    nonnegative: Literal[True]


class ResidualArchitecture(_Strict):
    """`models.networks.residual`."""

    kind: Literal["residual"]
    width: Width
    dimension: Dimension


class TransformersArchitecture(_Strict):
    """A vision encoder of the library `transformers`, as `models.networks.transformers` runs it.

    config   what its `config.json` says, without labels, as far as `models.encoder_config` takes it
    pooling  which of its outputs is the embedding: that of its pooler, the first token, or the mean of all
    head     nothing behind it, a linear layer, or that and a ReLU
    """

    kind: Literal["transformers"]
    dimension: Dimension
    config: dict[str, Any]
    pooling: Literal["pooler", "first", "mean"]
    head: Literal["identity", "linear", "rectified"]

    @field_validator("config")
    @classmethod
    def _is_plain(cls, config: dict[str, Any]) -> dict[str, Any]:
        check_config(config)
        return plain(config)


Backbone = Annotated[
    ConvolutionalArchitecture | ResidualArchitecture | TransformersArchitecture, Field(discriminator="kind")
]


class DenoisedArchitecture(_Strict):
    """`models.networks.denoised`: a denoiser of `width` in front of a backbone."""

    kind: Literal["denoised"]
    width: Width
    backbone: Backbone

    @property
    def dimension(self) -> int:
        """That of the backbone."""
        return self.backbone.dimension


Architecture = Annotated[
    ConvolutionalArchitecture | ResidualArchitecture | TransformersArchitecture | DenoisedArchitecture,
    Field(discriminator="kind"),
]


def backbone_of(architecture: Architecture) -> Backbone:
    """The network, without the denoiser that may stand in front of it."""
    return architecture.backbone if isinstance(architecture, DenoisedArchitecture) else architecture


def _number_or_list(value: object) -> str:
    return "list" if isinstance(value, list | tuple) else "number"


class Normalization(_Strict):
    """Pixel mean and standard deviation; inside h, so that noise is added to [0, 1] pixels.

    Each is one number for all channels, or a list of one for each.
    """

    mean: Annotated[
        Annotated[float, Tag("number")] | Annotated[tuple[float, ...], Tag("list")],
        Discriminator(_number_or_list),
    ]
    std: Annotated[
        Annotated[Positive, Tag("number")] | Annotated[tuple[Positive, ...], Tag("list")],
        Discriminator(_number_or_list),
    ]

    def of_channels(self, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each of `count` channels; `ValueError` if they are of another number."""
        mean, std = (
            value if isinstance(value, tuple) else (value,) * count for value in (self.mean, self.std)
        )
        if not len(mean) == len(std) == count:
            raise ValueError(
                f"normalization.mean and .std are one number, or a list of {count} numbers: one a channel"
            )
        return mean, std


class Preprocessing(_Strict):
    """How a picture becomes as large as the input.

    It is made of `size` (height, width), or so that its shorter edge has `shortest_edge` pixels; then the
    centre is cut out. Without a word in the manifest: stretched to the input, bilinear.
    """

    size: tuple[Side, Side] | None = None
    shortest_edge: Side | None = None
    interpolation: Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] = "bilinear"

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.size is None) == (self.shortest_edge is None):
            raise ValueError("either size or shortest_edge")
        return self


class Weights(_Strict):
    """The weights file beside the manifest and the sha256 of its bytes."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.safetensors$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Domain(_Strict):
    """What a model was trained on: `images` in words, grey or in colour, of `size` (height, width).

    The size is that of the pictures before they became model inputs.
    """

    images: Annotated[str, Field(min_length=1, max_length=200)]
    colour: Literal["grey", "RGB"]
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]

    def __str__(self) -> str:
        height, width = self.size
        return f"{height} x {width} {self.colour} {self.images}"


class Manifest(_Strict):
    """What `manifest.json` holds."""

    format: Literal[1]
    name: Name
    architecture: Architecture
    input_shape: tuple[Annotated[int, Field(ge=1, le=3)], Side, Side]
    normalization: Normalization
    sigma: Positive
    training: dict[str, Any]
    weights: Weights
    # The largest value that each ReLU of the features gave in training: the int8 pass that is written by hand
    # for a convolutional network cuts off above it.
    ranges: tuple[Positive, ...] | None = None
    # Manifests of older versions do not say.
    domain: Domain | None = None
    preprocessing: Preprocessing | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        channels, height, width = self.input_shape
        self.normalization.of_channels(channels)
        if channels * height * width > MOST_NUMBERS:
            raise ValueError(f"input_shape: more than {MOST_NUMBERS:,} numbers")
        if backbone_of(self.architecture).kind == "convolutional" and (
            isinstance(self.normalization.mean, tuple) or isinstance(self.normalization.std, tuple)
        ):
            raise ValueError("a convolutional network has one mean and one std for all channels")
        if self.architecture.kind == "convolutional":
            if self.ranges is not None and len(self.ranges) != CONVOLUTIONAL_RANGES:
                raise ValueError(f"ranges: a convolutional network has {CONVOLUTIONAL_RANGES}")
        elif self.ranges is not None:
            raise ValueError("ranges: only a convolutional network has them in its manifest")
        made = self.preprocessing
        if made is not None:
            edges = made.size or (made.shortest_edge or 0, made.shortest_edge or 0)
            if edges[0] < height or edges[1] < width:
                raise ValueError(f"preprocessing: {edges} is less than the input of {height} x {width}")
        return self

    @property
    def trained_on(self) -> Domain:
        """The domain; for a manifest that names none, what the input says of it."""
        channels, height, width = self.input_shape
        return self.domain or Domain(
            images="images", colour="grey" if channels == 1 else "RGB", size=(height, width)
        )

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest in `folder`; `ModelError` names what is missing or wrong."""
        path = folder / MANIFEST
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ModelError(
                f"{folder} is not a model folder: it needs {MANIFEST} and a .safetensors file, as written by"
                f" `retrievalguard train` ({error.strerror})"
            ) from error
        except ValidationError as error:
            raise ModelError(f"{path} is not a valid manifest: {told(error)}") from error

    def digest(self, arithmetic: str = "float32") -> str:
        """`sha256:...` of all that decides the value of h: not the name, σ or the way of training.

        The `arithmetic` is part of it: another precision, other kernels or other code are another function.
        `models.passes.variants.Variant.digest` says which; without it this names a model, not what runs.
        """
        fields = self.model_dump_json(include={"architecture", "input_shape", "normalization", "weights"})
        named = f"retrievalguard model 1 {arithmetic} {fields}"
        return "sha256:" + hashlib.sha256(named.encode()).hexdigest()


# What pydantic puts into the place of an error to tell which member of a union was tried.
_MEMBERS = {"convolutional", "residual", "transformers", "denoised", "number", "list"}


def told(error: ValidationError) -> str:
    """All that is wrong, in a line: each field first, then what is wrong with it."""
    return "; ".join(_told(wrong) for wrong in error.errors())


def _told(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"] if part not in _MEMBERS)
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "union_tag_not_found":
        return f"{place}.kind: Field required"
    if error["type"] == "union_tag_invalid":
        given, known = error["ctx"]["tag"], error["ctx"]["expected_tags"]
        return f"{place}.kind: {given!r} is none of {known}"
    return f"{place or 'file'}: {message}"

"""The manifest of a model: everything besides the weights that decides what its embedding is."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MANIFEST = "manifest.json"


class ModelError(Exception):
    """A model folder cannot be used: something is missing, malformed, or not what the manifest says."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0)]


class Architecture(_Strict):
    """Which network; `nonnegative` states that every coordinate of its embeddings is >= 0 by construction."""

    kind: Literal["convolutional"]
    width: Annotated[int, Field(ge=1, le=1024)]
    dimension: Annotated[int, Field(ge=2, le=4096)]
    nonnegative: Literal[True]


class Normalization(_Strict):
    """Pixel mean and standard deviation; inside h, so that noise is added to [0, 1] pixels."""

    mean: float
    std: Positive


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
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    architecture: Architecture
    input_shape: tuple[
        Annotated[int, Field(ge=1, le=3)], Annotated[int, Field(ge=4)], Annotated[int, Field(ge=4)]
    ]
    normalization: Normalization
    sigma: Positive
    training: dict[str, Any]
    weights: Weights
    # The largest value that each ReLU of the features gave in training: int8 passes cut off above it.
    ranges: tuple[Positive, Positive, Positive]
    # Manifests of older versions do not say.
    domain: Domain | None = None

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
            details = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()
            )
            raise ModelError(f"{path} is not a valid manifest: {details}") from error

    def digest(self, arithmetic: str = "float32") -> str:
        """`sha256:...` of all that decides the value of h: not the name, σ or the way of training.

        The `arithmetic` is part of it: another precision, other kernels or other code are another function.
        `models.passes.variants.Variant.digest` says which; without it this names a model, not what runs.
        """
        fields = self.model_dump_json(include={"architecture", "input_shape", "normalization", "weights"})
        named = f"retrievalguard model 1 {arithmetic} {fields}"
        return "sha256:" + hashlib.sha256(named.encode()).hexdigest()

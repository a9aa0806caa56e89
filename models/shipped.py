"""Vectors of pictures that ship with a model, so that a first start need not embed its demo gallery.

To a certificate a gallery vector is a fixed point, whatever it was made of: it may come from another machine,
of more samples than one would draw here, and be rounded to float16.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_safetensors

from models.errors import ModelError
from models.manifest import Manifest
from models.noise import input_digest

# Beside the weights.
FILE = "gallery.safetensors"
_FORMAT = "retrievalguard vectors 1"


@dataclass(frozen=True)
class ShippedVectors:
    """Vectors (d,) by the `input_digest` of the picture, for one model at one σ.

    model     `Manifest.digest` of the model
    samples   Monte Carlo samples behind each vector
    digest    sha256 of the file, "" for what was not read from one
    """

    model: str
    sigma: float
    samples: int
    vectors: Mapping[bytes, NDArray[np.float32]]
    digest: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What the model in `folder` ships, if anything; `ModelError` for a file that is damaged."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            with safe_open(path, "numpy") as file:
                told = file.metadata() or {}
                inputs, vectors = file.get_tensor("inputs"), file.get_tensor("vectors").astype(np.float32)
            if told["format"] != _FORMAT or inputs.shape != (len(vectors), 32) or vectors.ndim != 2:
                raise ValueError("of another format")
            if not np.isfinite(vectors).all():
                raise ValueError("numbers that are not finite")
            keys = [row.tobytes() for row in inputs]
            return cls(
                told["model"],
                float(told["sigma"]),
                int(told["samples"]),
                dict(zip(keys, vectors, strict=True)),
                digest,
            )
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ModelError(
                f"{path} does not hold vectors that ship with a model ({error}): restore it, or delete it,"
                " and pictures are embedded here"
            ) from error

    def write(self, path: Path) -> None:
        """Write them to `path`, each number rounded to float16."""
        content = save_safetensors(
            {
                "inputs": np.stack([np.frombuffer(key, np.uint8) for key in self.vectors]),
                "vectors": np.stack(list(self.vectors.values())).astype(np.float16),
            },
            {
                "format": _FORMAT,
                "model": self.model,
                "sigma": repr(self.sigma),
                "samples": str(self.samples),
            },
        )
        path.write_bytes(content)

    def fault(self, manifest: Manifest, sigma: float) -> str | None:
        """Why they cannot be used with the model of `manifest` at `sigma`; None if they can."""
        if self.model != manifest.digest():
            return "they are of other weights"
        if self.sigma != sigma:
            return f"they are for sigma {self.sigma!r}"
        if any(len(vector) != manifest.architecture.dimension for vector in self.vectors.values()):
            return "they are of another dimension"
        return None

    def of(self, image: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """The vector (d,) of a model input (C, H, W), None if it did not ship."""
        return self.vectors.get(input_digest(image))

    def __len__(self) -> int:
        return len(self.vectors)

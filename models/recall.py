"""How well a model answered when it was measured: a file that ships with it, beside the manifest."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import ModelError
from models.manifest import Manifest, told

# Beside the manifest; `python -m evaluation.card` writes it.
FILE = "recall.json"
Share = Annotated[float, Field(ge=0, le=1)]


class CertifiedShare(BaseModel):
    """The share of queries that were answered right and certified to `radius`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    radius: Annotated[float, Field(gt=0)]
    share: Share


class Recall(BaseModel):
    """What `retrievalguard evaluate` measured, with these `weights` (sha256) and this σ.

    data       what was asked: `queries` pictures, to a gallery of so many
    recall     the share of queries answered with the right label
    certified  the share of those that were certified as well, by `method` with `samples` at `alpha`
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str
    sigma: float
    data: str
    queries: int
    gallery: int
    samples: int
    alpha: float
    method: str
    recall: Share
    certified: tuple[CertifiedShare, ...]

    @classmethod
    def read(cls, folder: Path, manifest: Manifest, sigma: float) -> "Recall | None":
        """What the model in `folder` ships, if it is about these weights and σ; `ModelError` if damaged."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            found = cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ModelError(f"{path} is no measurement of a model: {told(error)}; delete it") from error
        return found if (found.weights, found.sigma) == (manifest.weights.sha256, sigma) else None

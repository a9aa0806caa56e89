"""A cluster and one process that are asked the same."""

from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from bench.replicas import RayCluster
from models.datasets import digits
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever

Pixels = np.ndarray[Any, np.dtype[np.float32]]


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """What must be the same: all but how long it took, and what the cache held."""
    return {name: value for name, value in answer.items() if name not in ("timing_ms", "cache")}


@dataclass(frozen=True)
class Both:
    """A cluster, and one process that answers the same."""

    cluster: RayCluster
    client: httpx.Client
    retriever: Retriever

    def ask(self, seed: int, **options: object) -> httpx.Response:
        """What the cluster answers to picture number `seed`."""
        body = {"pixels": picture(seed).tolist(), **options}
        return self.client.post("/retrieve", json=body)

    def here(self, seed: int, **options: Any) -> dict[str, Any]:
        """What one process does, as `told`."""
        found = self.retriever.retrieve(picture(seed), RetrieveOptions(**options))
        return told(found.model_dump(mode="json"))


def picture(seed: int) -> Pixels:
    """Pixels that no other test asks for, so that no cache holds their samples."""
    image: Pixels = digits("query").pixels[seed % 200].astype(np.float32) / 255
    image[0, 3, 3] = (seed + 1) / 4096
    return image

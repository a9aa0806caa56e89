"""How the benchmarks of a cluster ask, and what has to be the same of two answers."""

import time
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from models.datasets import digits

# For one answer.
ANSWER_SECONDS = 60.0
Answer = dict[str, Any]


def picture(seed: int) -> NDArray[np.float32]:
    """Pixels (1, 8, 8) of a digit, no two alike."""
    pixels: NDArray[np.float32] = digits("query").pixels[seed % 200].astype(np.float32) / 255
    pixels[0, 3, 3] = (seed + 1) / 2**20
    return pixels


class Service:
    """A client of one service; no two of its questions are alike unless they are said to be."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=ANSWER_SECONDS)

    def __call__(self, seed: int, **options: object) -> httpx.Response:
        """The answer to picture number `seed`."""
        return self._client.post("/retrieve", json={"pixels": picture(seed).tolist(), **options})

    def seconds(self, seed: int, **options: object) -> float:
        """How long that takes; the answer has to be one."""
        started = time.perf_counter()
        self(seed, **options).raise_for_status()
        return time.perf_counter() - started


def told(answer: Answer) -> Answer:
    """What has to be the same of an answer, whoever gave it."""
    return {name: value for name, value in answer.items() if name not in ("timing_ms", "cache")}

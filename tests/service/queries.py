"""Queries as files, tensors and requests, and what must be equal in two answers."""

import io
import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.datasets import DATASETS
from service.images import png
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever

QUERIES = DATASETS["digits"]("query")

Json = dict[str, Any]


def digit(row: int) -> bytes:
    """Query number `row` as an 8-bit grey PNG file."""
    return png(QUERIES.pixels[row])


def tensor(row: int) -> NDArray[np.float32]:
    """Query number `row` as the model takes it."""
    pixels: NDArray[np.float32] = QUERIES.tensors[row]
    return pixels


def picture(row: int) -> Image.Image:
    """Query number `row`, for saving it in other ways."""
    return Image.fromarray(QUERIES.pixels[row][0])


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def post(client: httpx.Client, image: bytes, media: str = "image/png", **options: Any) -> httpx.Response:
    """A raw image, with options in the query string."""
    return client.post("/retrieve", params=options, content=image, headers={"content-type": media})


def answer(client: httpx.Client, image: bytes, media: str = "image/png", **options: Any) -> Json:
    """The body of the answer, which must be a 200."""
    response = post(client, image, media, **options)
    assert response.status_code == 200, response.text
    body: Json = response.json()
    return body


def claims(body: Json) -> Json:
    """The answer without what may differ when it is asked for again, or in another form."""
    same = {name: value for name, value in body.items() if name not in ("cache", "timing_ms")}
    certificate = same["certificate"].items()
    return same | {"certificate": {name: value for name, value in certificate if name[:5] != "file_"}}


def whole(version: int, size: int) -> Json:
    """Which gallery an answer tells of that had all items to choose from."""
    return {"name": "default", "version": version, "size": size, "matching": None}


def unanswered(url: str, image: bytes, accept: str = "application/json", **options: Any) -> HTTPConnection:
    """A connection on which `image` was asked for, and nothing read: `close` it to leave."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
    headers = {"content-type": "image/png", "accept": accept}
    connection.request("POST", f"/retrieve?{urlencode(options)}", image, headers)
    return connection


Event = tuple[str, Json]


def events(response: httpx.Response) -> list[Event]:
    """The events of a streamed answer, as (name, data)."""
    found = []
    for block in response.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return found


def noisy_digit(row: int, seed: int) -> bytes:
    """A digit that no other file asks for: query number `row` with a little noise of this `seed`."""
    noise = np.random.default_rng(seed).integers(0, 12, QUERIES.pixels[row].shape)
    noisy: bytes = png(np.clip(QUERIES.pixels[row].astype(np.int64) + noise, 0, 255).astype(np.uint8))
    return noisy


def ask_in_process(retriever: Retriever, pixels: list[Any], **options: Any) -> Json:
    """The answer of a retriever without HTTP."""
    image = np.array(pixels, np.float64)
    body: Json = retriever.retrieve(image, RetrieveOptions(**options)).model_dump(mode="json")
    return body


def folder_of(root: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(root)

"""Queries as files, tensors and requests, and what must be equal in two answers."""

import io
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import DATASETS
from service.gallery_import import png

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
    """The answer without what may differ when it is asked for again."""
    return {name: value for name, value in body.items() if name not in ("cache", "timing_ms")}

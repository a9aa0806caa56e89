"""What people do to a service: requests of every kind, made of held-out digits."""

import base64
import io
import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.load.asking import Asked, Claim
from models.datasets import digits
from service.images import png

# Images that are asked for again and again, the n-th as often as 1/n of the first: as people's do (Zipf).
REPEATED = 32
# Large ones, made beforehand: making one takes as long as reading it.
BIG_SIDE, BIGS = 2_500, 4
BATCH = 4
# "Is it robust to this?"
TARGET = 0.1
LONG = 50_000
# About the default, so that it takes about as many samples.
OTHER_ALPHA = 0.00101
# One that nothing comes near.
DEADLINE_MS = 600_000
Pixels = NDArray[np.uint8]


class Kinds:
    """Requests, each with something of its own; `key`: sent with every one."""

    def __init__(self, seed: int, key: str | None = None) -> None:
        self._random = np.random.default_rng(seed)
        self._pixels = digits("query").pixels
        self._numbers = itertools.count(1 + (seed << 40))
        shares = 1 / np.arange(1, REPEATED + 1)
        self._shares = shares / shares.sum()
        self._repeated = [png(pixels) for pixels in self._pixels[:REPEATED]]
        self._headers = {} if key is None else {"x-api-key": key}
        self._items = itertools.count()
        self._bigs = itertools.cycle([_photo(self._fresh()) for _ in range(BIGS)])
        self.firsts: dict[int, Claim] = {}

    def named(self, kind: str) -> Callable[[], Asked]:
        """What makes requests of this kind."""
        found: Callable[[], Asked] = getattr(self, kind)
        return found

    def _fresh(self) -> Pixels:
        """Pixels never sent before: those of a digit, with the next number in their lowest bits."""
        number = next(self._numbers)
        return with_number(self._pixels[number % len(self._pixels)], number)

    def _query(self, kind: str, image: bytes, options: str = "", **known: object) -> Asked:
        return Asked(kind, "POST", f"/retrieve{options}", image, headers=self._headers, **known)  # type: ignore[arg-type]

    def cold(self) -> Asked:
        """An image that the cache cannot know."""
        return self._query("cold", png(self._fresh()), cache="miss")

    def certify(self, cold: Asked) -> Asked:
        """The same query at another risk: its samples are there, its certificate is not."""
        return replace(cold, kind="certify", path=f"{cold.path}?alpha={OTHER_ALPHA}", cache=None)

    def hit(self, cold: Asked) -> Asked:
        """The same query: its answer is in the cache. None with a deadline is told from memory."""
        return replace(cold, kind="hit", path=f"{cold.path}?deadline_ms={DEADLINE_MS}", cache="hit")

    def known(self, cold: Asked) -> Asked:
        """The same request: its answer is in the memory of the process."""
        return replace(cold, kind="known", cache="hit")

    def short(self) -> Asked:
        """A yes-or-no question about such an image."""
        return self._query("short", png(self._fresh()), f"?target_radius={TARGET}")

    def long(self) -> Asked:
        """All that can be certified of such an image from many samples."""
        return self._query("long", png(self._fresh()), f"?max_samples={LONG}&min_gain=0")

    def repeat(self, which: int | None = None) -> Asked:
        """One that was asked for before: the answer must be the same, to the last digit."""
        if which is None:
            which = int(self._random.choice(REPEATED, p=self._shares))
        return self._query("repeat", self._repeated[which], first=self.firsts.get(which))

    def near(self) -> Asked:
        """A copy of one that is asked for often, changed a little."""
        pixels = self._pixels[int(self._random.choice(REPEATED, p=self._shares))].astype(np.int16)
        noisy = (pixels + self._random.integers(-12, 13, pixels.shape)).clip(0, 255).astype(np.uint8)
        return self._query("near", png(noisy))

    def big(self) -> Asked:
        """A large image file, one of a few: all but the first time it is decoded, and found in the cache."""
        return self._query("big", next(self._bigs))

    def batch(self) -> Asked:
        """Several queries in one request."""
        images = [base64.b64encode(png(self._fresh())).decode() for _ in range(BATCH)]
        body = json.dumps([{"image": image} for image in images]).encode()
        return Asked(
            "batch", "POST", "/retrieve/batch", body, "application/json", self._headers, fields=("results",)
        )

    def write(self) -> Asked:
        """A gallery item that is put there, or in place of another: the next query sees it."""
        name = f"load/{next(self._items) % 16}"
        path = f"/gallery/items/{name}?label=load"
        return Asked("write", "PUT", path, png(self._fresh()), headers=self._headers, fields=("outcome",))

    def clean(self) -> Asked:
        """All of those are taken away again."""
        path = "/gallery/items?prefix=load/"
        return Asked("clean", "DELETE", path, b"", headers=self._headers, fields=())


def _photo(pixels: Pixels) -> bytes:
    """The image (1, 8, 8) as a telephone would send it."""
    buffer = io.BytesIO()
    side = (BIG_SIDE, BIG_SIDE)
    Image.fromarray(pixels[0]).convert("RGB").resize(side, Image.Resampling.NEAREST).save(buffer, "JPEG")
    return buffer.getvalue()


def with_number(pixels: Pixels, number: int) -> Pixels:
    """The image (1, 8, 8) with the 64 bits of `number` in its lowest bits: no pixel changes by over 1."""
    bits = np.unpackbits(np.array([number], ">u8").view(np.uint8))
    return pixels ^ bits.reshape(pixels.shape)

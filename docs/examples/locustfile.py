"""Load on a deployment of your own, for Locust: `locust -f locustfile.py --host https://guard.example`.

IMAGES   a folder of PNG files to ask with, without palettes (default: that of this file)
API_KEY  the key, if the service wants one

Whoever is refused (429, 503) comes back after `Retry-After`: that is no failure. It needs nothing but Locust.
"""

import os
import random
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from locust import FastHttpUser, constant, task

FOLDER = Path(os.environ.get("IMAGES") or Path(__file__).parent)
IMAGES = [path.read_bytes() for path in sorted(FOLDER.glob("*.png"))]
if not IMAGES:
    sys.exit(f"there is no .png in {FOLDER}: name a folder in IMAGES")
PALETTE = 3  # the kind of colours, byte 25 of a PNG
if any(png[25] == PALETTE for png in IMAGES):
    sys.exit(f"an image in {FOLDER} has a palette: save it with colours of its own (RGB)")
KEY = os.environ.get("API_KEY")
HEADERS = {"Content-Type": "image/*"} | ({"X-API-Key": KEY} if KEY else {})
MOST_TRIES = 10


class Client(FastHttpUser):
    """Asks, and waits for the answer before it asks again."""

    abstract = True
    wait_time = constant(0)

    def ask(self, image: bytes) -> None:
        for _ in range(MOST_TRIES):
            with self.client.post(
                "/retrieve", data=image, headers=HEADERS, name=type(self).__name__, catch_response=True
            ) as response:
                if response.status_code not in (429, 503):
                    if response.status_code == 200 and "certificate" not in response.json():
                        response.failure("an answer without a certificate")
                    return
                response.success()
                pause = int(response.headers["Retry-After"])
            time.sleep(pause)


class Cold(Client):
    """Images that the service has not seen: some pixels at the lower edge of each are changed."""

    @task
    def cold(self) -> None:
        self.ask(changed(random.choice(IMAGES)))


class Repeat(Client):
    """Images that the service answers from its cache, but for the first time."""

    @task
    def repeat(self) -> None:
        self.ask(random.choice(IMAGES))


def changed(png: bytes) -> bytes:
    """The image with other pixels at the end of its last row: they are changed as they are stored."""
    chunks = list(chunks_of(png))
    rows = bytearray(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")))
    changes = range(-min(4, len(rows) - 1), 0)
    for place in changes:
        rows[place] ^= random.randrange(256)
    new = [(kind, data) for kind, data in chunks if kind not in (b"IDAT", b"IEND")]
    return png[:8] + b"".join(map(chunk, [*new, (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]))


def chunks_of(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place < len(png):
        (size,) = struct.unpack_from(">I", png, place)
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        place += 12 + size


def chunk(one: tuple[bytes, bytes]) -> bytes:
    kind, data = one
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

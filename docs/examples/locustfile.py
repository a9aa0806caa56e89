"""Load on a deployment of your own, for Locust: `locust -f locustfile.py --host https://guard.example`.

IMAGES   a folder of images to ask with (default: the one of this file)
API_KEY  the key, if the service wants one

Whoever is refused (429, 503) comes back after `Retry-After`: that is no failure.
"""

import io
import os
import random
import time
from pathlib import Path

from locust import FastHttpUser, constant, task
from PIL import Image

FOLDER = Path(os.environ.get("IMAGES", Path(__file__).parent))
IMAGES = [path.read_bytes() for path in sorted(FOLDER.glob("*.png")) + sorted(FOLDER.glob("*.jpg"))]
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
    """Images that the service has not seen: one pixel of each is changed."""

    @task
    def cold(self) -> None:
        image = Image.open(io.BytesIO(random.choice(IMAGES))).convert("RGB")
        place = random.randrange(image.width), random.randrange(image.height)
        image.putpixel(place, tuple(random.randrange(256) for _ in range(3)))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        self.ask(buffer.getvalue())


class Repeat(Client):
    """Images that the service answers from its cache, but for the first time."""

    @task
    def repeat(self) -> None:
        self.ask(random.choice(IMAGES))

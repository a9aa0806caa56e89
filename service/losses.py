"""What images lose on their way to a model that was trained on others: colours, and detail.

A model answers anything, and a certificate says that an answer is stable, not that it is right. So what is
lost is counted and told, once and in sum.
"""

import math
import threading
from collections.abc import Callable
from typing import Literal

from models import Manifest
from service.images import Picture

Reason = Literal["colour", "shrunk"]


class Losses:
    """A tally of the images that one model was given. Safe to share between threads.

    An image counts as shrunk when it has `limit` times the side, or more, of what the model was trained on:
    the square root of the ratio of their areas. `count` is told the reasons as they come.
    """

    def __init__(
        self, manifest: Manifest, limit: float, count: Callable[[Reason], None] = lambda reason: None
    ) -> None:
        self._name, self._trained_on, self._limit, self._count = (
            manifest.name, manifest.trained_on, limit, count,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._images = self._colourless = self._shrunk = 0
        self._least = math.inf

    def add(self, picture: Picture) -> bool:
        """Count an image; whether it is the first of all that loses something."""
        times = self._times(picture)
        colour, shrunk = self._loses_colour(picture), times >= self._limit
        with self._lock:
            first = not self._colourless and not self._shrunk and (colour or shrunk)
            self._images += 1
            self._colourless += colour
            self._shrunk += shrunk
            if shrunk:
                self._least = min(self._least, times)
        if colour:
            self._count("colour")
        if shrunk:
            self._count("shrunk")
        return first

    def of(self, picture: Picture) -> list[str]:
        """What this one picture loses, a sentence each; it is not counted."""
        told, times = [], self._times(picture)
        if self._loses_colour(picture):
            told.append("Its colours are lost")
        if times >= self._limit:
            told.append(f"Its detail is lost: it is shrunk {math.floor(times)} times")
        return [f"{what}; the model {self._name} was trained on {self._trained_on}." for what in told]

    def _loses_colour(self, picture: Picture) -> bool:
        return self._trained_on.colour == "grey" and picture.colourful

    def _times(self, picture: Picture) -> float:
        """How many times the side of what the model was trained on."""
        height, width = self._trained_on.size
        return math.sqrt(picture.size[0] * picture.size[1] / (width * height))

    @property
    def statement(self) -> str | None:
        """All of it in a sentence; None as long as nothing was lost."""
        with self._lock:
            told = []
            if self._colourless:
                told.append(f"{self._colourless} of {self._images} images lose their colour")
            if self._shrunk:
                times = math.floor(self._least)
                told.append(f"{self._shrunk} of {self._images} images are shrunk {times} times or more")
        if not told:
            return None
        return f"{', '.join(told)}: the model {self._name} was trained on {self._trained_on}"

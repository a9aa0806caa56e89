"""The radius for the file, tried: `python -m evaluation.files REPORT.json`.

Photo-like files of many sizes and forms are asked with. Then files whose pixels are less than `file_radius`
away are: moved at random, by a gradient attack that goes through decoding, and in the direction that decoding
enlarges most. Counted are inputs that moved by the radius or more, and answers that changed; and, so that it
is seen that the attack can do something, those that change at `BEYOND` times the radius.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from evaluation.adversary import Adversary
from evaluation.photos import FORMS, Pixels, photo, pixels
from evaluation.workbench import held_out, workbench
from models.noise import on_grid
from service.file_radius import LUMA, WHOLE, FilePixels
from service.images import read_image
from service.process import own_process
from service.resizing import matrix
from service.retrieval.adversary import Effort
from service.retrieval.answer import RetrieveResponse
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings

# By data set: the model, and how many certified files are made of its queries.
MODELS = {"digits": ("digits-cnn", 200), "emoji": ("emoji-small", 100)}
# Of each certified file: changes at random; of how many of these the answer is asked for too (of the others
# it is seen that the input moves by less than the radius, all that a radius for the file adds); and attacks.
RANDOM, ASKED, ATTACKS = 34, 2, 3
# How hard an attack tries; how many of the first samples the moved file is answered with, and how
# many decide where these say that the answer changed.
EFFORT, FEW, MANY = Effort(restarts=1, steps=6, draws=8), 256, 4_096
BEYOND = 3.0
# Width and height, in pixels.
SHORTEST, LONGEST = 16, 320

Change = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]


def _one_pixel(values: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    change = np.zeros_like(values)
    change[tuple(generator.integers(0, side) for side in values.shape[:2])] = generator.choice([-1, 1])
    return change


def _block(values: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    change = np.zeros_like(values)
    top, left = (int(generator.integers(0, side)) for side in values.shape[:2])
    change[top : top + 20, left : left + 20] = generator.choice([-1, 1])
    return change


# Ways of moving a file at random.
WAYS: dict[str, Change] = {
    "noise": lambda values, generator: generator.standard_normal(values.shape),
    "signs": lambda values, generator: generator.choice([-1.0, 1.0], values.shape),
    "all darker": lambda values, generator: -np.ones_like(values),
    "all lighter": lambda values, generator: np.ones_like(values),
    "negative": lambda values, generator: 0.5 - values,
    "one pixel": _one_pixel,
    "a block": _block,
}


class Trial:
    """The files of one model's queries, and what became of them."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._snapshot = retriever.gallery.snapshot()
        self._rows = {item.id: row for row, item in enumerate(self._snapshot.items)}
        self.counts: Counter[str] = Counter()
        # Of each certified file; and the longest way that the input of a moved file went, of the radius.
        self.shares: list[float] = []
        self.enlarged: list[float] = []
        self.reached: dict[str, float] = {}

    def file(self, content: bytes, seed: int, random: int = RANDOM, attacks: int = ATTACKS) -> bool:
        """Try one file; whether it has a radius at all."""
        answer = self._retriever.retrieve(content, RetrieveOptions(max_samples=1_000))
        certificate = answer.certificate
        if certificate.status == "abstained":
            return False
        made, of = self._read(content)
        found = pixels(content)
        if certificate.file_radius is None:
            raise AssertionError(certificate.file_reason)
        generator = np.random.default_rng(seed)
        through, enlarges = decoding(of, self._retriever.model.input_shape)
        self.counts["files"] += 1
        self.enlarged.append(enlarges)
        self.shares.append(certificate.file_radius * enlarges / certificate.radius)

        def tried(kind: str, moved: Pixels, asked: bool = True) -> None:
            self._tried(kind, moved, made, answer, asked)

        for number in range(random):
            way = list(WAYS.values())[(seed + number) % len(WAYS)]
            moved = found.moved(way(found.unit, generator), certificate.file_radius)
            tried("random", moved, asked=number < ASKED)
        for number in range(attacks):
            tried("attacked", self._attacked(found, through, answer, 1.0, seed + number))
        tried("enlarged most", found.moved(_worst(of, found), certificate.file_radius))
        tried("beyond", self._attacked(found, through, answer, BEYOND, seed))
        return True

    def _read(self, content: bytes) -> tuple[NDArray[np.float32], FilePixels]:
        settings, manifest = self._retriever.settings, self._retriever.model.manifest
        picture = read_image(
            content,
            manifest.input_shape,
            max_pixels=settings.max_image_pixels,
            min_side=settings.min_image_side,
            preprocessing=manifest.preprocessing,
        )
        return picture.tensor, picture.pixels

    def _attacked(
        self,
        found: Pixels,
        through: Callable[[torch.Tensor], torch.Tensor],
        answer: RetrieveResponse,
        scale: float,
        seed: int,
    ) -> Pixels:
        radius = scale * (answer.certificate.file_radius or 0)
        clean = found.unit.astype(np.float32)
        adversary = Adversary(self._retriever.model, self._snapshot, self._retriever.sigma, seed, through)
        moved = adversary.perturb(clean, self._rows[answer.neighbor.id], "label", radius, EFFORT)
        return found.moved(moved.astype(np.float64) - clean, radius)

    def _tried(
        self,
        kind: str,
        moved: Pixels,
        before: NDArray[np.float32],
        answer: RetrieveResponse,
        asked: bool,
    ) -> None:
        tensor, _ = self._read(moved.file())
        went = float(np.linalg.norm(tensor.astype(np.float64) - before))
        self.counts[kind] += 1
        self.counts[f"{kind}: input moved by the radius"] += went >= answer.certificate.radius
        if kind != "beyond":
            self.reached[kind] = max(self.reached.get(kind, 0.0), went / answer.certificate.radius)
        if asked:
            label = answer.neighbor.label
            stays = any(self._label(tensor, samples) == label for samples in (FEW, MANY))
            self.counts[f"{kind}: asked"] += 1
            self.counts[f"{kind}: answer changed"] += not stays

    def _label(self, tensor: NDArray[np.float32], samples: int) -> str:
        """Of the item that is served, of so many samples: the one nearest to their mean."""
        image = on_grid(tensor, self._retriever.sigma)
        mean = self._retriever.smoothed.first(image, samples).mean(axis=0, dtype=np.float64)
        nearest = self._snapshot.nearest(self._snapshot.lift(mean[None])[0], 1)
        return str(self._snapshot.items[nearest.rows[0]].label)

    def report(self) -> dict[str, Any]:
        """All counts, and how large the radii are."""
        return {
            "counts": dict(self.counts),
            "file_radius x norm of decoding / radius": _spread(self.shares),
            "norm of decoding": _spread(self.enlarged),
            "farthest an input went, of the radius": {k: round(v, 4) for k, v in self.reached.items()},
        }


def decoding(
    of: FilePixels, shape: tuple[int, int, int]
) -> tuple[Callable[[torch.Tensor], torch.Tensor], float]:
    """What becomes of pixels (H, W) or (H, W, 3), for gradients; and its norm, by numpy."""
    down, across = (matrix(axis).toarray() for axis in (of.down, of.across))
    tall, wide = (torch.from_numpy(each.astype(np.float32)) for each in (down, across))
    luma = torch.tensor(LUMA, dtype=torch.float32) / WHOLE
    channels = shape[0]

    def through(values: torch.Tensor) -> torch.Tensor:
        planes = values[None] if values.ndim == 2 else values.permute(2, 0, 1)
        if channels == 1 < len(planes):
            planes = torch.tensordot(luma, planes, 1)[None]
        resized = (tall @ planes @ wide.T).clamp(0, 1)
        return resized.expand(channels, -1, -1)

    mixing = math.sqrt(channels)
    if of.colour == "RGB":
        mixing = float(np.linalg.norm(LUMA)) / WHOLE if channels == 1 else 1.0
    return through, mixing * float(np.linalg.norm(down, 2) * np.linalg.norm(across, 2))


def _worst(of: FilePixels, found: Pixels) -> NDArray[np.float64]:
    """The change that decoding enlarges most, of the sign that leaves more of it inside [0, 1]."""
    rows, columns = (np.linalg.svd(matrix(axis).toarray())[2][0] for axis in (of.down, of.across))
    plane = np.outer(rows, columns)
    plane *= np.sign(np.sum(plane * (0.5 - found.unit.reshape(*plane.shape, -1).mean(axis=2)))) or 1.0
    if found.values.ndim == 2:
        return plane
    parts: NDArray[np.float64] = plane[..., None] * np.array(LUMA)
    return parts


def _spread(values: list[float]) -> dict[str, float]:
    return {
        name: round(float(np.quantile(values, share)), 5)
        for name, share in (("least", 0.0), ("median", 0.5), ("most", 1.0))
    }


def files(data: str, retriever: Retriever, count: int) -> Iterator[dict[str, Any]]:
    """Try `count` certified files made of held-out pictures of `data`; a report after each."""
    trial = Trial(retriever)
    pictures = held_out(data, 10**6)
    generator = np.random.default_rng(0)
    forms = list(FORMS.values())
    for row in track(generator.permutation(len(pictures)), data):
        if trial.counts["files"] == count:
            break
        size = np.exp(generator.uniform(np.log(SHORTEST), np.log(LONGEST), 2)).astype(int)
        image = photo(pictures.pixels[row], (int(size[0]), int(size[1])), seed=int(row))
        trial.counts["asked"] += 1
        if trial.file(forms[trial.counts["files"] % len(forms)](image), seed=int(row)):
            yield trial.report()


def main(output: Path) -> None:
    """Try the files of each model; save what became of them after each file, and print it."""
    own_process()
    reports: dict[str, Any] = {}
    for data, (model, count) in MODELS.items():
        settings = Settings.from_environment().model_copy(update={"model": model})
        with workbench(data, settings) as retriever:
            for reports[model] in files(data, retriever, count):
                output.write_text(json.dumps(reports, indent=1) + "\n")
        print(json.dumps(reports[model]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

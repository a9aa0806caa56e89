"""The radius for the file, tried: `python -m evaluation.files REPORT.json`.

Photo-like files of many sizes and forms are asked with. Then files whose pixels are less than `file_radius`
away are: moved at random, by a gradient attack that goes through decoding, and in the direction that decoding
enlarges most. Counted are inputs that moved by the radius or more, and answers that changed; and, so that it
is seen that the attack can do something, those that change at `BEYOND` times the radius.

A run that was cut short goes on: what is done is kept beside the report, in a folder with its name and
`.kept`. `--data emoji` is that alone, `--files 30` are fewer. A file of an emoji takes some 25 s of a core.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from evaluation.adversary import Adversary
from evaluation.kept import Kept
from evaluation.photos import FORMS, Pixels, photo, pixels
from evaluation.workbench import held_out, workbench
from models.code import meaning_digest
from models.noise import on_grid
from service.file_radius import LUMA, WHOLE, FilePixels
from service.images import read_image
from service.process import own_process
from service.resizing import matrix
from service.retrieval.adversary import Effort
from service.retrieval.answer import RetrieveResponse
from service.retrieval.options import RetrieveOptions
from service.retrieval.repeats import CODE
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
# The modules here that decide a result.
TRIALS = ("files.py", "photos.py", "adversary.py")

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


@dataclass(frozen=True)
class Tried:
    """What became of one certified file.

    counts    of its changes, by kind
    share     `file_radius` times the norm of decoding, over the radius
    enlarged  the norm of decoding
    reached   the longest way that the input of a moved file went, of the radius, by kind
    """

    id: str
    counts: dict[str, int]
    share: float
    enlarged: float
    reached: dict[str, float]


class Trial:
    """Files made of one model's queries, each moved and attacked."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._snapshot = retriever.gallery.snapshot()
        self._rows = {item.id: row for row, item in enumerate(self._snapshot.items)}

    def file(
        self, id_: str, content: bytes, seed: int, random: int = RANDOM, attacks: int = ATTACKS
    ) -> Tried | None:
        """Try one file; None if its answer is not certified."""
        answer = self._retriever.retrieve(content, RetrieveOptions(max_samples=1_000))
        certificate = answer.certificate
        if certificate.status == "abstained":
            return None
        made, of = self._read(content)
        found = pixels(content)
        if certificate.file_radius is None:
            raise AssertionError(certificate.file_reason)
        generator = np.random.default_rng(seed)
        through, enlarges = decoding(of, self._retriever.model.input_shape)
        counts, reached = Counter[str](), dict[str, float]()

        def tried(kind: str, moved: Pixels, asked: bool = True) -> None:
            tensor, _ = self._read(moved.file())
            went = float(np.linalg.norm(tensor.astype(np.float64) - made)) / certificate.radius
            counts[kind] += 1
            counts[f"{kind}: input moved by the radius"] += went >= 1
            if kind != "beyond":
                reached[kind] = max(reached.get(kind, 0.0), went)
            if asked:
                counts[f"{kind}: asked"] += 1
                counts[f"{kind}: answer changed"] += self._changed(tensor, answer.neighbor.label)

        for number in range(random):
            way = list(WAYS.values())[(seed + number) % len(WAYS)]
            moved = found.moved(way(found.unit, generator), certificate.file_radius)
            tried("random", moved, asked=number < ASKED)
        for number in range(attacks):
            tried("attacked", self._attacked(found, through, answer, 1.0, seed + number))
        tried("enlarged most", found.moved(_worst(of, found), certificate.file_radius))
        tried("beyond", self._attacked(found, through, answer, BEYOND, seed))
        share = certificate.file_radius * enlarges / certificate.radius
        return Tried(id_, dict(counts), share, enlarges, reached)

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

    def _changed(self, tensor: NDArray[np.float32], label: str | None) -> bool:
        return all(self._label(tensor, samples) != label for samples in (FEW, MANY))

    def _label(self, tensor: NDArray[np.float32], samples: int) -> str:
        """Of the item that is served, of so many samples: the one nearest to their mean."""
        image = on_grid(tensor, self._retriever.sigma)
        mean = self._retriever.smoothed.first(image, samples).mean(axis=0, dtype=np.float64)
        nearest = self._snapshot.nearest(self._snapshot.lift(mean[None])[0], 1)
        return str(self._snapshot.items[nearest.rows[0]].label)


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


def files(
    data: str, retriever: Retriever, kept: Kept[Tried], count: int
) -> Iterator[tuple[int, list[Tried]]]:
    """Try up to `count` certified files made of held-out pictures of `data`.

    After each: how many were asked with so far, and what became of those that are certified.
    """
    pictures, trial, found = held_out(data, 10**6), Trial(retriever), list[Tried]()
    generator, forms = np.random.default_rng(0), list(FORMS.values())
    for asked, row in enumerate(generator.permutation(len(pictures)).tolist(), 1):
        if len(found) == count:
            return
        width, height = np.exp(generator.uniform(np.log(SHORTEST), np.log(LONGEST), 2)).astype(int).tolist()
        id_ = pictures.ids[row]
        one = kept[id_]
        if one is None:
            image = photo(pictures.pixels[row], (width, height), seed=row)
            one = trial.file(id_, forms[len(found) % len(forms)](image), seed=row)
            if one is not None:
                kept.add(one)
        if one is not None:
            found.append(one)
            yield asked, found


def report(asked: int, found: Sequence[Tried]) -> dict[str, Any]:
    """All counts, and how large the radii are."""
    counts, reached = Counter(asked=asked, files=len(found)), dict[str, float]()
    for one in found:
        counts.update(one.counts)
        reached |= {kind: max(reached.get(kind, 0.0), went) for kind, went in one.reached.items()}
    return {
        "counts": dict(counts),
        "file_radius x norm of decoding / radius": _spread([one.share for one in found]),
        "norm of decoding": _spread([one.enlarged for one in found]),
        "farthest an input went, of the radius": {kind: round(went, 4) for kind, went in reached.items()},
    }


def main(output: Path, sets: Sequence[str], count: int | None) -> None:
    """Try the files of each of the data `sets`; save what became of them after each file, and print it."""
    own_process()
    reports: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    for data in sets:
        model, all_of_them = MODELS[data]
        place = output.with_suffix(".kept") / data / "files.jsonl"
        place.parent.mkdir(parents=True, exist_ok=True)
        settings = Settings.from_environment().model_copy(update={"model": model})
        with (
            workbench(data, settings) as retriever,
            closing(Kept(place, _experiment(retriever), Tried)) as kept,
        ):
            wanted = count or all_of_them
            for asked, found in track(files(data, retriever, kept, wanted), data, wanted):
                reports[model] = report(asked, found)
                output.write_text(json.dumps(reports, indent=1) + "\n")
        print(json.dumps(reports[model]))


def _experiment(retriever: Retriever) -> str:
    """All that decides a result."""
    trials = meaning_digest(Path(__file__).parent, TRIALS)
    return " ".join([CODE.hex(), trials, retriever.smoothed.digest, retriever.gallery.snapshot().digest])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--data", choices=MODELS, action="append", help="one of them; all without it")
    parser.add_argument(
        "--files", type=int, help="certified files of each; as many as the report of docs/ has"
    )
    asked_for = parser.parse_args()
    main(asked_for.output, asked_for.data or list(MODELS), asked_for.files)

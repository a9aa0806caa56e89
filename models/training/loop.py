"""From a data set to a model folder."""

import copy
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from models.datasets import ImageSet
from models.errors import ModelError
from models.manifest import MANIFEST, NAME, Domain, Manifest, Weights
from models.model import EmbeddingModel, save_weights
from models.networks.convolutional import ConvolutionalEmbedding
from models.networks.embedding import EmbeddingNetwork
from models.training import start
from models.training.augmentation import Redrawing
from models.training.checkpoint import (
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
    training_digest,
)
from models.training.inputs import inputs, pixels
from models.training.recipe import Recipe
from models.training.run import Run
from models.training.validation import Judge, Score

# An image for which two threads wait for each other longer than they work.
SMALL_PIXELS = 16 * 16


class TrainingDiverged(ModelError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch: its `number` from 1, the `share` of the training that is done, its loss.

    `score` is that of the latest validation, if there is one.
    """

    number: int
    share: float
    loss: float
    score: Score | None


def train(
    data: ImageSet,
    recipe: Recipe,
    folder: Path,
    *,
    name: str,
    command: str,
    given: EmbeddingModel | None = None,
    validation: ImageSet | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    save_every: float = 60.0,
    progress: Callable[[Epoch], None] = lambda epoch: None,
) -> EmbeddingModel:
    """Train on `data` and write weights and manifest to `folder`; `progress` after every epoch.

    The network is a new one, or that of the model `given`, of which a copy is trained: then `recipe` says so,
    and its dimension is that of the model.

    A seed of its own: the result does not depend on what else used torch's generator; for small images,
    neither on the number of cores, as one thread trains on them. `command` goes into the manifest, so
    that the weights can be reproduced. `minutes` take the place of the epochs of the recipe. On `cuda`, data,
    noise and augmentation stay on the GPU, and the network computes in bfloat16.

    With `validation`, images of labels that are trained on, the best weights by its score are kept, and a
    training that gets no better ends early.

    Every `save_every` seconds all of it is saved in `folder`; the next call with the same arguments goes on
    there, as if it had never stopped. Raises `CheckpointError` if what is saved is not of this training,
    `TrainingDiverged` if the loss is no number any more, and `ModelError` if there is no such device, if
    `name` cannot be one, if there are not two labels, or if what should learn is not there.
    """
    if not re.fullmatch(NAME, name):
        raise ModelError(
            f"a model cannot be called {name!r}: use letters, digits, '_', '.' and '-', 64 at most"
        )
    names = sorted(set(data.labels))
    if len(names) < 2:
        raise ModelError("all images are of one label, so there is nothing to tell apart: bring more labels")
    if given is not None:
        recipe = replace(recipe, dimension=given.dimension)
    given_digest = given.manifest.digest() if given is not None else None
    digest = training_digest(recipe, minutes, device, given_digest, data, validation)
    saved = load_checkpoint(folder, digest)
    shape = _input_shape(data, recipe) if given is None else given.input_shape
    images = inputs(data, shape)
    numbers = {label: number for number, label in enumerate(names)}
    targets = torch.tensor([numbers[label] for label in data.labels])
    where = _device(device)
    with _own_state(recipe, shape, where):
        begun = start.new(recipe, pixels(images)) if given is None else start.given(recipe, given)
        network = begun.network.to(where)
        if recipe.backbone == "residual":  # faster, also on a CPU
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        redrawing = None
        if recipe.augmentation:
            pictures = torch.from_numpy(data.pixels).to(where)
            redrawing = Redrawing(pictures, targets.to(where), shape[1:], recipe.augmentation)
        seen = (images.to(where), targets.to(where))
        run = Run(recipe, network, *seen, redrawing, minutes)
        judge = None
        if validation is not None:
            asked = torch.tensor([numbers[label] for label in validation.labels], device=where)
            judge = Judge(seen, (inputs(validation, shape).to(where), asked), recipe.sigma)
        if saved is not None:
            run.restore(saved["run"])
            if judge is not None:
                judge.restore(saved["judge"])
        _go_on(run, judge, folder, digest, save_every, progress)
        best = run.result if judge is None or judge.best is None else judge.best_network(run.result)
        trained = copy.deepcopy(best).to("cpu")
    folder.mkdir(parents=True, exist_ok=True)
    height, width = data.original or data.pixels.shape[2:]
    told: dict[str, Any] = {"images": len(data), "labels": names, "recipe": asdict(recipe)}
    if given is not None:
        told["given"] = {"name": given.manifest.name, "digest": given_digest}
    if given is not None and recipe.learns == "denoiser":  # which learns no labels
        del told["labels"]
        told |= {name: value for name, value in given.manifest.training.items() if name == "labels"}
    if minutes is not None:
        told |= {"minutes": minutes, "epochs": run.epochs}
    if judge is not None and judge.best is not None:
        told |= {"validation": asdict(judge.best)}
    manifest = Manifest(
        format=1,
        name=name,
        architecture=begun.architecture,
        input_shape=shape,
        normalization=begun.normalization,
        preprocessing=begun.preprocessing,
        sigma=recipe.sigma,
        domain=Domain(images=data.about, colour="grey" if shape[0] == 1 else "RGB", size=(height, width)),
        ranges=activation_ranges(trained, images, recipe),
        training={"command": command} | told,
        weights=Weights(
            file="weights.safetensors", sha256=save_weights(trained, folder / "weights.safetensors")
        ),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    remove_checkpoint(folder)
    return EmbeddingModel.load(folder)


def _go_on(
    run: Run,
    judge: Judge | None,
    folder: Path,
    digest: str,
    save_every: float,
    progress: Callable[[Epoch], None],
) -> None:
    """Epoch by epoch to the end."""
    last_saved, safe = time.monotonic(), run.epochs
    while run.share < 1 and not (judge and judge.hopeless):
        loss = run.epoch()
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"epoch {run.epochs}: the loss is no number any more; nothing was written"
                + (f", the checkpoint of epoch {safe} is still there" if safe else "")
                + ": train with a lower learning rate"
            )
        if judge is not None:
            judge.look(run.result, run.share)
        if time.monotonic() - last_saved >= save_every:
            state = {"run": run.state(), "judge": judge.state() if judge else None}
            save_checkpoint(folder, digest, state)
            last_saved, safe = time.monotonic(), run.epochs
        progress(Epoch(run.epochs, run.share, loss, judge.latest if judge else None))


def _input_shape(data: ImageSet, recipe: Recipe) -> tuple[int, int, int]:
    channels, height, width = data.pixels.shape[1:]
    return (channels, recipe.side or height, recipe.side or width)


def _device(name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no GPU here that torch can use: train with --device cpu")
    return device


@contextmanager
def _own_state(recipe: Recipe, shape: tuple[int, int, int], device: torch.device) -> Iterator[None]:
    """Seeded generators, and one thread for small images of `shape`; as they were afterwards."""
    threads = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.backends.cudnn.flags(enabled=True, benchmark=True):
        torch.manual_seed(recipe.seed)
        if recipe.backbone == "convolutional" or shape[1] * shape[2] <= SMALL_PIXELS:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@torch.inference_mode()
def activation_ranges(
    network: EmbeddingNetwork, images: torch.Tensor, recipe: Recipe
) -> tuple[float, float, float] | None:
    """The largest value of each ReLU of the features on noisy `images`, to three digits, for int8 passes.

    Images are as `models.training.inputs` keeps them. None for other networks than the convolutional one.
    """
    if not isinstance(network, ConvolutionalEmbedding):
        return None
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(recipe.seed))
    values = (pixels(images) + recipe.noise * recipe.sigma * noise - network.mean) / network.std
    ranges = []
    for block in network.eval().features:
        values = block(values)
        ranges.append(float(f"{values.max().item():.3g}"))
    first, second, third = ranges
    return first, second, third

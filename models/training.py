"""Training: metric learning with Gaussian noise, so that embeddings hold still under the noise."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pytorch_metric_learning.losses import ArcFaceLoss

from models.datasets import ImageSet
from models.manifest import MANIFEST, ConvolutionalArchitecture, Domain, Manifest, Normalization, Weights
from models.model import EmbeddingModel, save_weights
from models.networks.convolutional import ConvolutionalEmbedding


@dataclass(frozen=True)
class Recipe:
    """What a training run depends on besides its data. The same recipe gives the same weights, bit for bit.

    ArcFace (Deng et al. 2019) with an angular `margin` in radians and a `scale`; every image appears
    `copies` times in its batch, each with its own N(0, (noise σ)²I), `sigma` the σ that the model is meant
    for; AdamW with one learning-rate cycle.
    """

    sigma: float
    noise: float = 1.4
    epochs: int = 100
    copies: int = 4
    batch: int = 128
    margin: float = 0.3
    scale: float = 6.0
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    width: int = 64
    dimension: int = 64
    seed: int = 0


def train(
    data: ImageSet,
    recipe: Recipe,
    folder: Path,
    *,
    name: str,
    command: str,
    progress: Callable[[float], None] = lambda loss: None,
) -> EmbeddingModel:
    """Train on `data` and write weights and manifest to `folder`; `progress(loss)` after every epoch.

    One thread and a seed of its own: the result does not depend on the number of cores, nor on what else
    used torch's generator. `command` goes into the manifest, so that the weights can be reproduced.
    """
    images = torch.from_numpy(data.tensors)
    names = sorted(set(data.labels))
    targets = torch.tensor([names.index(label) for label in data.labels])
    channels, height, width = images.shape[1:]
    shape = (channels, height, width)
    architecture = ConvolutionalArchitecture(
        kind="convolutional", width=recipe.width, dimension=recipe.dimension, nonnegative=True
    )
    mean, std = round(float(images.mean()), 4), round(float(images.std()), 4)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    try:
        network = ConvolutionalEmbedding(shape, mean, std, recipe.width, recipe.dimension).train()
        loss_function = ArcFaceLoss(
            len(names), recipe.dimension, margin=math.degrees(recipe.margin), scale=recipe.scale
        )
        parameters = [*network.parameters(), *loss_function.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        batches = -(-len(images) // recipe.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches
        )
        for _ in range(recipe.epochs):
            losses = []
            for rows in torch.split(torch.randperm(len(images)), recipe.batch):
                copies = rows.repeat(recipe.copies)
                pixels = images[copies]
                loss = loss_function(
                    network(pixels + recipe.noise * recipe.sigma * torch.randn_like(pixels)),
                    targets[copies],
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
            progress(float(np.mean(losses)))
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(
        format=1,
        name=name,
        architecture=architecture,
        input_shape=shape,
        normalization=Normalization(mean=mean, std=std),
        sigma=recipe.sigma,
        domain=Domain(images=data.about, colour="grey" if channels == 1 else "RGB", size=(height, width)),
        ranges=activation_ranges(network, images, recipe),
        training={"command": command, "images": len(images), "labels": names, "recipe": asdict(recipe)},
        weights=Weights(
            file="weights.safetensors", sha256=save_weights(network, folder / "weights.safetensors")
        ),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    return EmbeddingModel.load(folder)


@torch.inference_mode()
def activation_ranges(
    network: ConvolutionalEmbedding, images: torch.Tensor, recipe: Recipe
) -> tuple[float, float, float]:
    """The largest value of each ReLU of the features on noisy `images`, to three digits, for int8 passes."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(recipe.seed))
    values = (images + recipe.noise * recipe.sigma * noise - network.mean) / network.std
    ranges = []
    for block in network.eval().features:
        values = block(values)
        ranges.append(float(f"{values.max().item():.3g}"))
    first, second, third = ranges
    return first, second, third

"""What a training run depends on besides its data."""

from dataclasses import dataclass, replace
from typing import Literal

LossName = Literal[
    "arcface", "margin", "multi-similarity", "proxy-anchor", "supervised-contrastive", "triplet"
]


@dataclass(frozen=True)
class Recipe:
    """What a training run depends on besides its data; on one thread, the weights bit for bit.

    sigma, noise   every image gets N(0, (noise σ)²I), `sigma` being the σ that the model is meant for
    epochs, batch  passes over the data, and different images in a batch
    copies         how often each of them is in its batch, every time with noise of its own
    loss           `arcface` (Deng et al. 2019): an angular `margin` in radians, and a `scale`; or `margin`
                   (Wu et al. 2017): equal labels are nearer than β - margin, others further than β + margin;
                   or another of `models.training.losses`
    schedule       `one-cycle`, up and down again; or `steps`: times .3 after .3, .55 and .75 of the epochs
    backbone       the network, of `width` and into `dimension` numbers; `given`: that of a model
    learns         of a model that is given: `all` of it, its `head` alone, or a `denoiser` of `width` that is
                   put in front of it, which for the last share `stability` of the training minds embeddings,
                   too
    side           height and width of its input; None: those of the pictures
    augmentation   strength of `models.training.augmentation`; 0: pictures as they are
    averaging      decay of the average of weights that is kept in place of the last ones; 0: the last ones
    """

    sigma: float
    noise: float = 1.4
    epochs: int = 100
    copies: int = 4
    batch: int = 128
    loss: LossName = "arcface"
    margin: float = 0.3
    scale: float = 6.0
    schedule: Literal["one-cycle", "steps"] = "one-cycle"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    backbone: Literal["convolutional", "residual", "given"] = "convolutional"
    learns: Literal["all", "head", "denoiser"] = "all"
    width: int = 64
    dimension: int = 64
    side: int | None = None
    augmentation: float = 0.0
    averaging: float = 0.0
    stability: float = 0.0
    seed: int = 0


# Sides of the input of `small`, in pixels.
SIDES = (32, 48, 64)


def small(sigma: float, side: int = 48) -> Recipe:
    """For colour pictures with many labels and few pictures of each: the residual network, 32 to 64 pixels.

    Chosen on emoji by a designer held out of training (docs/log.md): strong augmentation wins once a training
    lasts long enough, and few copies of many pictures win over many copies of few.
    """
    return Recipe(
        sigma,
        noise=1.2,
        epochs=300,
        copies=2,
        batch=512,
        scale=16.0,
        learning_rate=6e-3,
        weight_decay=0.1,
        backbone="residual",
        width=40,
        dimension=128,
        side=side,
        augmentation=1.5,
        averaging=0.999,
    )


def side_for(size: tuple[int, int]) -> int:
    """The side of `small` for pictures of `size` (height, width): as many of their pixels as it takes."""
    return max((side for side in SIDES if side <= min(size)), default=SIDES[0])


def fine_tuning(sigma: float) -> Recipe:
    """For a network that knows pictures, but no noise: all of its weights go on learning."""
    return Recipe(
        sigma,
        noise=1.2,
        epochs=20,
        copies=2,
        batch=32,
        scale=16.0,
        learning_rate=3e-4,
        backbone="given",
        dimension=128,
        augmentation=0.5,
    )


def head_alone(sigma: float) -> Recipe:
    """As `fine_tuning`, but what stands before the head stays as it is: a forward pass an image, no more."""
    return replace(fine_tuning(sigma), learns="head", learning_rate=3e-3, averaging=0.99)


def denoising(sigma: float, images: int) -> Recipe:
    """A denoiser in front of a network that stays as it is; about 100,000 pictures, however few there are."""
    return Recipe(
        sigma,
        noise=1.0,
        epochs=max(10, 100_000 // images),
        copies=1,
        batch=32,
        learning_rate=4e-3,
        backbone="given",
        learns="denoiser",
        width=24,
        averaging=0.99,
        stability=0.25,
    )


def margin_of_the_paper(recipe: Recipe) -> Recipe:
    """`recipe` with loss, epochs and rates of RetrievalGuard (Wu et al., ICML 2022).

    They are meant for a pretrained network: 100 epochs at 1e-5.
    """
    return replace(
        recipe, loss="margin", margin=0.2, schedule="steps", learning_rate=1e-5, epochs=100, dimension=128
    )

"""What a training run depends on besides its data."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """What a training run depends on besides its data; on one thread, the weights bit for bit.

    sigma, noise   every image gets N(0, (noise σ)²I), `sigma` being the σ that the model is meant for
    epochs, batch  passes over the data, and different images in a batch
    copies         how often each of them is in its batch, every time with noise of its own
    loss           `arcface` (Deng et al. 2019): an angular `margin` in radians, and a `scale`; or `margin`
                   (Wu et al. 2017): equal labels are nearer than β - margin, others further than β + margin
    schedule       `one-cycle`, up and down again; or `steps`: times .3 after .3, .55 and .75 of the epochs
    backbone       the network, of `width` and into `dimension` numbers
    side           height and width of its input; None: those of the pictures
    augmentation   strength of `models.training.augmentation`; 0: pictures as they are
    averaging      decay of the average of weights that is kept in place of the last ones; 0: the last ones
    """

    sigma: float
    noise: float = 1.4
    epochs: int = 100
    copies: int = 4
    batch: int = 128
    loss: Literal["arcface", "margin"] = "arcface"
    margin: float = 0.3
    scale: float = 6.0
    schedule: Literal["one-cycle", "steps"] = "one-cycle"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    backbone: Literal["convolutional", "residual"] = "convolutional"
    width: int = 64
    dimension: int = 64
    side: int | None = None
    augmentation: float = 0.0
    averaging: float = 0.0
    seed: int = 0


def small(sigma: float) -> Recipe:
    """For colour pictures with many labels and few pictures of each: the residual network at 48 pixels.

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
        side=48,
        augmentation=1.5,
        averaging=0.999,
    )


def margin_of_the_paper(recipe: Recipe) -> Recipe:
    """`recipe` with loss, epochs and rates of RetrievalGuard (Wu et al., ICML 2022).

    They are meant for a pretrained network: 100 epochs at 1e-5.
    """
    return replace(
        recipe, loss="margin", margin=0.2, schedule="steps", learning_rate=1e-5, epochs=100, dimension=128
    )

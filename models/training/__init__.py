"""Training: metric learning with Gaussian noise, so that embeddings hold still under the noise.

Belongs here: recipes, losses, the loop, and what it leaves in a folder. Does not: data sets, networks,
commands.

recipe        what a run depends on besides its data
augmentation  variants of a picture, as other designers might have drawn it
inputs        images as a training keeps them
start         a new network, or one that is given, and what of it learns
objective     what a step makes smaller
losses        of embeddings, and the optimiser
denoising     of a denoiser in front of a network
validation    how well held-out images find their label, and how far from the border
checkpoint    a run that was cut short, as a file
run           all that changes in a run, one epoch at a time
loop          from a data set to a model folder
"""

from models.training.checkpoint import CheckpointError
from models.training.loop import Epoch, TrainingDiverged, train
from models.training.recipe import (
    Recipe,
    denoising,
    fine_tuning,
    head_alone,
    margin_of_the_paper,
    side_for,
    small,
)
from models.training.validation import split

__all__ = [
    "CheckpointError",
    "Epoch",
    "Recipe",
    "TrainingDiverged",
    "denoising",
    "fine_tuning",
    "head_alone",
    "margin_of_the_paper",
    "side_for",
    "small",
    "split",
    "train",
]

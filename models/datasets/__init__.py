"""Data sets with splits that are fixed once and for all; one file each, nothing is downloaded in silence.

Belongs here: images, labels and ids. Does not: networks, noise, training.
"""

from collections.abc import Callable

from models.datasets.digits import digits
from models.datasets.emoji import emoji, emoji_unseen
from models.datasets.image_set import ImageSet, Part

DATASETS: dict[str, Callable[[Part], ImageSet]] = {
    "digits": digits,
    "emoji": emoji,
    "emoji-unseen": emoji_unseen,
}
# Which of them shows what a model that ships with the project can do.
DEMOS = {"digits-cnn": "digits", "emoji-small": "emoji"}

__all__ = ["DATASETS", "DEMOS", "ImageSet", "Part", "digits", "emoji", "emoji_unseen"]

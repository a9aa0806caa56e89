"""Data sets with splits that are fixed once and for all; one file each, nothing is downloaded in silence.

Belongs here: images, labels and ids. Does not: networks, noise, training.
"""

from collections.abc import Callable

from models.datasets.cars196 import CARS196
from models.datasets.cub200 import CUB200
from models.datasets.digits import digits, digits_zero_shot
from models.datasets.emoji import emoji, emoji_unseen, emoji_zero_shot
from models.datasets.image_set import ImageSet, Part
from models.datasets.in_shop import IN_SHOP
from models.datasets.online_products import ONLINE_PRODUCTS
from models.datasets.published import DataSetError, ListedImage, PublishedSet

DATASETS: dict[str, Callable[[Part], ImageSet]] = {
    "digits": digits,
    "digits-zero-shot": digits_zero_shot,
    "emoji": emoji,
    "emoji-unseen": emoji_unseen,
    "emoji-zero-shot": emoji_zero_shot,
}
# Those of the paper, and one like them: from a copy of one's own.
PUBLISHED: dict[str, PublishedSet] = {
    "cub200": CUB200,
    "cars196": CARS196,
    "online-products": ONLINE_PRODUCTS,
    "in-shop": IN_SHOP,
}
# Which of them shows what a model that ships with the project can do.
DEMOS = {"digits-cnn": "digits", "emoji-small": "emoji"}

__all__ = [
    "DATASETS",
    "DEMOS",
    "PUBLISHED",
    "DataSetError",
    "ImageSet",
    "ListedImage",
    "Part",
    "PublishedSet",
    "digits",
    "emoji",
    "emoji_unseen",
]

"""CUB-200-2011: birds (C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie, 2011).

images.txt              IMAGE_ID CLASS.NAME/FILE.jpg
image_class_labels.txt  IMAGE_ID CLASS_ID
images/                 the files
"""

from pathlib import Path

from models.datasets.image_set import Part
from models.datasets.published import DataSetError, ListedImage, PublishedSet, folder_of, rows

# Classes 1 to 100 train, 101 to 200 are asked for: the usual zero-shot split, not train_test_split.txt.
LAST_TRAINED = 100


def listed(root: Path, part: Part) -> list[ListedImage]:
    """The images of `part`; `root` is the folder CUB_200_2011, or the one that it is in."""
    folder = folder_of(root, "CUB_200_2011", holding="images.txt")
    labels = folder / "image_class_labels.txt"
    classes = dict(rows(labels, 2))
    images = []
    for image, name in rows(folder / "images.txt", 2):
        number = classes.get(image, "")
        if not number.isdecimal():
            raise DataSetError(f"{labels}: image {image} has no class: the file is damaged, get it again")
        if (int(number) <= LAST_TRAINED) == (part == "train"):
            images.append(ListedImage(name, name.partition("/")[0], folder / "images" / name))
    return images


CUB200 = PublishedSet(
    title="CUB-200-2011",
    page="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    split="classes 1-100 train; each image of classes 101-200 asks the others",
    sizes={"train": 5_864, "gallery": 5_924, "query": 5_924},
    listed=listed,
)

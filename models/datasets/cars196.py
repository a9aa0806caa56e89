"""CARS196, Stanford Cars (J. Krause, M. Stark, J. Deng, L. Fei-Fei, 2013), in the layouts that circulate.

cars_annos.mat, car_ims/             all images in one folder, all annotations in one file
devkit/, cars_train/, cars_test/     cars_train_annos.mat, cars_meta.mat, and cars_test_annos_withlabels.mat,
                                     in the folder devkit or beside it
train/CLASS/, test/CLASS/            a folder per class, perhaps below car_data/
"""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from models.datasets.image_set import Part
from models.datasets.published import DataSetError, ListedImage, PublishedSet

# Classes 1 to 98 train, 99 to 196 are asked for: the usual zero-shot split, not that of the devkit.
LAST_TRAINED = 98
# The classes are numbered by make: 98 is "Eagle Talon Hatchback 1998", 99 "FIAT 500 Abarth 2012". So without
# numbers the first letter tells the two halves apart.
FIRST_ASKED = "f"
TEST_LABELS = "cars_test_annos_withlabels.mat"


def listed(root: Path, part: Part) -> list[ListedImage]:
    """The images of `part`; `root` is the folder in which the layout begins."""
    if (root / "cars_annos.mat").exists():
        return _one_file(root, part)
    if (root / "cars_train").is_dir() or (root / "cars_test").is_dir():
        return _devkit(root, part)
    for folder in (root, root / "car_data", root / "car_data" / "car_data"):
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            return _folders(folder, part)
    raise FileNotFoundError(2, "no such file", str(root / "cars_annos.mat"))


def _one_file(root: Path, part: Part) -> list[ListedImage]:
    path = root / "cars_annos.mat"
    names = _column(path, "class_names")
    return [
        ListedImage(name, label, root / name)
        for name, number in _annotations(path, "relative_im_path")
        if (label := _label(names, number, part, path))
    ]


def _devkit(root: Path, part: Part) -> list[ListedImage]:
    devkit = root / "devkit" if (root / "devkit").is_dir() else root
    names = _column(devkit / "cars_meta.mat", "class_names")
    beside = root / TEST_LABELS
    test = beside if beside.exists() else devkit / TEST_LABELS  # cars_test_annos.mat has no classes
    images = []
    for folder, path in (("cars_train", devkit / "cars_train_annos.mat"), ("cars_test", test)):
        for name, number in _annotations(path, "fname"):
            label = _label(names, number, part, path)
            if label:
                images.append(ListedImage(f"{folder}/{name}", label, root / folder / name))
    return images


def _folders(root: Path, part: Part) -> list[ListedImage]:
    images = []
    for half in ("train", "test"):
        for folder in sorted(path for path in (root / half).iterdir() if path.is_dir()):
            if (folder.name.casefold() < FIRST_ASKED) == (part == "train"):
                files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".jpg")
                images += [
                    ListedImage(path.relative_to(root).as_posix(), folder.name, path) for path in files
                ]
    return images


def _label(names: list[Any], number: int, part: Part, path: Path) -> str | None:
    """The name of a class; None for one that is not in `part`."""
    if not 1 <= number <= len(names):
        raise DataSetError(f"{path}: there is no class {number}, only 1 to {len(names)}: get it again")
    return str(names[number - 1]) if (number <= LAST_TRAINED) == (part == "train") else None


def _annotations(path: Path, name: str) -> list[tuple[str, int]]:
    """File names and class numbers of an annotation file; the member `name` has the former."""
    rows = _column(path, "annotations")
    try:
        return [(str(row[name]), int(row["class"])) for row in rows]
    except (ValueError, IndexError, TypeError) as error:
        raise DataSetError(f"{path}: an annotation has no `{name}` and `class`: get it again") from error


def _column(path: Path, name: str) -> list[Any]:
    """The variable `name` of a MATLAB file, a vector."""
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    try:
        return list(np.atleast_1d(loadmat(path, squeeze_me=True, variable_names=[name])[name]))
    except Exception as error:  # scipy raises whatever a damaged file leads it into
        raise DataSetError(
            f"{path} is no MATLAB file with the variable `{name}` ({error}): get it again"
        ) from error


CARS196 = PublishedSet(
    title="CARS196",
    page="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    split="classes 1-98 train; each image of classes 99-196 asks the others",
    sizes={"train": 8_054, "gallery": 8_131, "query": 8_131},
    listed=listed,
)

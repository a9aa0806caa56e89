"""Small replicas of published data sets: the layout is theirs, the pictures are digits."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from models.datasets import digits

# Pictures of each class.
EACH = 3
CARS = [f"Audi {number}" for number in range(1, 98)] + ["Eagle Talon Hatchback 1998", "FIAT 500 Abarth 2012"]
CARS += [f"Ford {number}" for number in range(100, 196)] + ["smart fortwo Convertible 2012"]


def picture(number: int, copy: int) -> bytes:
    """A JPEG file of a digit: those of a class of this `number` all show the same one."""
    data = digits("query")
    rows = np.flatnonzero(np.array(data.labels) == str(number % 10))
    grey = Image.fromarray(data.pixels[rows[copy]][0]).resize((32, 32), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    grey.convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def cub200(folder: Path) -> Path:
    """Classes 99 to 104, as the archive is unpacked; `folder` holds CUB_200_2011."""
    inside, names, classes, image = folder / "CUB_200_2011", [], [], 0
    for number in range(99, 105):
        for copy in range(EACH):
            image += 1
            name = f"{number:03d}.Bird_{number}/Bird_{number}_{copy:04d}.jpg"
            names.append(f"{image} {name}\n")
            classes.append(f"{image} {number}\n")
            write(inside / "images" / name, picture(number, copy))
    (inside / "images.txt").write_text("".join(names))
    (inside / "image_class_labels.txt").write_text("".join(classes))
    return folder


def annotations(member: str, entries: list[tuple[str, int]]) -> NDArray[np.void]:
    """A MATLAB struct array with file names and classes."""
    kinds = [(member, object), ("bbox_x1", object), ("class", object)]
    return np.array([(name, 1.0, float(number)) for name, number in entries], dtype=kinds)


def cars_in_one_folder(folder: Path) -> Path:
    """Classes 97 to 101 of `cars_annos.mat`."""
    entries = list[tuple[str, int]]()
    for number in range(97, 102):
        for copy in range(EACH):
            entries.append((f"car_ims/{len(entries) + 1:06d}.jpg", number))
            write(folder / entries[-1][0], picture(number, copy))
    found = annotations("relative_im_path", entries)
    savemat(folder / "cars_annos.mat", {"annotations": found, "class_names": np.array(CARS, object)})
    return folder


def cars_with_devkit(folder: Path) -> Path:
    """Classes 97 to 101, each in both halves of the devkit's own split."""
    devkit = folder / "devkit"
    devkit.mkdir(parents=True)
    savemat(devkit / "cars_meta.mat", {"class_names": np.array(CARS, object)})
    halves = (("train", "cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat"))
    for copy, (half, name) in enumerate(halves):
        entries: list[tuple[str, int]] = []
        for number in range(97, 102):
            entries += [(f"{len(entries) + 1:05d}.jpg", number)]
            write(folder / f"cars_{half}" / entries[-1][0], picture(number, copy))
        path = devkit / name if half == "train" else folder / name
        savemat(path, {"annotations": annotations("fname", entries)})
    return folder


def cars_by_class(folder: Path) -> Path:
    """The classes on both sides of the split, and the last one, in a folder each."""
    for number in (97, 98, 99, 100, 196):
        for copy, half in enumerate(("train", "test")):
            path = folder / "car_data" / "car_data" / half / CARS[number - 1] / f"{number:05d}.jpg"
            write(path, picture(number, copy))
    return folder


def online_products(folder: Path) -> Path:
    """Two classes to train on, four that ask."""
    inside = folder / "Stanford_Online_Products"
    image = 0
    for half, classes in (("train", (1, 2)), ("test", (11319, 11320, 11321, 11322))):
        lines = ["image_id class_id super_class_id path\n"]
        for number in classes:
            for copy in range(EACH):
                image += 1
                path = f"bicycle_final/1110{number}_{copy}.JPG"
                lines.append(f"{image} {number} 1 {path}\n")
                write(inside / path, picture(number, copy))
        (inside / f"Ebay_{half}.txt").write_text("".join(lines))
    return folder


def in_shop(folder: Path) -> Path:
    """Two items to train on; four of which one picture asks and the others are the gallery."""
    lines = []
    for number in range(1, 7):
        for copy in range(EACH):
            name = f"img/WOMEN/Dresses/id_{number:08d}/02_{copy + 1}_front.jpg"
            part = "train" if number < 3 else "gallery" if copy else "query"
            lines.append(f"{name:60} id_{number:08d}    {part}\n")
            write(folder / "Img" / name, picture(number, copy))
    heading = f"{len(lines)}\nimage_name                        item_id     evaluation_status\n"
    write(folder / "Eval" / "list_eval_partition.txt", (heading + "".join(lines)).encode())
    return folder


LAYOUTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "cub200": ("cub200", cub200),
    "cars in one folder": ("cars196", cars_in_one_folder),
    "cars with devkit": ("cars196", cars_with_devkit),
    "cars by class": ("cars196", cars_by_class),
    "online-products": ("online-products", online_products),
    "in-shop": ("in-shop", in_shop),
}

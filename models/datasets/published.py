"""Data sets that one downloads oneself, read where they lie: lists of image files, none of them opened."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.datasets.image_set import Part
from models.errors import ModelError


class DataSetError(ModelError):
    """A published data set is not there, or not whole; the message names the file, and the mend."""


@dataclass(frozen=True)
class ListedImage:
    """An image file, its label, and a stable id: its path as the data set writes it."""

    id: str
    label: str
    path: Path


@dataclass(frozen=True)
class PublishedSet:
    """A data set in its published layout; nothing is downloaded.

    title    its name
    page     where its authors offer it
    split    who trains, who is the gallery and who asks, in words
    sizes    how many images each part has, as published
    listed   the images of a part, from the list files below a folder
    """

    title: str
    page: str
    split: str
    sizes: Mapping[Part, int]
    listed: Callable[[Path, Part], list[ListedImage]]

    def images(self, root: Path, part: Part) -> list[ListedImage]:
        """The images of `part` below `root`, in the order of the data set's lists.

        Queries that are gallery images, too, are asked without themselves (leave-one-out). Raises
        `DataSetError` if a list or an image is missing, or a list cannot be read.
        """
        try:
            images = self.listed(root, part)
        except FileNotFoundError as error:
            raise DataSetError(
                f"{self.title}: {error.filename} is missing; nothing is downloaded for you: get the data set"
                f" from {self.page}, unpack it, and name its folder by --root"
            ) from error
        except OSError as error:
            raise DataSetError(f"{self.title}: {error.filename} cannot be read: {error.strerror}") from error
        missing = [image.path for image in images if not image.path.is_file()]
        if missing:
            raise DataSetError(
                f"{self.title}: {len(missing):,} of {len(images):,} images are missing, the first is"
                f" {missing[0]}: unpack the images again"
            )
        if not images:
            raise DataSetError(f"{self.title}: the lists below {root} name no image of the part {part!r}")
        return images

    def shortage(self, part: Part, count: int) -> str | None:
        """What to tell of a `part` that has not as many images as published; None if it has."""
        if count == self.sizes[part]:
            return None
        return (
            f"{self.title}: the {part} part has {count:,} images here and {self.sizes[part]:,} as published:"
            " figures cannot be compared with those of others"
        )


def folder_of(root: Path, *names: str, holding: str) -> Path:
    """`root`, or the folder of one of `names` in it: the first that holds the file `holding`."""
    for folder in (root, *(root / name for name in names)):
        if (folder / holding).exists():
            return folder
    raise FileNotFoundError(2, "no such file", str(root / holding))


def rows(path: Path, columns: int, *, skip: int = 0) -> Iterator[list[str]]:
    """The words of each line of a list, `columns` of them, but for the first `skip` lines.

    Raises `DataSetError` with the line's number for one that has more or fewer; `OSError`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataSetError(f"{path} is no text ({error}): the file is damaged, get it again") from error
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if number <= skip or not words:
            continue
        if len(words) != columns:
            raise DataSetError(
                f"{path}, line {number}: {len(words)} words where {columns} belong: the file is damaged, get"
                " it again"
            )
        yield words

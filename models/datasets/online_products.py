"""Stanford Online Products: things on sale (H. Oh Song, Y. Xiang, S. Jegelka, S. Savarese, CVPR 2016).

Ebay_train.txt, Ebay_test.txt   a heading, then IMAGE_ID CLASS_ID SUPER_CLASS_ID FOLDER/FILE.JPG
"""

from pathlib import Path

from models.datasets.image_set import Part
from models.datasets.published import ListedImage, PublishedSet, folder_of, rows


def listed(root: Path, part: Part) -> list[ListedImage]:
    """The images of `part`; `root` is the folder Stanford_Online_Products, or the one that it is in."""
    name = "Ebay_train.txt" if part == "train" else "Ebay_test.txt"
    folder = folder_of(root, "Stanford_Online_Products", holding=name)
    return [ListedImage(path, label, folder / path) for _, label, _, path in rows(folder / name, 4, skip=1)]


ONLINE_PRODUCTS = PublishedSet(
    title="Stanford Online Products",
    page="https://cvgl.stanford.edu/projects/lifted_struct/",
    split="Ebay_train.txt trains; each image of Ebay_test.txt asks the others",
    sizes={"train": 59_551, "gallery": 60_502, "query": 60_502},
    listed=listed,
)

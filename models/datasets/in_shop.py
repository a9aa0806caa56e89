"""DeepFashion In-shop Clothes Retrieval (Z. Liu, P. Luo, S. Qiu, X. Wang, X. Tang, CVPR 2016).

Eval/list_eval_partition.txt  how many; a heading; then img/.../FILE.jpg ITEM_ID train|query|gallery
Img/img/                      the files; without the folders Eval and Img in some copies
"""

from pathlib import Path
from typing import get_args

from models.datasets.image_set import Part
from models.datasets.published import DataSetError, ListedImage, PublishedSet, folder_of, rows

LIST = "list_eval_partition.txt"


def listed(root: Path, part: Part) -> list[ListedImage]:
    """The images of `part`; `root` is the folder with Eval and Img, or the one with the list and img."""
    path = folder_of(root, "Eval", holding=LIST) / LIST
    folder = root / "Img" if (root / "Img").is_dir() else root
    entries = list(rows(path, 3, skip=2))
    stated = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    if stated != str(len(entries)):
        raise DataSetError(
            f"{path}: its first line says {stated}, and {len(entries)} images follow: the file is damaged,"
            " get it again"
        )
    unknown = {status for _, _, status in entries} - set(get_args(Part))
    if unknown:
        raise DataSetError(f"{path}: {min(unknown)!r} is none of {', '.join(get_args(Part))}: get it again")
    return [ListedImage(name, label, folder / name) for name, label, status in entries if status == part]


IN_SHOP = PublishedSet(
    title="In-shop Clothes Retrieval",
    page="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
    split="train, query and gallery as list_eval_partition.txt says: other items than in training",
    sizes={"train": 25_882, "gallery": 12_612, "query": 14_218},
    listed=listed,
)

"""Data sets in their published layouts: who trains, who asks, and what is told when something is missing."""

from pathlib import Path

import pytest
from scipy.io import savemat

from models.datasets import PUBLISHED, DataSetError, ListedImage
from tests.models.datasets import replicas
from tests.models.datasets.replicas import EACH, LAYOUTS

# Of each layout: the labels that train, those that are asked for, and an image that asks.
SPLITS: dict[str, tuple[set[str], set[str], str]] = {
    "cub200": (
        {"099.Bird_99", "100.Bird_100"},
        {f"{number}.Bird_{number}" for number in (101, 102, 103, 104)},
        "101.Bird_101/Bird_101_0000.jpg",
    ),
    "cars in one folder": (
        {"Audi 97", "Eagle Talon Hatchback 1998"},
        {"FIAT 500 Abarth 2012", "Ford 100", "Ford 101"},
        "car_ims/000007.jpg",
    ),
    "cars with devkit": (
        {"Audi 97", "Eagle Talon Hatchback 1998"},
        {"FIAT 500 Abarth 2012", "Ford 100", "Ford 101"},
        "cars_test/00003.jpg",
    ),
    "cars by class": (
        {"Audi 97", "Eagle Talon Hatchback 1998"},
        {"FIAT 500 Abarth 2012", "Ford 100", "smart fortwo Convertible 2012"},
        "test/smart fortwo Convertible 2012/00196.jpg",
    ),
    "online-products": (
        {"1", "2"},
        {"11319", "11320", "11321", "11322"},
        "bicycle_final/111011319_0.JPG",
    ),
    "in-shop": (
        {"id_00000001", "id_00000002"},
        {f"id_0000000{number}" for number in (3, 4, 5, 6)},
        "img/WOMEN/Dresses/id_00000003/02_1_front.jpg",
    ),
}


def labels(images: list[ListedImage]) -> set[str]:
    return {image.label for image in images}


def ids(images: list[ListedImage]) -> set[str]:
    return {image.id for image in images}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_split_is_that_of_the_paper(layout: str, tmp_path: Path) -> None:
    name, made = LAYOUTS[layout]
    root = made(tmp_path)
    everything = {path for path in root.rglob("*") if path.suffix.lower() == ".jpg"}
    train, gallery, query = (PUBLISHED[name].images(root, part) for part in ("train", "gallery", "query"))

    trained, asked, one = SPLITS[layout]
    assert (labels(train), labels(gallery), labels(query)) == (trained, asked, asked)
    assert one in ids(query)
    if name == "in-shop":
        assert not ids(gallery) & ids(query)
        assert len(query) == 4
    else:
        assert gallery == query
    images = {image.path: image for image in (*train, *gallery, *query)}
    assert images.keys() == everything
    assert len(ids(list(images.values()))) == len(everything)


@pytest.mark.parametrize("layout", ["cub200", "online-products"])
def test_the_folder_that_the_archive_makes_may_be_named_too(layout: str, tmp_path: Path) -> None:
    name, made = LAYOUTS[layout]
    (inside,) = made(tmp_path).iterdir()
    assert PUBLISHED[name].images(inside, "query") == PUBLISHED[name].images(tmp_path, "query")


def test_in_shop_may_be_unpacked_flat(tmp_path: Path) -> None:
    root = replicas.in_shop(tmp_path / "published")
    flat = tmp_path / "flat"
    (root / "Img").rename(flat)
    (root / "Eval" / "list_eval_partition.txt").rename(flat / "list_eval_partition.txt")
    found = PUBLISHED["in-shop"].images(flat, "gallery")
    assert len(found) == 4 * (EACH - 1)
    assert all(image.path.is_file() for image in found)


# A folder per class has no list that could name a missing one.
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "cars by class"])
def test_no_image_is_opened_and_one_that_is_missing_is_named(layout: str, tmp_path: Path) -> None:
    name, made = LAYOUTS[layout]
    root = made(tmp_path)
    before = PUBLISHED[name].images(root, "query")
    for image in before:
        image.path.write_bytes(b"")
    assert PUBLISHED[name].images(root, "query") == before

    before[1].path.unlink()
    with pytest.raises(DataSetError, match=r"1 of .* images are missing, the first is") as told:
        PUBLISHED[name].images(root, "query")
    assert str(before[1].path) in str(told.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_folder_without_the_data_set_is_told_with_where_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="nothing is downloaded") as told:
        PUBLISHED[name].images(tmp_path, "train")
    assert str(tmp_path) in str(told.value)
    assert PUBLISHED[name].page in str(told.value)


def damaged(root: Path, file: str, old: str, new: str) -> None:
    (found,) = root.rglob(file)
    content = found.read_text()
    assert old in content
    found.write_text(content.replace(old, new, 1))


@pytest.mark.parametrize(
    ("layout", "file", "old", "new", "told"),
    [
        ("cub200", "images.txt", "2 099", "2099", "images.txt, line 2: 1 words where 2 belong"),
        ("cub200", "image_class_labels.txt", "4 100\n", "", "image_class_labels.txt: image 4 has no class"),
        ("online-products", "Ebay_test.txt", "_1.JPG", "_1 .JPG", "Ebay_test.txt, line 3: 5 words where 4"),
        ("in-shop", "list_eval_partition.txt", "18\n", "52712\n", "says 52712, and 18 images follow"),
        (
            "in-shop",
            "list_eval_partition.txt",
            "  query",
            "  guess",
            "'guess' is none of train, gallery, query",
        ),
    ],
)
def test_a_damaged_list_is_told_with_file_and_line(
    layout: str, file: str, old: str, new: str, told: str, tmp_path: Path
) -> None:
    name, made = LAYOUTS[layout]
    root = made(tmp_path)
    damaged(root, file, old, new)
    with pytest.raises(DataSetError, match=told):
        PUBLISHED[name].images(root, "query")


def test_a_list_that_is_no_text_is_told(tmp_path: Path) -> None:
    root = replicas.online_products(tmp_path)
    (path,) = root.rglob("Ebay_test.txt")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataSetError, match=r"Ebay_test\.txt is no text"):
        PUBLISHED["online-products"].images(root, "query")


@pytest.mark.parametrize("content", [b"", b"no MATLAB file at all", None], ids=["empty", "text", "other"])
def test_a_damaged_matlab_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    root = replicas.cars_in_one_folder(tmp_path)
    path = root / "cars_annos.mat"
    if content is None:
        savemat(path, {"class_names": ["one"], "annotations": replicas.annotations("fname", [("1.jpg", 1)])})
    else:
        path.write_bytes(content)
    with pytest.raises(DataSetError, match="get it again") as told:
        PUBLISHED["cars196"].images(root, "query")
    assert str(path) in str(told.value)


def test_a_matlab_file_cut_short_and_a_class_that_is_none_are_told(tmp_path: Path) -> None:
    root = replicas.cars_with_devkit(tmp_path)
    path = root / "devkit" / "cars_train_annos.mat"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataSetError, match=r"cars_train_annos\.mat"):
        PUBLISHED["cars196"].images(root, "train")
    savemat(path, {"annotations": replicas.annotations("fname", [("00001.jpg", 197)])})
    with pytest.raises(DataSetError, match=r"cars_train_annos\.mat: there is no class 197"):
        PUBLISHED["cars196"].images(root, "train")


def test_the_classes_of_the_devkits_test_half_are_asked_for(tmp_path: Path) -> None:
    root = replicas.cars_with_devkit(tmp_path)
    (root / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(DataSetError, match=r"cars_test_annos_withlabels\.mat is missing"):
        PUBLISHED["cars196"].images(root, "query")


@pytest.mark.parametrize(
    ("name", "images"),
    [("cub200", 11_788), ("cars196", 16_185), ("online-products", 120_053), ("in-shop", 52_712)],
)
def test_fewer_images_than_published_are_told(name: str, images: int) -> None:
    data = PUBLISHED[name]
    own = data.sizes["query"] if name == "in-shop" else 0
    assert data.sizes["train"] + data.sizes["gallery"] + own == images
    assert data.shortage("gallery", data.sizes["gallery"]) is None
    assert "9 images here" in (data.shortage("gallery", 9) or "")

"""What `retrievalguard gallery add` reads: folders, tables and data sets, and what it says of bad ones."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from index import Item
from models.datasets import digits
from service.gallery.sources import ImportFailure, Source, sources
from service.images import png


def write(path: Path, content: str | bytes = b"an image") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def items(origin: Path) -> list[Item]:
    return [source.item for source in sources(str(origin))]


def refusal(origin: Path) -> str:
    with pytest.raises(ImportFailure) as error:
        sources(str(origin))
    return str(error.value)


# --- a folder for each label


def test_a_sub_folder_is_a_label_and_the_path_inside_is_the_id(tmp_path: Path) -> None:
    for name in ("cat/2.png", "cat/1.jpg", "dog/1.webp", "dog/1.jpeg"):
        write(tmp_path / name, name)

    found = sources(str(tmp_path))

    assert [source.item for source in found] == [
        Item("cat/1.jpg", "cat"),
        Item("cat/2.png", "cat"),
        Item("dog/1.jpeg", "dog"),
        Item("dog/1.webp", "dog"),
    ]
    assert [source.read().decode() for source in found] == [source.item.id for source in found]


def test_nested_folders_belong_to_the_label_at_the_top(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "black" / "young" / "1.png")
    write(tmp_path / "cat" / "dog" / "1.png")

    assert items(tmp_path) == [Item("cat/black/young/1.png", "cat"), Item("cat/dog/1.png", "cat")]


def test_suffixes_in_upper_case_are_images_too(tmp_path: Path) -> None:
    for name in ("1.PNG", "2.Jpg", "3.JPEG", "4.WebP"):
        write(tmp_path / "cat" / name)

    assert [item.id for item in items(tmp_path)] == ["cat/1.PNG", "cat/2.Jpg", "cat/3.JPEG", "cat/4.WebP"]


def test_what_is_no_image_or_has_no_label_is_passed_over(tmp_path: Path) -> None:
    for name in (
        "cat/1.png",
        "cat/notes.txt",
        "cat/Thumbs.db",
        "cat/png",
        "cat/1.png.bak",
        "top.png",
        "a.gif",
    ):
        write(tmp_path / name)
    (tmp_path / "cat" / "folder.png").mkdir()

    assert items(tmp_path) == [Item("cat/1.png", "cat")]


def test_labels_with_spaces_and_unicode_are_labels(tmp_path: Path) -> None:
    write(tmp_path / "chat noir 🐈" / "été 1.png")

    assert items(tmp_path) == [Item("chat noir 🐈/été 1.png", "chat noir 🐈")]


@pytest.mark.parametrize("names", [[], ["top.png"], ["cat/notes.txt"]])
def test_a_folder_without_images_is_told_what_was_expected(names: list[str], tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / name)

    message = refusal(tmp_path)

    assert str(tmp_path) in message
    assert "LABEL/IMAGE.png" in message


# --- a table


def test_a_csv_names_paths_and_labels_and_its_other_columns_are_metadata(tmp_path: Path) -> None:
    write(tmp_path / "images" / "1.png", "one")
    table = write(
        tmp_path / "items.csv",
        "label,path,camera,id,metadata\n"
        'cat,images/1.png,"left, upper",c1,"{""age"": 3, ""camera"": ""overruled""}"\n'
        "dog,images/2.png,right,,\n",
    )

    first, second = sources(str(table))

    assert first.item == Item("c1", "cat", {"age": 3, "camera": "left, upper"})
    assert first.read() == b"one"
    assert second.item == Item("images/2.png", "dog", {"camera": "right"})
    assert second.path == tmp_path / "images" / "2.png"


def test_reading_an_image_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    (source,) = sources(str(write(tmp_path / "items.csv", "path,label\nno.png,cat\n")))

    with pytest.raises(OSError, match=r"no\.png"):
        source.read()


def test_a_jsonl_names_paths_and_labels_with_metadata_of_any_depth(tmp_path: Path) -> None:
    write(tmp_path / "1.png", "one")
    rows: list[dict[str, Any]] = [
        {"path": "1.png", "label": "cat", "id": "c1", "metadata": {"tags": ["a", {"b": None}], "age": 3}},
        {"path": "2.png", "label": 7, "id": None, "metadata": '{"as": "text"}'},
    ]
    table = write(tmp_path / "items.jsonl", "\n\n".join(map(json.dumps, rows)) + "\n\n")

    found = sources(str(table))

    assert [source.item for source in found] == [
        Item("c1", "cat", rows[0]["metadata"]),
        Item("2.png", "7", {"as": "text"}),
    ]
    assert found[0].read() == b"one"


def test_an_absolute_path_in_a_table_stays_absolute(tmp_path: Path) -> None:
    image = write(tmp_path / "elsewhere" / "1.png", "one")
    table = write(tmp_path / "tables" / "items.jsonl", json.dumps({"path": str(image), "label": "cat"}))

    (source,) = sources(str(table))

    assert source.path == image
    assert source.read() == b"one"


@pytest.mark.parametrize("row", ["a.png,", ",cat", ","])
def test_a_csv_row_without_path_or_label_is_named_by_its_line(row: str, tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", f"path,label\nfine.png,cat\n{row}\n")

    assert refusal(table) == f"{table}, line 3: needs both `path` and `label`"


def test_a_csv_without_the_column_is_refused_at_its_first_row(tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", "path,class\na.png,cat\n")

    assert refusal(table) == f"{table}, line 2: needs both `path` and `label`"


def test_the_line_is_that_of_the_file_where_a_quoted_cell_spans_several(tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", 'path,label,note\na.png,cat,"one\ntwo\nthree"\nb.png,,x\n')

    assert f"{table}, line 5: " in refusal(table)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not valid JSON"),
        ("path: a.png", "not valid JSON"),
        ("[]", "expected an object with path and label"),
        ('"a.png"', "expected an object with path and label"),
        ("null", "expected an object with path and label"),
        ('{"path": "a.png"}', "needs both `path` and `label`"),
        ('{"path": "", "label": "cat"}', "needs both `path` and `label`"),
        ('{"path": "a.png", "label": "cat", "metadata": "{"}', "metadata is not valid JSON"),
        ('{"path": "a.png", "label": "cat", "metadata": [1]}', "metadata must be a JSON object"),
        ('{"path": "a.png", "label": "cat", "metadata": "3"}', "metadata must be a JSON object"),
        ('{"path": "a.png", "label": "cat", "metadata": 3}', "metadata must be a JSON object"),
    ],
)
def test_a_bad_line_of_a_jsonl_is_named(line: str, reason: str, tmp_path: Path) -> None:
    fine = '{"path": "a.png", "label": "cat"}'
    table = write(tmp_path / "items.jsonl", f"{fine}\n\n{line}\n{fine}\n")

    assert f"{table}, line 3: {reason}" in refusal(table)


def test_bad_metadata_in_a_csv_names_the_line(tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", "path,label,metadata\na.png,cat,{}\nb.png,cat,{age: 3}\n")

    assert f"{table}, line 3: metadata is not valid JSON" in refusal(table)


@pytest.mark.parametrize("name", ["items.csv", "items.jsonl"])
@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_table_is_refused(name: str, content: str, tmp_path: Path) -> None:
    table = write(tmp_path / name, content)

    assert refusal(table).startswith(f"{table} holds no images")


def test_the_number_0_is_a_label_and_an_id(tmp_path: Path) -> None:
    table = write(tmp_path / "items.jsonl", '{"path": "a.png", "label": 0, "id": 0}\n')

    assert items(table) == [Item("0", "0")]


def test_a_csv_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", b"\xef\xbb\xbfpath,label\na.png,cat\n")

    assert items(table) == [Item("a.png", "cat")]


@pytest.mark.parametrize("row", ["a.png,cat,red,more", "a.png,cat"])
def test_a_csv_row_of_another_length_is_named_by_its_line(row: str, tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", f"path,label,colour\nfine.png,cat,red\n{row}\n")

    assert f"{table}, line 3: " in refusal(table)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("items.csv", b"path,label\n\xe9t\xe9.png,cat\n"),
        ("items.jsonl", b'{"path": "\xe9t\xe9.png", "label": "cat"}\n'),
        ("items.csv", b"path,label\na.png," + 200_000 * b"x" + b"\n"),
    ],
    ids=["latin-1 csv", "latin-1 jsonl", "huge cell"],
)
def test_a_table_that_cannot_be_read_is_refused_by_name(name: str, content: bytes, tmp_path: Path) -> None:
    table = write(tmp_path / name, content)

    assert str(table) in refusal(table)


# --- anything else


@pytest.mark.parametrize("name", ["no-such-thing", "missing.csv", "missing.jsonl", "items.txt", ""])
def test_an_origin_that_is_nothing_known_is_told_what_there_is(name: str, tmp_path: Path) -> None:
    write(tmp_path / "items.txt")

    origin = tmp_path / name if name else tmp_path / "items.txt"
    message = refusal(origin)

    assert str(origin) in message
    assert all(word in message for word in ("folder", ".csv", ".jsonl", "digits"))


def test_the_digits_are_their_gallery_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = digits("gallery")

    found = sources("digits")

    assert [source.item for source in found] == list(map(Item, data.ids, data.labels))
    assert all(source.path is None for source in found)
    for source, pixels in zip(found, data.pixels, strict=True):
        with Image.open(io.BytesIO(source.read())) as image:
            assert (image.format, image.mode) == ("PNG", "L")
            assert np.array_equal(np.asarray(image), pixels[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_the_very_pixels(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 5, 9), dtype=np.uint8)

    with Image.open(io.BytesIO(png(pixels))) as image:
        decoded = np.asarray(image).reshape(5, 9, channels).transpose(2, 0, 1)

    assert np.array_equal(decoded, pixels)


def test_the_same_origin_gives_the_same_order(tmp_path: Path) -> None:
    for number in np.random.default_rng(0).permutation(30):
        write(tmp_path / "ab"[number % 2] / f"{number:02}.png")

    ids = [item.id for item in items(tmp_path)]

    assert ids == sorted(ids)
    assert len(set(ids)) == 30


def test_a_source_with_content_needs_no_file() -> None:
    assert Source(Item("one", "a"), content=b"bytes").read() == b"bytes"

"""What `retrievalguard gallery add` reads: folders, tables and data sets, and what it says of bad ones."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from index import Item
from models.datasets import digits
from service.gallery.check import ItemRefused, ItemRules
from service.gallery.findings import ImportFailure, Source
from service.gallery.sources import sources
from service.http.schemas import ItemBody
from service.images import png

PNG = b"\x89PNG\r\n\x1a\n"


def write(path: Path, content: str | bytes = b"an image") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def items(origin: Path) -> list[Item]:
    return [source.item for source in sources(str(origin)).sources]


def refused(origin: Path) -> list[str]:
    return [f"{refusal.place}: {refusal.reason}" for refusal in sources(str(origin)).refused]


def refusal(origin: Path) -> str:
    with pytest.raises(ImportFailure) as error:
        sources(str(origin))
    return str(error.value)


# --- a folder for each label


def test_a_sub_folder_is_a_label_and_the_path_inside_is_the_id(tmp_path: Path) -> None:
    for name in ("cat/2.png", "cat/1.jpg", "dog/1.webp", "dog/1.jpeg"):
        write(tmp_path / name, name)

    found = sources(str(tmp_path)).sources

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


def test_what_is_no_image_or_has_no_label_is_counted_and_said(tmp_path: Path) -> None:
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
    assert sources(str(tmp_path)).skipped == {
        "no image": 3,
        "hidden or system": 1,
        "not in the folder of a label": 1,
        "format .gif, convert it to PNG, JPEG or WebP": 1,
    }


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

    first, second = sources(str(table)).sources

    assert first.item == Item("c1", "cat", {"age": 3, "camera": "left, upper"})
    assert first.read() == b"one"
    assert second.item == Item("images/2.png", "dog", {"camera": "right"})
    assert second.path == tmp_path / "images" / "2.png"


def test_reading_an_image_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    (source,) = sources(str(write(tmp_path / "items.csv", "path,label\nno.png,cat\n"))).sources

    with pytest.raises(OSError, match=r"no\.png"):
        source.read()


def test_a_jsonl_names_paths_and_labels_with_metadata_of_any_depth(tmp_path: Path) -> None:
    write(tmp_path / "1.png", "one")
    rows: list[dict[str, Any]] = [
        {"path": "1.png", "label": "cat", "id": "c1", "metadata": {"tags": ["a", {"b": None}], "age": 3}},
        {"path": "2.png", "label": 7, "id": None, "metadata": '{"as": "text"}'},
    ]
    table = write(tmp_path / "items.jsonl", "\n\n".join(map(json.dumps, rows)) + "\n\n")

    found = sources(str(table)).sources

    assert [source.item for source in found] == [
        Item("c1", "cat", rows[0]["metadata"]),
        Item("2.png", "7", {"as": "text"}),
    ]
    assert found[0].read() == b"one"


def test_an_absolute_path_in_a_table_stays_absolute(tmp_path: Path) -> None:
    image = write(tmp_path / "elsewhere" / "1.png", "one")
    table = write(tmp_path / "tables" / "items.jsonl", json.dumps({"path": str(image), "label": "cat"}))

    (source,) = sources(str(table)).sources

    assert source.path == image
    assert source.item.id == str(image).lstrip("/")
    assert source.read() == b"one"


@pytest.mark.parametrize("row", ["a.png,", ",cat"])
def test_a_csv_row_without_path_or_label_costs_that_row(row: str, tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", f"path,label\nfine.png,cat\n{row}\nfiner.png,cat\n")

    assert refused(table) == [f"{table}, line 3: needs both `path` and `label`"]
    assert [item.id for item in items(table)] == ["fine.png", "finer.png"]


def test_a_csv_without_the_column_is_told_which_are_there_and_which_are_needed(tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", "path,class\na.png,cat\n")

    message = refusal(table)

    assert "no column `label`" in message
    assert "found: 'path', 'class'" in message
    assert "header" in message


def test_the_line_is_that_of_the_file_where_a_quoted_cell_spans_several(tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", 'path,label,note\na.png,cat,"one\ntwo\nthree"\nb.png,,x\n')

    (told,) = refused(table)
    assert told.startswith(f"{table}, line 5: ")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "the line is no valid JSON"),
        ("path: a.png", "the line is no valid JSON"),
        ("[]", "the line is no JSON object with path and label"),
        ('"a.png"', "the line is no JSON object with path and label"),
        ("null", "the line is no JSON object with path and label"),
        ('{"path": "a.png", "label": "cat", "label": "dog"}', "a member is given twice"),
        ('{"path": "a.png", "label": true}', "`label` must be text or a whole number, got 'true'"),
        ('{"path": "a.png", "label": 3.0}', "`label` must be text or a whole number, got '3.0'"),
        ('{"path": "a.png", "label": ["cat"]}', "`label` must be text or a whole number"),
        (
            '{"path": "a.png", "label": "c\\u0000t"}',
            "the label 'c\\x00t' holds a line break or another control",
        ),
        ('{"path": "a.png", "label": "' + "x" * 513 + '"}', "the label has 513 characters"),
        ('{"path": "../a.png", "label": "cat"}', "the id '../a.png' holds an empty part, `.` or `..`"),
        ('{"path": "a.png", "label": "cat", "x": ' + "1" * 5000 + "}", "the line is no valid JSON"),
        ('{"path": "a.png", "label": "cat", "x": "' + "y" * 70_000 + '"}', "the metadata has 70"),
        (
            '{"path": "a.png", "label": "cat", "x": ' + "[" * 33 + "]" * 33 + "}",
            "the metadata is nested more",
        ),
        ('{"path": "a.png"}', "needs both `path` and `label`"),
        ('{"path": "", "label": "cat"}', "needs both `path` and `label`"),
        ('{"path": "a.png", "label": "cat", "metadata": "{"}', "the metadata is no valid JSON"),
        ('{"path": "a.png", "label": "cat", "metadata": [1]}', "metadata must be a JSON object"),
        ('{"path": "a.png", "label": "cat", "metadata": "3"}', "metadata must be a JSON object"),
        ('{"path": "a.png", "label": "cat", "metadata": 3}', "metadata must be a JSON object"),
    ],
)
def test_a_bad_line_of_a_jsonl_is_named(line: str, reason: str, tmp_path: Path) -> None:
    fine = '{"path": "a.png", "label": "cat"}'
    table = write(tmp_path / "items.jsonl", f"{fine}\n\n{line}\n{fine}\n")

    (told,) = refused(table)
    assert told.startswith(f"{table}, line 3: {reason}")
    assert items(table) == [Item("a.png", "cat")]


def test_bad_metadata_in_a_csv_names_the_line(tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", "path,label,metadata\na.png,cat,{}\nb.png,cat,{age: 3}\n")

    assert [told.split(" (")[0] for told in refused(table)] == [
        f"{table}, line 3: the metadata is no valid JSON"
    ]


@pytest.mark.parametrize("name", ["items.csv", "items.jsonl"])
@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_table_is_refused(name: str, content: str, tmp_path: Path) -> None:
    table = write(tmp_path / name, content)

    assert refusal(table).startswith(str(table))


def test_the_number_0_is_a_label_and_an_id(tmp_path: Path) -> None:
    table = write(tmp_path / "items.jsonl", '{"path": "a.png", "label": 0, "id": 0}\n')

    assert items(table) == [Item("0", "0")]


def test_a_csv_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", b"\xef\xbb\xbfpath,label\na.png,cat\n")

    assert items(table) == [Item("a.png", "cat")]


@pytest.mark.parametrize("row", ["a.png,cat,red,more", "a.png,cat"])
def test_a_csv_row_of_another_length_is_named_by_its_line(row: str, tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", f"path,label,colour\nfine.png,cat,red\n{row}\n")

    (told,) = refused(table)
    assert told.startswith(f"{table}, line 3: ")
    assert "where the header has 3" in told


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


@pytest.mark.parametrize("cell", ['"cat', '"cat"s'], ids=["never closed", "closed too early"])
def test_a_wrong_quote_is_refused_at_its_line_and_swallows_no_rows(cell: str, tmp_path: Path) -> None:
    table = write(
        tmp_path / "items.csv", f'path,label,note\na.png,cat,"1\n2"\nb.png,{cell},\nc.png,dog,\nd.png,dog,\n'
    )
    assert f"{table}, line 4: no CSV from there on" in refusal(table)


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

    found = sources("digits").sources

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


# --- cases from the field

CASES = Path(__file__).parent / "cases"
CAT = [Item("img/0.png", "cat")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("table-excel-sep-line.csv", CAT),
        ("table-excel-trailing-empty-rows.csv", CAT),
        ("table-header-case.csv", CAT),
        ("table-header-spaces.csv", CAT),
        ("table-huggingface-metadata.csv", CAT),
        ("table-extra-members.jsonl", [Item("img/0.png", "cat", {"price": 3, "brand": "x"})]),
        ("table-space-after-comma.csv", [Item(f"img/{number}.png", "cat") for number in range(3)]),
        ("table-id-ends-in-image.csv", [Item("shoes/image", "shoe"), Item("shoes", "shoe")]),
    ],
)
def test_tables_as_programs_write_them_are_read(name: str, expected: list[Item]) -> None:
    found = sources(str(CASES / name))
    assert [source.item for source in found.sources] == expected
    assert found.refused == ()
    assert all(source.read().startswith(b"\x89PNG") for source in found.sources)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("table-deep.jsonl", "line 1: the line is nested too deep"),
        ("table-nan-metadata.jsonl", "line 1: NaN is no JSON number"),
        ("table-nul-in-path.csv", "line 2: the path 'img/0\\x00.png' holds a NUL"),
        ("table-surrogate-label.jsonl", "line 1: the label 'cut \\ud83d' holds half of a character"),
        ("table-urls.csv", "line 2: 'https://example.org/x.png' is a URL"),
    ],
)
def test_a_row_that_cannot_be_kept_costs_that_row_alone(name: str, reason: str, tmp_path: Path) -> None:
    (told,) = refused(CASES / name)
    assert f"{name}, {reason}" in told
    told.encode()  # can be printed
    suffix = name.rpartition(".")[2]
    good = b"fine.png,cat\n" if suffix == "csv" else b'{"path": "fine.png", "label": "cat"}\n'
    beside = write(tmp_path / name, (CASES / name).read_bytes().rstrip(b"\n") + b"\n" + good)
    assert items(beside) == [Item("fine.png", "cat")]
    assert len(refused(beside)) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("table-duplicate-header.csv", "two columns are 'label'"),
        ("table-same-path-two-labels.csv", "line 2, and "),
    ],
)
def test_a_table_that_contradicts_itself_is_refused_as_a_whole(name: str, reason: str) -> None:
    assert reason in refusal(CASES / name)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_the_separators_of_spreadsheets_are_told_from_the_first_line(mark: str, tmp_path: Path) -> None:
    table = write(tmp_path / "items.csv", f"path{mark}label{mark}note\na.png{mark}cat{mark}one, two\n")
    assert items(table) == [Item("a.png", "cat", {"note": "one, two"})]


def test_a_table_in_utf_16_is_told_how_to_be_saved(tmp_path: Path) -> None:
    assert "UTF-8" in refusal(write(tmp_path / "items.csv", "path,label\na.png,cat\n".encode("utf-16")))


def test_a_row_said_twice_is_counted_once(tmp_path: Path) -> None:
    found = sources(str(write(tmp_path / "items.csv", "path,label\na.png,cat\na.png, cat\n")))
    assert [source.item for source in found.sources] == [Item("a.png", "cat")]
    assert found.skipped == {"said twice": 1}
    assert found.total == 2


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(CASES / name) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_what_a_mac_leaves_in_a_folder_is_no_label(tmp_path: Path) -> None:
    found = sources(str(unpacked("tree-macos.tar.gz", tmp_path)))
    assert [source.item for source in found.sources] == [Item("cat/1.png", "cat"), Item("dog/2.png", "dog")]
    assert found.skipped == {"hidden or system": 3}


def test_formats_that_are_not_read_are_counted_and_bytes_decide(tmp_path: Path) -> None:
    found = sources(str(unpacked("tree-other-formats.tar.gz", tmp_path)))
    by_suffix = {source.item.id for source in found.sources}
    assert "cat/6.jfif" in by_suffix
    assert found.skipped == {
        "format .heic, convert it to PNG, JPEG or WebP": 1,
        "format .gif, convert it to PNG, JPEG or WebP": 1,
    }


def test_a_file_name_that_is_no_utf_8_costs_that_file(tmp_path: Path) -> None:
    found = sources(str(unpacked("tree-latin1-name.tar.gz", tmp_path)))
    assert [source.item.id for source in found.sources] == ["cat/ok.png"]
    (refusal,) = found.refused
    assert "no UTF-8" in refusal.reason
    refusal.place.encode()


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", ".git"]
)
def test_system_folders_are_no_labels(name: str, tmp_path: Path) -> None:
    write(tmp_path / name / "1.png", PNG)
    write(tmp_path / "cat" / "1.png", PNG)
    write(tmp_path / "cat" / name / "2.png", PNG)
    assert items(tmp_path) == [Item("cat/1.png", "cat")]
    assert sources(str(tmp_path)).skipped == {"hidden or system": 2}


def test_two_folders_with_the_same_file_are_a_conflict_unless_a_prefix_parts_them(tmp_path: Path) -> None:
    for root in ("one", "two"):
        write(tmp_path / root / "cat" / "1.png", PNG)
    with pytest.raises(ImportFailure, match="nothing was added"):
        sources(str(tmp_path / "one"), str(tmp_path / "two"))
    (source,) = sources(str(tmp_path / "one"), prefix="one/").sources
    assert source.item == Item("one/cat/1.png", "cat")


def test_labels_that_a_person_would_take_for_one_are_told(tmp_path: Path) -> None:
    labels = ["Cat", "cat", "ca\u200bt", "caf\u00e9", "cafe\u0301", "dog"]
    rows = "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))
    first, second = sources(str(write(tmp_path / "items.csv", f"path,label\n{rows}"))).warnings
    assert "'Cat'" in first
    assert "'cat'" in first
    assert "caf" in second
    assert "dog" not in first + second


def test_a_folder_that_links_to_itself_ends(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "1.png", PNG)
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    found = sources(str(tmp_path))
    assert [source.item.id for source in found.sources] == ["cat/1.png"]
    assert found.skipped == {"link to a folder that it is in": 1}


def test_a_file_that_cannot_be_opened_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "1.png", PNG)
    (tmp_path / "cat" / "2.png").symlink_to(tmp_path / "gone.png")
    (told,) = refused(tmp_path)
    assert "2.png: cannot be read: No such file" in told


@pytest.mark.parametrize("text", ["cat", "  Straße 7 ", "猫 🐈", "x" * 512, "=cmd()", "a/b c/d.png"])
def test_names_that_can_be_sent_are_kept(text: str) -> None:
    assert ItemRules().item(text, text, {"note": text}) == Item(text.strip(), text.strip(), {"note": text})


@given(st.text(), st.text(), st.dictionaries(st.text(), st.floats() | st.text() | st.integers()))
def test_what_passes_the_check_can_be_sent_back(id_: str, label: str, metadata: dict[str, Any]) -> None:
    try:
        item = ItemRules().item(id_, label, metadata)
    except ItemRefused as error:
        str(error).encode()
        return
    body = ItemBody(id=item.id, label=item.label, metadata=item.metadata).model_dump_json()
    assert json.loads(body.encode()) == {"id": item.id, "label": item.label, "metadata": metadata}
    assert "\n" not in item.id + item.label


def test_a_published_data_set_is_no_gallery_by_its_name_alone() -> None:
    with pytest.raises(ImportFailure, match="cub200 is read by evaluate, attack and train"):
        sources("cub200")

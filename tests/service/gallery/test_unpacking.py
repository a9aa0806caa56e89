"""Archives that mean harm: nothing is written outside, and neither disk nor memory is filled."""

import gzip
import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from service.gallery.findings import ImportFailure, Stopped
from service.gallery.unpacking import MOST_TAR_READ, MOST_ZIP_READ, UnpackLimits, top_folder, unpack

LIMITS = UnpackLimits(files=5, file_bytes=1_000, total_bytes=2_500)
FILES = {"3/a.png": b"a" * 10, "5/deep/b.png": b"b" * 20}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w", **changes: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for field, value in changes.items():
                setattr(entry, field, value)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


FORMS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zipped,
    "stored zip": lambda files: zipped(files, zipfile.ZIP_STORED),
    "tar": tarred,
    "tar.gz": lambda files: tarred(files, "w:gz"),
}


@pytest.fixture(params=FORMS)
def packed(request: pytest.FixtureRequest) -> Callable[[dict[str, bytes]], bytes]:
    return FORMS[request.param]


def unpacked(tmp_path: Path, content: bytes, limits: UnpackLimits = LIMITS) -> dict[str, bytes]:
    """What an archive unpacks to, which is all that was written anywhere."""
    outside = tmp_path / "around"
    outside.mkdir(parents=True)
    (outside / "archive").write_bytes(content)
    unpack(outside / "archive", outside / "in" / "content", limits)
    written = [path for path in outside.rglob("*") if path.is_file() or path.is_symlink()]
    inside = outside / "in" / "content"
    assert set(written) - {outside / "archive"} == {path for path in written if path.is_relative_to(inside)}
    return {
        path.relative_to(inside).as_posix(): path.read_bytes() for path in written if path.parent != outside
    }


def test_files_come_out_as_they_went_in(tmp_path: Path, packed: Callable[[dict[str, bytes]], bytes]) -> None:
    assert unpacked(tmp_path, packed(FILES)) == FILES


@pytest.mark.parametrize(
    "name", ["../a.png", "3/../../a.png", "/etc/a.png", "3\\..\\a.png", "a" * 300, "x/" * 40 + "a", ".."]
)
def test_a_name_that_leads_outside_is_refused(
    tmp_path: Path, packed: Callable[[dict[str, bytes]], bytes], name: str
) -> None:
    with pytest.raises(ImportFailure, match="no name of a file inside"):
        unpacked(tmp_path, packed({name: b"x"}))
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(ImportFailure, match="no plain file"):
        unpacked(tmp_path, tarred({"3/a.png": b""}, type=kind, linkname="/etc/passwd"))


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("3/a.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(ImportFailure, match="no plain file"):
        unpacked(tmp_path, buffer.getvalue())


def test_folders_count_like_files(tmp_path: Path) -> None:
    with pytest.raises(ImportFailure, match="more than 5 files and folders"):
        unpacked(tmp_path / "zip", zipped({f"{number}/": b"" for number in range(6)}))
    with pytest.raises(ImportFailure, match="more than 5 files and folders"):
        unpacked(tmp_path / "tar", tarred(dict.fromkeys("abcdef", b""), type=tarfile.DIRTYPE))


def test_unpacking_is_stopped(tmp_path: Path, packed: Callable[[dict[str, bytes]], bytes]) -> None:
    (tmp_path / "archive").write_bytes(packed({"3/a": bytes(10), "3/b": bytes(10)}))
    asked = iter([False, True])
    with pytest.raises(Stopped):
        unpack(tmp_path / "archive", tmp_path / "content", LIMITS, lambda: next(asked))
    assert [path.name for path in tmp_path.rglob("content/*/*")] == ["a"]


def test_what_is_too_large_or_too_much_is_told(
    tmp_path: Path, packed: Callable[[dict[str, bytes]], bytes]
) -> None:
    (tmp_path / "archive").write_bytes(packed({"3/a": b"x" * 1_001, "3/b": b"y"}))
    (refusal,) = unpack(tmp_path / "archive", tmp_path / "content", LIMITS)
    assert refusal.place == "3/a"
    assert [path.name for path in (tmp_path / "content" / "3").iterdir()] == ["b"]
    with pytest.raises(ImportFailure, match="unpacks to more than 2500 bytes"):
        unpacked(tmp_path / "bytes", packed({f"3/{number}": b"x" * 900 for number in range(3)}))
    with pytest.raises(ImportFailure, match="more than 5 files"):
        unpacked(tmp_path / "files", packed({f"3/{number}": b"x" for number in range(6)}))


def header(name: str, kind: bytes, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


def sparse(blocks: int) -> bytes:
    """A sparse file whose list of holes goes on for so many blocks, each of which says that more follow."""
    first = bytearray(header("s", tarfile.GNUTYPE_SPARSE, 0))
    first[482] = 1
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    return bytes(first) + (b"00000001000\0" * 42 + b"\1" + bytes(7)) * blocks


def long_names(count: int, size: int) -> bytes:
    """Names in a row, none of them of a file; each is held until the file comes."""
    return (header("././@LongLink", tarfile.GNUTYPE_LONGNAME, size) + bytes(size)) * count


def pax(*records: bytes) -> bytes:
    content = b"".join(records)
    padded = content + bytes(-len(content) % 512)
    return header("x", tarfile.XHDTYPE, len(content)) + padded + header("a", tarfile.REGTYPE, 0)


BOMBS = {
    "a long name": header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 2**33) + bytes(3 * 2**20),
    "a long pax header": header("x", tarfile.XHDTYPE, 2**33) + bytes(3 * 2**20),
    "names in a row": long_names(100, 2**18),
    "short names in a row": long_names(900, 512),
    "holes": sparse(40_000),
    "a name in a name": pax(b"2 " * 200_000, b"="),
    "large content": header("3/a", tarfile.REGTYPE, 50 * 2**20) + bytes(50 * 2**20 + 1_024),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_costs_neither_memory_nor_time(tmp_path: Path, bomb: str) -> None:
    content = gzip.compress(BOMBS[bomb], 1)
    tracemalloc.start()
    with pytest.raises(ImportFailure):
        unpacked(tmp_path, content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2**20


def test_the_worst_header_that_is_read_costs_little(tmp_path: Path) -> None:
    records = b"2 " * ((MOST_TAR_READ - 2_048) // 2)
    tracemalloc.start()
    with suppress(ImportFailure):  # newer versions of `tarfile` refuse it
        unpacked(tmp_path, pax(records, b"="))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20


def test_a_large_file_in_a_zip_is_passed_over(tmp_path: Path) -> None:
    assert unpacked(tmp_path, zipped({"3/a": bytes(50 * 2**20)})) == {}


def test_a_list_of_too_many_files_in_a_zip_is_not_read(tmp_path: Path) -> None:
    end = b"PK\5\6" + bytes(8) + (MOST_ZIP_READ + 1).to_bytes(4, "little") + bytes(6)
    with pytest.raises(ImportFailure, match="list of files"):
        unpacked(tmp_path, b"PK" + bytes(MOST_ZIP_READ - 1) + end)


@pytest.mark.parametrize("packed_with", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_packings_are_refused(tmp_path: Path, packed_with: int) -> None:
    with pytest.raises(ImportFailure, match="rare"):
        unpacked(tmp_path, zipped(FILES, packed_with))


def test_what_is_no_archive_or_damaged_is_refused(tmp_path: Path) -> None:
    whole = [FORMS[form](FILES) for form in FORMS]
    damaged = [content[: len(content) // 2] for content in whole if content[:2] in (b"PK", b"\x1f\x8b")]
    tar = tarred(FILES)
    damaged += [tar[:1_200], tar[:1_024] + b"x" * 512 + tar[1_536:], gzip.compress(tar[:1_500])]
    flipped = [
        content[:40] + bytes([content[40] ^ 0xFF]) + content[41:] for content in whole if content[:2] == b"PK"
    ]
    for number, content in enumerate([b"", b"x" * 2_000, b"PK\3\4", b"\x1f\x8b", *damaged, *flipped]):
        with pytest.raises(ImportFailure):
            unpacked(tmp_path / str(number), content)


@pytest.mark.parametrize(
    ("names", "top"),
    [
        (["3/a.png", "5/b.png"], ""),
        (["3/a.png"], ""),
        (["photos/3/a.png", "photos/5/b.png"], "photos"),
        (["photos/3/a.png", "photos/5/b.png", "__MACOSX/x", ".DS_Store"], "photos"),
        (["photos/items.csv", "photos/a.png"], "photos"),
        (["items.csv", "3/a.png"], ""),
    ],
)
def test_a_folder_around_everything_is_no_label(tmp_path: Path, names: list[str], top: str) -> None:
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert top_folder(tmp_path) == tmp_path / top

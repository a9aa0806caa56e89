"""A file whose pixels are not all there is refused, and nothing but a problem ever comes of damage."""

import re
import struct
import time
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import (
    ImageAnimated,
    ImageBlank,
    ImageDamaged,
    ImageTooLarge,
    NotAnImage,
    Problem,
)
from service.images import decode_image
from tests.service.image_files.pictures import (
    HEIGHT,
    PNG_SIGNATURE,
    WIDTH,
    chunk,
    chunks,
    noise,
    pictures,
    png_of,
    riff,
    riff_chunks,
    segment,
)
from tests.service.queries import saved

PICTURES = pictures()
CASES = Path(__file__).parent.parent / "cases"
SHAPE = (3, HEIGHT, WIDTH)
MARKS_OF_SCANS = b"\xff\xda"


def decode(content: bytes, max_pixels: int = 10**6) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return decode_image(content, SHAPE, max_pixels=max_pixels, min_side=8)


def refused(content: bytes, says: str = "damaged") -> None:
    with pytest.raises(ImageDamaged, match=says) as problem:
        decode(content)
    assert "send it again, whole" in problem.value.detail


# --- PNG


def parts_of(name: str) -> dict[bytes, bytes]:
    """The chunks of a file, its pixel data in one."""
    found: dict[bytes, bytes] = {}
    for kind, body in chunks(PICTURES[name]):
        found[kind] = found.get(kind, b"") + body
    return found


def test_a_palette_picture_without_its_palette_is_refused() -> None:
    refused((CASES / "png-palette-no-plte.png").read_bytes(), "palette is missing")


@pytest.mark.parametrize(
    "palette", [b"", b"\1\2", bytes(257 * 3)], ids=["empty", "two thirds", "257 colours"]
)
def test_a_palette_that_is_none_is_refused(palette: bytes) -> None:
    parts = parts_of("png P") | {b"PLTE": palette}
    refused(png_of(*parts.items()), "palette")


def test_a_colour_that_the_palette_does_not_have_is_refused() -> None:
    parts = parts_of("png P")
    used = 1 + int(np.asarray(Image.fromarray(noise(3)).quantize(16)).max())
    assert used > 2
    decode(png_of(*(parts | {b"PLTE": parts[b"PLTE"][: 3 * used]}).items()))
    refused(png_of(*(parts | {b"PLTE": parts[b"PLTE"][: 3 * used - 3]}).items()), "palette does not have")


@pytest.mark.parametrize("name", [name for name in PICTURES if name.startswith("png")])
def test_a_png_that_lacks_rows_is_refused_however_right_its_checksums(name: str) -> None:
    parts = parts_of(name)
    rows = zlib.decompress(parts[b"IDAT"])
    refused(png_of(*(parts | {b"IDAT": zlib.compress(rows[:-1])}).items()), "missing")
    refused(png_of(*(parts | {b"IDAT": zlib.compress(b"")}).items()), "missing")
    for cut in (1, len(parts[b"IDAT"]) // 2):
        short = png_of(*(parts | {b"IDAT": parts[b"IDAT"][: -cut - 8]}).items())
        refused(short, "missing")
    del parts[b"IDAT"]
    refused(png_of(*parts.items()), "no pixel data")


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"])
def test_a_wrong_checksum_of_what_the_pixels_need_is_refused(kind: bytes) -> None:
    content = bytearray(PICTURES["png P alphas"])
    at = content.index(kind)
    (length,) = struct.unpack_from(">I", content, at - 4)
    content[at + 4 + length] ^= 1
    refused(bytes(content), "checksum")


HEADERS = {
    "no pixels": (0, 8, 8, 2, 0, 0, 0),
    "seven bits": (8, 8, 7, 0, 0, 0, 0),
    "a colour type of its own": (8, 8, 8, 5, 0, 0, 0),
    "another compression": (8, 8, 8, 2, 1, 0, 0),
    "another filter method": (8, 8, 8, 2, 0, 64, 0),
    "another interlacing": (8, 8, 8, 2, 0, 0, 2),
    "more than there may be": (2**31, 8, 8, 2, 0, 0, 0),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_makes_no_sense_is_refused(name: str) -> None:
    data = zlib.compress(bytes(1000))
    refused(
        png_of((b"IHDR", struct.pack(">IIBBBBB", *HEADERS[name])), (b"IDAT", data), (b"IEND", b"")), "header"
    )


def test_chunks_where_they_do_not_belong_are_refused() -> None:
    header, palette, *rest = chunks(PICTURES["png P"])
    refused(png_of(palette, header, *rest), "begin with its header")
    refused(png_of(header, palette, palette, *rest), "where it belongs")
    refused(png_of(header, *rest[:-1], palette, rest[-1]), "where it belongs")
    refused(png_of(header, palette, header, *rest))
    with pytest.raises(NotAnImage, match="not of the standard"):
        decode(png_of(header, (b"CgBI", b"\0\0\0\0"), palette, *rest))


def test_a_transparent_colour_that_is_none_is_refused() -> None:
    for name, wrong in (("png L", b"\0"), ("png RGB", b"\0\1"), ("png I;16", b"")):
        header, *rest = chunks(PICTURES[name])
        refused(png_of(header, (b"tRNS", wrong), *rest), "transparent")


def test_an_animated_picture_is_refused_by_its_frames() -> None:
    frames = [Image.fromarray(noise(3, seed)) for seed in range(2)]
    for form in ("PNG", "WEBP"):
        with pytest.raises(ImageAnimated):
            decode(saved(frames[0], form, save_all=True, append_images=frames[1:], duration=50))


# --- JPEG


def test_a_jpeg_that_ends_early_is_refused_at_each_length() -> None:
    for name in ("jpeg L", "jpeg RGB", "jpeg CMYK", "jpeg RGB progressive", "jpeg RGB restarts"):
        content = PICTURES[name]
        for end in range(20, len(content), 37):
            refused(content[:end])


@pytest.mark.parametrize("name", [name for name in PICTURES if name.startswith("jpeg")])
def test_a_jpeg_with_an_end_in_the_midst_of_its_data_is_refused(name: str) -> None:
    """libjpeg fills up what is missing with grey, and only remarks on it."""
    content = PICTURES[name]
    if name == "jpeg MPO":
        content = content[: content.index(b"\xff\xd9\xff\xd8") + 2]
    begin = content.index(MARKS_OF_SCANS)
    for share in (0.02, 0.3, 0.6, 0.9):
        end = begin + 14 + int(share * (len(content) - begin - 14))
        refused(content[:end].rstrip(b"\xff") + b"\xff\xd9")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_tiny_jpeg_of_25_million_pixels_is_refused(progressive: bool) -> None:
    content = bytearray(saved(Image.fromarray(noise(3, size=(16, 16))), "JPEG", progressive=progressive))
    at = content.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    struct.pack_into(">HH", content, at + 5, 5000, 5000)
    started = time.process_time()
    with pytest.raises(ImageDamaged):
        decode_image(bytes(content), (1, 8, 8), max_pixels=25_000_000, min_side=8)
    assert time.process_time() - started < 10  # and not after minutes


def test_a_progressive_jpeg_that_lacks_a_scan_is_refused() -> None:
    content = PICTURES["jpeg RGB progressive"]
    starts = [at for at in range(len(content)) if content[at : at + 2] == MARKS_OF_SCANS]
    assert len(starts) > 3
    for start in starts[1:]:
        tables = content.rindex(b"\xff\xc4", 0, start) if b"\xff\xc4" in content[:start] else start
        for end in (start, tables):
            refused(content[:end] + b"\xff\xd9", "missing")


def test_a_jpeg_that_lacks_a_restart_interval_is_refused() -> None:
    content = PICTURES["jpeg L restarts"]
    marks = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", content)]
    refused(content[: marks[3]] + content[marks[4] :], "missing")


def test_endless_scans_are_refused_before_they_are_decoded() -> None:
    content = PICTURES["jpeg L progressive"]
    start = content.rindex(MARKS_OF_SCANS)
    refused(content[:-2] + content[start:-2] * 2000 + b"\xff\xd9", "order|scans")


def test_kinds_of_jpeg_in_which_missing_data_cannot_be_noticed_are_refused() -> None:
    content = PICTURES["jpeg L"]
    for kind in (0xC3, 0xC9, 0xCA):
        with pytest.raises(NotAnImage, match="save it as a common JPEG"):
            decode(content.replace(b"\xff\xc0", bytes([0xFF, kind]), 1))


def test_a_header_of_a_jpeg_that_makes_no_sense_is_refused() -> None:
    content = PICTURES["jpeg RGB"]
    header = content.index(b"\xff\xc0")
    frame = content[header : content.index(b"\xff\xc4")]
    refused(content[:header] + frame + content[header:], "two headers")
    refused(content.replace(frame, b""), "before its header")
    refused(content[: content.index(MARKS_OF_SCANS)] + b"\xff\xd9", "no pixel data")
    refused(content.replace(frame, segment(0xC0, b"\x08\0\x20\0\x20\0")), "header")


# --- WebP


@pytest.mark.parametrize("name", [name for name in PICTURES if name.startswith("webp")])
def test_a_webp_that_lacks_data_is_refused_however_right_its_lengths(name: str) -> None:
    content = PICTURES[name]
    for end in range(12, len(content), 41):
        refused(content[:end])
    parts = riff_chunks(content)
    for number, (kind, body) in enumerate(parts):
        if kind in (b"VP8 ", b"VP8L", b"ALPH"):
            for share in (0.2, 0.5, 0.8):
                short = [*parts]
                short[number] = (kind, body[: int(share * len(body))])
                refused(riff(*short))
    refused(riff(*[part for part in parts if part[0] not in (b"VP8 ", b"VP8L")]))


# --- any


@pytest.mark.parametrize("name", PICTURES)
def test_more_pixels_than_the_limit_are_refused_by_the_header(name: str) -> None:
    with pytest.raises(ImageTooLarge, match=f"{WIDTH} x {HEIGHT}"):
        decode(PICTURES[name], WIDTH * HEIGHT - 1)


def test_pillows_own_limit_neither_warns_nor_stops_what_the_settings_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
    for content in PICTURES.values():
        decode(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    for name, content in PICTURES.items():
        if name.startswith("webp"):
            with pytest.raises(ImageTooLarge):
                decode(content)
        else:
            decode(content)


def test_a_picture_of_which_transparency_leaves_nothing_is_refused() -> None:
    with pytest.raises(ImageBlank, match="lay it over a background"):
        decode((CASES / "png-black-ink-on-transparent.png").read_bytes())
    ink = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    ink[10:20, 10:20, 3] = 255
    for form in ("PNG", "WEBP"):
        with pytest.raises(ImageBlank):
            decode(saved(Image.fromarray(ink), form))
    with pytest.raises(ImageBlank):
        decode(saved(Image.new("RGBA", (WIDTH, HEIGHT), (200, 100, 50, 0)), "PNG"))
    for seen in (np.where(ink[..., 3:] > 0, np.uint8(255), ink), np.full_like(ink, 255)):
        decode(saved(Image.fromarray(seen), "PNG"))
    decode(saved(Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 255)), "PNG"))


def test_the_work_is_linear_in_the_file() -> None:
    """A megabyte of what might be walked, or unpacked, again and again."""
    header, *rest = chunks(PICTURES["png L"])
    bomb = (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(10**6)))
    hostile = [
        png_of(header, *[bomb] * 900, *rest),
        PNG_SIGNATURE + chunk(*header) + chunk(b"tEXt", b"") * 80_000 + png_of(*rest)[8:],
        PICTURES["jpeg L"][:2] + b"\xff" * 10**6 + PICTURES["jpeg L"][2:],
        PICTURES["jpeg L"][:-2] + b"\xff\xd0" * 500_000 + b"\xff\xd9",
        PICTURES["jpeg L"][:-2] + b"\xff\xfe\0\2" * 250_000 + b"\xff\xd9",
        riff((b"VP8X", bytes(4) + b"\x2c\0\0\x24\0\0"), *[(b"junk", b"")] * 100_000),
        b"RIFF" + struct.pack("<I", 10**6) + b"WEBP" + bytes(10**6),
    ]
    for number, content in enumerate(hostile):
        started = time.process_time()
        with suppress(ImageDamaged):
            decode(content)
        assert time.process_time() - started < 5, number


@st.composite
def flipped(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(list(PICTURES.values()))))
    for _ in range(draw(st.integers(1, 8))):
        content[draw(st.integers(0, len(content) - 1))] ^= draw(st.integers(1, 255))
    return bytes(content)


@st.composite
def cut(draw: st.DrawFn) -> bytes:
    content = draw(st.sampled_from(list(PICTURES.values())))
    start = draw(st.integers(0, len(content)))
    return content[:start] + draw(st.binary(max_size=8)) + content[start + draw(st.integers(0, 64)) :]


FUZZ = settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@FUZZ
@given(st.one_of(flipped(), cut()))
def test_damage_gives_a_problem_or_a_picture_and_not_even_a_warning(content: bytes) -> None:
    with suppress(Problem):
        assert decode(content).shape == SHAPE


@FUZZ
@given(st.sampled_from(sorted(PICTURES)), st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_off_in_its_pixels_is_refused(name: str, share: float) -> None:
    content = PICTURES[name]
    if name == "jpeg MPO":
        content = content[
            : content.index(b"\xff\xd9\xff\xd8") + 2
        ]  # the pictures behind the first are not read
    with pytest.raises(Problem) as problem:
        decode(content[: int(share * len(content))])
    assert isinstance(problem.value, ImageDamaged | NotAnImage)

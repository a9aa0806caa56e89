"""What cannot be answered: each cause gets its own problem, says what to do, and harms no later query."""

import base64
import json
import re
import socket
import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import PixelsInvalid, Problem
from service.images import decode_image, pixels_tensor
from tests.service.processes import Server
from tests.service.queries import answer, claims, digit, picture, saved, tensor

PNG = {"content-type": "image/png"}
JSON = {"content-type": "application/json"}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
TEXT = base64.b64encode(digit(0)).decode()
URN = "urn:retrievalguard:problem:"


@dataclass(frozen=True)
class Bad:
    """A request that must be refused: its status, its problem type, and what the detail must speak of."""

    status: int
    problem: str
    says: str
    request: dict[str, Any]
    method: str = "POST"
    path: str = "/retrieve"


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def huge_png() -> bytes:
    """20,000 x 20,000 pixels of one bit, all black: 400 million pixels in some 50 kB."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(20_000 * (1 + 2_500)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animated(form: str) -> bytes:
    frames = [picture(row) for row in (1, 2)]
    return saved(picture(0), form, save_all=True, append_images=frames, duration=100)


def raw(content: bytes, media: str = "image/png", **options: Any) -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": media}, "params": options}


def document(**members: Any) -> dict[str, Any]:
    return {"json": {"image": TEXT} | members}


def pixels(value: Any) -> dict[str, Any]:
    return {"content": json.dumps({"pixels": value}), "headers": JSON}


def text(body: str | bytes) -> dict[str, Any]:
    """A JSON body that is sent as it stands."""
    return {"content": body, "headers": JSON}


def changed(value: Any) -> list[Any]:
    """The exact tensor of a digit, but for one pixel."""
    numbers: list[Any] = tensor(0).tolist()
    numbers[0][3][3] = value
    return numbers


def part(name: str, content: bytes, file: str = "") -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
    return b"--b\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> dict[str, Any]:
    return {"content": b"".join(parts) + end, "headers": MULTIPART}


IMAGE = part("image", digit(0), "digit.png")


def streamed(size: int) -> Iterator[bytes]:
    """Chunked: no Content-Length tells how long it will be."""
    for _ in range(size // 65_536):
        yield bytes(65_536)


OVER = 10 * 2**20 + 65_536
IMAGES = {
    "text": Bad(415, "not-an-image", "PNG, JPEG or WebP", raw(b"hello, I am no image")),
    "a PNG signature and no more": Bad(422, "image-damaged", "again", raw(digit(0)[:8])),
    "PNG cut off": Bad(422, "image-damaged", "again", raw(saved(NOISE, "PNG")[:-2000])),
    "JPEG cut off": Bad(422, "image-damaged", "again", raw(saved(NOISE, "JPEG")[:-900], "image/jpeg")),
    "WebP cut off": Bad(422, "image-damaged", "again", raw(saved(NOISE, "WEBP")[:-900], "image/webp")),
    "PNG with a wrong checksum": Bad(
        422, "image-damaged", "again", raw(digit(0).replace(b"IDAT", b"IDAT\0", 1))
    ),
    "1 x 1": Bad(422, "image-too-small", "at least 8", raw(saved(picture(0).resize((1, 1)), "PNG"))),
    "7 x 500": Bad(422, "image-too-small", "at least 8", raw(saved(picture(0).resize((7, 500)), "PNG"))),
    "20,000 x 20,000": Bad(413, "image-too-large", "25000000", raw(huge_png())),
    "GIF renamed": Bad(415, "not-an-image", "", raw(animated("GIF"))),
    "animated PNG": Bad(422, "image-animated", "frame", raw(animated("PNG"))),
    "animated WebP": Bad(422, "image-animated", "frame", raw(animated("WEBP"), "image/webp")),
    "BMP": Bad(415, "not-an-image", "", raw(saved(picture(0), "BMP"))),
    "TIFF": Bad(415, "not-an-image", "", raw(saved(picture(0), "TIFF"))),
    "EPS": Bad(415, "not-an-image", "", raw(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")),
    "SVG": Bad(415, "not-an-image", "", raw(b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
    "empty": Bad(400, "malformed-body", "empty", raw(b"")),
}
PIXELS = {
    "of another size": Bad(422, "pixels-invalid", "1x8x8", pixels(np.zeros((1, 8, 9)).tolist())),
    "without channels": Bad(422, "pixels-invalid", "1x8x8", pixels(np.zeros((8, 8)).tolist())),
    "ragged": Bad(422, "pixels-invalid", "", pixels([[[0.0] * 8] * 7 + [[0.0] * 7]])),
    "empty": Bad(422, "pixels-invalid", "1x8x8", pixels([])),
    "one number": Bad(422, "pixels-invalid", "1x8x8", pixels(0.5)),
    "null": Bad(400, "malformed-body", "either", pixels(None)),
    "an object": Bad(422, "pixels-invalid", "", pixels({"0": 1})),
    "a text": Bad(422, "pixels-invalid", "", pixels("0.5")),
    "nested 500 deep": Bad(422, "pixels-invalid", "", text('{"pixels": ' + "[" * 500 + "]" * 500 + "}")),
    "NaN": Bad(422, "pixels-invalid", "finite", pixels(changed(float("nan")))),
    "infinite": Bad(422, "pixels-invalid", "finite", pixels(changed(float("inf")))),
    "1e999": Bad(
        422,
        "pixels-invalid",
        "finite",
        text(json.dumps({"pixels": changed(0.123)}).replace("0.123", "1e999")),
    ),
    "a huge integer": Bad(422, "pixels-invalid", "finite", pixels(changed(10**400))),
    "an integer that Python does not read": Bad(
        400,
        "malformed-body",
        "digits",
        text(json.dumps({"pixels": changed(0.123)}).replace("0.123", "9" * 5_000)),
    ),
    "negative": Bad(422, "pixels-invalid", "[0, 1]", pixels(changed(-1e-9))),
    "8-bit": Bad(422, "pixels-invalid", "255", pixels(changed(255))),
    "a text among numbers": Bad(422, "pixels-invalid", "numbers", pixels(changed("0.5"))),
    "a boolean among numbers": Bad(422, "pixels-invalid", "numbers", pixels(changed(True))),
    "null among numbers": Bad(422, "pixels-invalid", "", pixels(changed(None))),
}
OPTIONS = {
    "unknown in JSON": Bad(422, "invalid-option", "topk", document(topk=2)),
    "unknown in the query string": Bad(422, "invalid-option", "topk", raw(digit(0), topk=2)),
    "unknown in multipart": Bad(422, "invalid-option", "topk", form(IMAGE, part("topk", b"2"))),
    "a seed": Bad(422, "invalid-option", "seed", document(seed=1)),
    "unknown method": Bad(422, "invalid-option", "method", raw(digit(0), method="guess")),
    "unknown guarantee": Bad(422, "invalid-option", "guarantee", document(guarantee="both")),
    "unknown rule": Bad(422, "invalid-option", "rule", document(rule="majority")),
    "rule vote with a method of its own": Bad(
        422, "invalid-option", "method", document(rule="vote", method="paper")
    ),
    "target_radius 0": Bad(422, "invalid-option", "target_radius", document(target_radius=0)),
    "target_radius infinite": Bad(
        422, "invalid-option", "target_radius", text(f'{{"image": "{TEXT}", "target_radius": Infinity}}')
    ),
    "target_radius with a method for one number of samples": Bad(
        422, "invalid-option", "target_radius", raw(digit(0), target_radius=0.1, method="paper")
    ),
    "alpha 0": Bad(422, "invalid-option", "alpha", raw(digit(0), alpha=0)),
    "alpha 1": Bad(422, "invalid-option", "alpha", raw(digit(0), alpha=1)),
    "alpha 2": Bad(422, "invalid-option", "alpha", document(alpha=2)),
    "alpha NaN": Bad(422, "invalid-option", "alpha", raw(digit(0), alpha="nan")),
    "alpha NaN in JSON": Bad(422, "invalid-option", "alpha", text(f'{{"image": "{TEXT}", "alpha": NaN}}')),
    "max_samples 0": Bad(422, "invalid-option", "max_samples", raw(digit(0), max_samples=0)),
    "max_samples 1": Bad(422, "invalid-option", "max_samples", raw(digit(0), max_samples=1)),
    "max_samples over the limit": Bad(422, "invalid-option", "100000", raw(digit(0), max_samples=100_001)),
    "max_samples 256.5": Bad(422, "invalid-option", "max_samples", document(max_samples=256.5)),
    "top_k 0": Bad(422, "invalid-option", "top_k", document(top_k=0)),
    "top_k over the limit": Bad(422, "invalid-option", "100", raw(digit(0), top_k=101)),
    "top_k of 5,000 digits": Bad(422, "invalid-option", "top_k", raw(digit(0), top_k="9" * 5_000)),
    "top_k of 500 digits": Bad(422, "invalid-option", "100", document(top_k=int("9" * 500))),
    "unknown, and null": Bad(422, "invalid-option", "topk", document(topk=None)),
    "unknown, and empty": Bad(422, "invalid-option", "topk", raw(digit(0), topk="")),
    "500 unknown": Bad(422, "invalid-option", "k0", document(**{f"k{n}": 1 for n in range(500)})),
    "100,000 unknown": Bad(413, "body-too-large", "values", document(**{f"k{n}": 1 for n in range(100_000)})),
    "one name 500 times": Bad(
        422, "invalid-option", "once", text('{"image": "' + TEXT + '"' + ', "top_k": 1' * 500 + "}")
    ),
    "one name 100,000 times": Bad(
        413, "body-too-large", "values", text('{"image": "' + TEXT + '"' + ', "top_k": 1' * 100_000 + "}")
    ),
    "in another script": Bad(422, "invalid-option", "top_k", raw(digit(0), top_k="٢")),
    "a method as bytes that are no UTF-8": Bad(
        400, "malformed-body", "UTF-8", form(IMAGE, part("method", b"\xff"))
    ),
    "a name that is no Unicode, twice": Bad(
        422, "invalid-option", "once", text(f'{{"image": "{TEXT}", "\\ud800": 1, "\\ud800": 1}}')
    ),
    "twice in the query string": Bad(
        422, "invalid-option", "once", raw(digit(0)) | {"params": "top_k=1&top_k=2"}
    ),
    "in the query string and in JSON": Bad(
        422, "invalid-option", "once", document(top_k=1) | {"params": {"top_k": 1}}
    ),
    "twice in multipart": Bad(
        422, "invalid-option", "once", form(IMAGE, part("top_k", b"1"), part("top_k", b"2"))
    ),
    "twice in JSON": Bad(
        422,
        "invalid-option",
        "once",
        text(f'{{"image": "{TEXT}", "top_k": 1, "top_k": 2}}'),
    ),
    "a name that is no Unicode": Bad(
        422, "invalid-option", "unknown", text(f'{{"image": "{TEXT}", "\\ud800": 1}}')
    ),
    "a value that is no Unicode": Bad(
        422,
        "invalid-option",
        "method",
        text(f'{{"image": "{TEXT}", "method": "\\ud800"}}'),
    ),
}
BODIES = {
    "over the limit": Bad(413, "body-too-large", str(10 * 2**20), raw(bytes(OVER))),
    "over the limit, chunked": Bad(
        413, "body-too-large", str(10 * 2**20), {"content": lambda: streamed(OVER), "headers": PNG}
    ),
    "over the limit, JSON": Bad(413, "body-too-large", "", text(b" " * OVER)),
    "a JSON array": Bad(400, "malformed-body", "object", text("[]")),
    "a JSON text": Bad(400, "malformed-body", "object", text(f'"{TEXT}"')),
    "invalid JSON": Bad(400, "malformed-body", "JSON", text('{"image": ')),
    "no UTF-8": Bad(400, "malformed-body", "JSON", text(b'{"image": "\xff"}')),
    "100,000 brackets": Bad(413, "body-too-large", "values", text("[" * 100_000)),
    "1,050 brackets": Bad(400, "malformed-body", "JSON", text("[" * 1_050)),
    "100,000 brackets as pixels": Bad(
        413,
        "body-too-large",
        "values",
        text('{"pixels":' + "[" * 100_000 + "]" * 100_000 + "}"),
    ),
    "image and pixels": Bad(400, "malformed-body", "either", document(pixels=tensor(0).tolist())),
    "neither image nor pixels": Bad(400, "malformed-body", "either", {"json": {"top_k": 1}}),
    "image null": Bad(400, "malformed-body", "`image`", {"json": {"image": None}}),
    "image a number": Bad(400, "malformed-body", "base64", {"json": {"image": 1}}),
    "image a path": Bad(415, "not-an-image", "PNG", {"json": {"image": "/etc/passwd"}}),
    "image a URL": Bad(400, "malformed-body", "base64", {"json": {"image": "http://127.0.0.1/x.png"}}),
    "base64 of an impossible length": Bad(400, "malformed-body", "base64", {"json": {"image": "A" * 41}}),
    "base64 with half of its padding": Bad(400, "malformed-body", "base64", {"json": {"image": "QUJDRA="}}),
    "base64 whose + became a space": Bad(400, "malformed-body", "space", {"json": {"image": "QUJD QUJ"}}),
    "a data URI without data": Bad(
        400, "malformed-body", "comma", {"json": {"image": "data:image/png;base64"}}
    ),
    "base64 that is no Unicode": Bad(400, "malformed-body", "base64", text('{"image": "\\ud800"}')),
    "empty base64": Bad(400, "malformed-body", "empty", {"json": {"image": ""}}),
    "base64 of a text": Bad(415, "not-an-image", "", {"json": {"image": base64.b64encode(b"text").decode()}}),
    "empty JSON": Bad(400, "malformed-body", "JSON", text(b"")),
    "no body and no type": Bad(400, "malformed-body", "empty", {}),
    "two types": Bad(
        415,
        "unsupported-media-type",
        "once",
        {
            "content": digit(0),
            "headers": [("content-type", "image/png"), ("content-type", "application/json")],
        },
    ),
    "text/plain": Bad(415, "unsupported-media-type", "text/plain", raw(b"a text", "text/plain")),
    "a GIF": Bad(415, "not-an-image", "PNG", raw(animated("GIF"), "image/gif")),
    "octets that are no image": Bad(
        415, "not-an-image", "PNG", raw(b"some octets", "application/octet-stream")
    ),
    "a form in the URL encoding": Bad(415, "unsupported-media-type", "", {"data": {"image": TEXT}}),
    "compressed": Bad(
        415,
        "unsupported-media-type",
        "compressed",
        {"content": zlib.compress(digit(0)), "headers": PNG | {"content-encoding": "deflate"}},
    ),
    "multipart without an image": Bad(
        400, "malformed-body", "image", form(part("file", digit(0), "digit.png"))
    ),
    "multipart with the image as text": Bad(
        415, "not-an-image", "PNG, JPEG or WebP", form(part("image", TEXT.encode()))
    ),
    "multipart in an encoding that nobody knows": Bad(
        400,
        "malformed-body",
        "Content-Transfer-Encoding",
        form(IMAGE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n", 1)),
    ),
    "multipart with bad base64": Bad(
        400,
        "malformed-body",
        "base64",
        form(part("image", b"A").replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1)),
    ),
    "multipart with an endless header": Bad(
        400, "malformed-body", "header", form(part("image", b"", "x" * 10_000))
    ),
    "multipart with a part without a name": Bad(
        400, "malformed-body", "name", form(b"--b\r\nContent-Type: image/png\r\n\r\n\r\n")
    ),
    "multipart with two images": Bad(400, "malformed-body", "", form(IMAGE, IMAGE)),
    "multipart with another file": Bad(
        422, "invalid-option", "more", form(IMAGE, part("more", b"x", "x.png"))
    ),
    "multipart with an empty image": Bad(400, "malformed-body", "empty", form(part("image", b"", "x.png"))),
    "multipart with 1,000 fields": Bad(
        400, "malformed-body", "", form(IMAGE, *(part(f"f{n}", b"1") for n in range(1_000)))
    ),
    "multipart without a boundary": Bad(
        400,
        "malformed-body",
        "boundary",
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
    ),
    "multipart with another boundary": Bad(
        400, "malformed-body", "", {"content": IMAGE.replace(b"--b", b"--c"), "headers": MULTIPART}
    ),
    "multipart without its end": Bad(400, "malformed-body", "", form(IMAGE[:-40], end=b"")),
    "multipart of nothing": Bad(400, "malformed-body", "cut off", {"content": b"", "headers": MULTIPART}),
}
ROUTES = {
    "unknown": Bad(404, "not-found", "/docs", {}, path="/retreive"),
    "of the method of another": Bad(405, "method-not-allowed", "GET", {}, "GET"),
    "of another method": Bad(405, "method-not-allowed", "DELETE", {}, "DELETE", "/gallery"),
    "an item that is not there": Bad(404, "item-not-found", "nobody", {}, "GET", "/gallery/items/nobody"),
    "out of the folder": Bad(
        404, "item-not-found", "", {}, "GET", "/gallery/items/..%2f..%2f..%2fetc%2fpasswd"
    ),
    "NUL": Bad(404, "item-not-found", "", {}, "GET", "/gallery/items/%00"),
    "no UTF-8": Bad(404, "item-not-found", "", {}, "GET", "/gallery/items/%ff%fe"),
}
TABLE = {
    f"{group}: {name}": bad
    for group, cases in {
        "image": IMAGES,
        "pixels": PIXELS,
        "option": OPTIONS,
        "body": BODIES,
        "route": ROUTES,
    }.items()
    for name, bad in cases.items()
}

# What belongs to the server and not to the client.
LEAK = re.compile(r"Traceback|\.py\b|0x[0-9a-f]{6}|/root/|/home/|/tmp/|site-packages|<_io")


@pytest.fixture(scope="module")
def good(demo_server: Server) -> Callable[[], dict[str, Any]]:
    return lambda: claims(answer(demo_server.client, digit(0)))


@pytest.fixture(scope="module")
def expected(good: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return good()


@pytest.mark.parametrize("name", TABLE)
def test_a_bad_request_gets_its_problem_and_the_next_good_one_its_answer(
    demo_server: Server, good: Callable[[], dict[str, Any]], expected: dict[str, Any], name: str
) -> None:
    bad = TABLE[name]
    request = {k: v() if callable(v) else v for k, v in bad.request.items()}
    response = demo_server.client.request(bad.method, bad.path, **request)
    assert response.status_code == bad.status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert body["type"] == URN + bad.problem
    assert body["status"] == bad.status
    assert body["title"]
    assert bad.says in body["detail"]
    assert len(body["detail"]) > 20
    assert not LEAK.search(response.text), body["detail"]
    if bad.problem == "invalid-option":
        assert body["errors"]
        assert all(error["message"] for error in body["errors"])
    assert good() == expected


def test_a_body_that_is_declared_over_the_limit_is_refused_before_it_is_sent(demo_server: Server) -> None:
    host, port = demo_server.url.removeprefix("http://").split(":")
    head = f"POST /retrieve HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n"
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"{head}Content-Length: {10 * 2**20 + 1}\r\n\r\n".encode())
        received = ""
        while "}" not in received:
            received += connection.recv(65_536).decode()
    assert received.startswith("HTTP/1.1 413 ")
    assert URN + "body-too-large" in received


def test_every_wrong_option_is_named_at_once(demo_server: Server) -> None:
    response = demo_server.client.post("/retrieve", **document(alpha=2, topk=1, method="guess"))
    assert {error["option"] for error in response.json()["errors"]} == {"alpha", "topk", "method"}


def test_a_405_names_the_methods_that_are_allowed(demo_server: Server) -> None:
    assert demo_server.client.get("/retrieve").headers["allow"] == "POST"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(document(**{"x" * 1_000_000: 1}), id="a long name"),
        pytest.param(document(method="x" * 1_000_000), id="a long value"),
        pytest.param(OPTIONS["100,000 unknown"].request, id="many names"),
        pytest.param(OPTIONS["one name 100,000 times"].request, id="one name, often"),
        pytest.param(raw(b"a text", "x" * 10_000), id="a long media type"),
    ],
)
def test_an_error_is_short_whatever_was_sent(demo_server: Server, request_: dict[str, Any]) -> None:
    response = demo_server.client.post("/retrieve", **request_)
    assert 400 <= response.status_code < 500
    assert len(response.content) < 10_000


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_the_server(
    demo_server: Server,
) -> None:
    failures = demo_server.metric("retrievalguard_requests_total", route="/retrieve", status="500")
    host, port = demo_server.url.removeprefix("http://").split(":")
    head = f"POST /retrieve HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n"
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head.encode() + b"\r\nthe first bytes")
        time.sleep(0.2)
    time.sleep(0.2)
    assert demo_server.metric("retrievalguard_requests_total", route="/retrieve", status="500") == failures
    assert "Traceback" not in demo_server.log.read_text()


def test_nothing_of_a_bad_request_is_logged_as_a_failure_of_the_server(demo_server: Server) -> None:
    assert "Traceback" not in demo_server.log.read_text()


# --- the decoder under random damage

SHAPES = st.sampled_from([(1, 8, 8), (3, 8, 8), (1, 16, 5)])
EXIF = Image.Exif()
EXIF[0x0112] = 6
EXIF[0x010E] = "a description"
VALID = [
    saved(NOISE, "PNG"),
    saved(NOISE.convert("RGBA"), "PNG", exif=EXIF),
    saved(NOISE.quantize(16), "PNG", transparency=3),
    saved(Image.fromarray(np.uint16(257) * np.asarray(NOISE)), "PNG"),
    saved(NOISE.convert("1"), "PNG"),
    animated("PNG"),
    saved(NOISE, "JPEG", exif=EXIF),
    saved(NOISE.convert("RGB"), "JPEG", progressive=True, quality=50),
    saved(NOISE.convert("CMYK"), "JPEG"),
    saved(NOISE, "WEBP", exif=EXIF),
    saved(NOISE.convert("RGBA"), "WEBP", lossless=True),
    animated("WEBP"),
]
PNG_CHUNKS = st.sampled_from(
    [
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"tRNS",
        b"eXIf",
        b"iCCP",
        b"zTXt",
        b"iTXt",
        b"pHYs",
        b"acTL",
        b"fcTL",
        b"fdAT",
    ]
)


@st.composite
def flipped(draw: st.DrawFn) -> bytes:
    file = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 8))):
        file[draw(st.integers(0, len(file) - 1))] ^= draw(st.integers(1, 255))
    return bytes(file)


@st.composite
def cut(draw: st.DrawFn) -> bytes:
    file = draw(st.sampled_from(VALID))
    start = draw(st.integers(0, len(file)))
    return file[:start] + draw(st.binary(max_size=8)) + file[start + draw(st.integers(0, 64)) :]


@st.composite
def with_a_foreign_chunk(draw: st.DrawFn) -> bytes:
    """A PNG whose checksums are right and whose content is not: damage that no checksum stops."""
    file = draw(st.sampled_from([content for content in VALID if content.startswith(b"\x89PNG")]))
    foreign = chunk(draw(PNG_CHUNKS), draw(st.binary(max_size=64)))
    kind = draw(st.sampled_from([b"IHDR", b"IDAT", b"IEND"]))
    at = max(file.find(kind) - 4, 8)
    return file[:at] + foreign + file[at:]


@st.composite
def with_foreign_exif(draw: st.DrawFn) -> bytes:
    content = b"Exif\0\0" + draw(st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""]))
    content += draw(st.binary(max_size=64))
    file = draw(st.sampled_from([content for content in VALID if content.startswith(b"\xff\xd8")]))
    marker = draw(st.sampled_from([b"\xff\xe1", b"\xff\xe2", b"\xff\xed", b"\xff\xee"]))
    return file[:2] + marker + struct.pack(">H", len(content) + 2) + content + file[2:]


@settings(
    max_examples=600,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    content=st.one_of(st.binary(max_size=200), flipped(), cut(), with_a_foreign_chunk(), with_foreign_exif()),
    shape=SHAPES,
)
def test_a_damaged_file_is_a_problem_or_a_tensor_and_nothing_else(
    content: bytes, shape: tuple[int, int, int]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow remarks on what it can still read
        try:
            decoded = decode_image(content, shape, max_pixels=20_000, min_side=8)
        except Problem as problem:
            refused = problem
        else:
            assert decoded.shape == shape
            assert decoded.dtype == np.float32
            assert (decoded >= 0).all()
            assert (decoded <= 1).all()
            return
    assert 400 <= refused.status < 500
    assert not LEAK.search(refused.detail), refused.detail


SCALARS = st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | st.sampled_from(["0.5", "1", ""])


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.lists(SCALARS, min_size=2, max_size=2).map(lambda row: [[row]])
    | st.lists(st.lists(st.lists(SCALARS, max_size=3), max_size=2), max_size=2)
)
def test_only_numbers_from_0_to_1_in_the_right_places_are_pixels(value: list[list[list[Any]]]) -> None:
    shape = len(value) == 1 and len(value[0]) == 1 and len(value[0][0]) == 2
    numbers = [number for channel in value for row in channel for number in row]
    if shape and all(type(number) in (int, float) and 0 <= number <= 1 for number in numbers):
        np.testing.assert_array_equal(pixels_tensor(value, (1, 1, 2)), np.array(value, np.float64))
    else:
        with pytest.raises(PixelsInvalid):
            pixels_tensor(value, (1, 1, 2))

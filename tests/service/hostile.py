"""Requests that mean harm, or come from a broken client: as many as one likes, the same for the same seed."""

import base64
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.service.queries import digit

METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "BREW",
    "get",
    "A" * 300,
]
PATHS = [
    "/", "/retrieve", "/gallery", "/model", "/livez", "/readyz", "/metrics", "/docs", "/redoc",
    "/openapi.json", "/nothing", "/static-offline-docs/x",
    "/static-offline-docs/..%2f..%2f..%2fetc%2fpasswd",
]  # fmt: skip
OPTIONS = [
    "top_k",
    "guarantee",
    "rule",
    "method",
    "alpha",
    "target_radius",
    "max_samples",
    "min_gain",
    "deadline_ms",
]
BYTES = [
    b"%00", b"%0d%0a", b"%ff%fe", b"%ed%a0%80", b"%c0%af", b"%", b"%zz", b"%2e%2e", b"..", b"//", b"%2f",
    b"%3f", b"%f0%9f%92%a9", b"'--", b"%25%30%30", b"{x}", b"$", b"*", b"%5c", b";a=b", b"%20",
    b"digits-0001", b"~", b"%e2%80%ae", b"image", b"%7f",
]  # fmt: skip
TEXTS = [
    "", " ", "0", "-1", "1e400", "-1e400", "nan", "inf", "1_0", "true", "null", "9" * 5000, "1" * 20,
    "0x10", "\u0661", "label", "item", "vote", "paper", "\x00", "\ud800", "\udfff\ud800", "a" * 3000, "1.0",
    "[]", "{}", "é", "\u202e", "256", "0.5", "🙂",
]  # fmt: skip
NUMBERS = [
    "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "9" * 4000, "9" * 5000, "1e-9999", "-0", "0.1e1",
    "1E400", "0." + "0" * 2000 + "1", "01", "+1", ".5", "0x1", "1.", "-",
]  # fmt: skip
HEADERS = [
    b"Range: bytes=0-5", b"Range: bytes=9-1,x", b"Expect: 100-continue", b"Expect: 200-ok",
    b"Upgrade: websocket",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13",
    b"Content-Encoding: gzip", b"Content-Encoding: \xff", b"Transfer-Encoding: gzip", b"Content-Length: 5",
    b"Content-Length: -5", b"Content-Length: 99999999999999999999999", b"Content-Length: 1e3",
    b"Content-Length: 5\r\nContent-Length: 6", b"Host: evil.example", b"Host: ", b"Host: a, b",
    b"Host: [::1", b"X-Request-Id: " + b"a" * 5000, b"X-Request-Id: \xff\xfe",
    b"Accept: text/event-stream;q=x, */*;q=nan", b"Accept: " + b"a/b," * 2000,
    b"Cookie: " + b"a=b; " * 2000, b"If-None-Match: *", b"Origin: null", b"If-Modified-Since: x",
    b"Accept-Encoding: gzip;q=0", b"Content-Type: \xff", b"Content-Type: /",
    b"Content-Type: application/json; charset=undefined", b"Content-Type: multipart/form-data",
    b"Content-Type: image/png\r\nContent-Type: application/json", b"Forwarded: for=\"[::1]\"",
    b"X-Forwarded-For: \xff, 1", b"X-Forwarded-Proto: javascript", b"X-Forwarded-Host: evil",
    b" folded: yes", b"no colon", b"Bad Name: x", b": no name", b"A: \x00", b"B: a\rb",
    b"Long: " + b"x" * 70_000, b"\r\n".join([b"H: x"] * 3000),
    b"Access-Control-Request-Method: POST\r\nOrigin: http://a", b"Last-Event-ID: x", b"Connection: close",
    b"Connection: \xff", b"Authorization: Basic \xff",
]  # fmt: skip
TYPES = [
    "application/json", "application/json; charset=utf-16", "image/png", "image/jpeg", "image/webp",
    "image/svg+xml", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b", "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "b" * 300, "multipart/mixed; boundary=b",
    "multipart/form-data; boundary=\"b", "multipart/form-data; boundary=b; charset=undefined", "x", "",
]  # fmt: skip
FOREIGN = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"GET /\r\n",
    b"GET / HTTP/3.0\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"\x00" * 100, b"\r\n" * 100, b"GET",
    b"SSH-2.0-x\r\n", b"* 1 FETCH", b"GET http://evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n\r\n", b"GET  /livez  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"CONNECT a:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
]  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """Bytes to send; `whole`: they should be a whole request, else the end of the sending belongs to it."""

    kind: str
    method: str
    content: bytes
    whole: bool = True


def hostile_requests(seed: int, count: int) -> Iterator[Hostile]:
    """So many requests of all kinds, in turn."""
    chance = random.Random(seed)
    for number in range(count):
        yield KINDS[number % len(KINDS)](chance)


def request(
    method: str,
    target: bytes,
    body: bytes = b"",
    headers: list[bytes] | None = None,
    length: int | None = None,
) -> bytes:
    """A request, whose body is said to have `length` bytes (as many as it has)."""
    lines = [b" ".join([method.encode(), target, b"HTTP/1.1"]), b"Host: 127.0.0.1", *(headers or [])]
    if body or length is not None:
        lines.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join([*lines, b"", body])


def typed(media: str) -> list[bytes]:
    return [b"Content-Type: " + media.encode()] if media else []


# --- of each kind


def of_methods(chance: random.Random) -> Hostile:
    method, path = chance.choice(METHODS), chance.choice([*PATHS, "/gallery/items/x", "/gallery/images/x"])
    return Hostile("method", method, request(method, path.encode(), chance.choice([b"", b"x", b"{}"])))


def of_paths(chance: random.Random) -> Hostile:
    item = b"".join(chance.choice(BYTES) for _ in range(chance.choice([1, 2, 5, 50])))
    item += chance.choice([b"", b"", b"", b"x" * 10_000, b"/" * 2_000, b"%41" * 5_000])
    root = chance.choice(
        [b"/gallery/items/", b"/gallery/images/", b"/", b"/gallery/", b"//", b"/static-offline-docs/"]
    )
    return Hostile("path", "GET", request("GET", root + item))


def of_queries(chance: random.Random) -> Hostile:
    names = [chance.choice([*OPTIONS, *OPTIONS, chance.choice(TEXTS)]) for _ in range(chance.randint(1, 4))]
    pairs = [(name, chance.choice(TEXTS)) for name in names]
    if chance.random() < 0.1:
        pairs = [(f"o{number}", "") for number in range(5_000)]
    query = "&".join(f"{escaped(name)}={escaped(text)}" for name, text in pairs).encode()
    target = b"/retrieve?" + query + chance.choice([b"", b"&", b"&&=", b"&%ff=%fe", b"?", b"&a=b;c=d"])
    return Hostile("query", "POST", request("POST", target, digit(0), typed("image/png")))


def escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"))


def of_headers(chance: random.Random) -> Hostile:
    headers = [chance.choice(HEADERS) for _ in range(chance.randint(1, 3))]
    if chance.random() < 0.5:
        return Hostile(
            "header", "GET", request("GET", chance.choice(PATHS).encode(), headers=headers), whole=False
        )
    content = request("POST", b"/retrieve", digit(0), [*typed(chance.choice(TYPES)), *headers])
    return Hostile("header", "POST", content, whole=False)


def value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(7 if depth < 4 else 5)
    if kind == 5:
        return [value(chance, depth + 1) for _ in range(chance.randint(0, 4))]
    if kind == 6:
        return {chance.choice(TEXTS): value(chance, depth + 1) for _ in range(chance.randint(0, 3))}
    choices: list[Any] = [None, True, chance.choice([0, -1, 10**400, 2**63, 1]), chance.choice(TEXTS),
                          chance.choice([0.5, -0.0, 1e308, float("nan"), float("inf")])]  # fmt: skip
    return choices[kind]


def of_json(chance: random.Random) -> Hostile:
    pixels = [[[chance.choice([0, 0.5, 1]) for _ in range(8)] for _ in range(8)]]
    document: Any = (
        {"image": base64.b64encode(digit(0)).decode()} if chance.random() < 0.5 else {"pixels": pixels}
    )
    for _ in range(chance.randint(0, 3)):
        document[chance.choice([*OPTIONS, "image", "pixels", *TEXTS])] = value(chance)
    if chance.random() < 0.2:
        document = value(chance)
    text = json.dumps(document, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.3:
        text = text.replace(
            chance.choice(["0.5", "1", "0", '"', ":", "}", "null"]), chance.choice(NUMBERS), 1
        )
    encoding = chance.choice(["utf-8", "utf-8", "utf-8", "utf-16", "utf-32", "utf-8-sig"])
    body = text.encode(encoding, "surrogatepass")
    if chance.random() < 0.2:
        body = body[: chance.randint(0, len(body))]
    if chance.random() < 0.2:
        body = damaged(chance, body)
    return Hostile("json", "POST", request("POST", b"/retrieve", body, typed(chance.choice(TYPES[:2]))))


def of_deep_json(chance: random.Random) -> Hostile:
    depth = chance.choice([10, 500, 900, 1_100, 5_000, 100_000])
    opening, closing = chance.choice(
        [(b"[", b"]"), (b'{"a":', b"}"), (b'{"pixels":[', b"]}"), (b'[{"":', b"}]")]
    )
    body = opening * depth + chance.choice([b"", b"1", b"null"]) + closing * chance.choice([0, depth])
    return Hostile("deep json", "POST", request("POST", b"/retrieve", body, typed("application/json")))


def of_base64(chance: random.Random) -> Hostile:
    text = base64.b64encode(chance.choice([digit(0), b"", b"\x89PNG\r\n\x1a\n", b"x" * 1000])).decode()
    begin = chance.choice(
        ["", "data:", "data:,", "data:image/png;base64,", "DATA:;BASE64,", "data:image/png,", " ", "\n"]
    )
    cut = text[: chance.randint(0, len(text))]
    middle = chance.choice(["", "=", "====", "\x00", "-_", "é", "\ud800", "%3D", "\r\n", ",", "%"])
    document = {"image": begin + cut + middle + text[len(cut) :]}
    body = json.dumps(document).encode()
    return Hostile("base64", "POST", request("POST", b"/retrieve", body, typed("application/json")))


def of_multipart(chance: random.Random) -> Hostile:
    names = ["image", "image", "image", *OPTIONS, "x", "", 'a"b', "\u00e9", "image\x00"]
    parts = []
    for _ in range(chance.choice([0, 1, 2, 3, 30])):
        disposition = chance.choice(["form-data", "attachment", "x"])
        lines = [f'Content-Disposition: {disposition}; name="{chance.choice(names)}"']
        lines[0] += chance.choice(
            ['; filename="x.png"', "; filename*=utf-8''x.png", "; filename*=x'y'%ff%ed%a0%80", "", ";;"]
        )
        if chance.random() < 0.5:
            lines.append(chance.choice([
                "Content-Type: image/png", "Content-Type: text/plain; charset=undefined",
                "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: x", "A" * 5000,
                "Content-Type: multipart/mixed; boundary=c", ": ", "\x00: x",
            ]))  # fmt: skip
        content = chance.choice(
            [digit(0), b"", b"1", b"\xff\xfe", b"--b", b"\r\n--b", base64.b64encode(digit(0))]
        )
        parts.append("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
    boundary = chance.choice([b"--b", b"--b", b"--b", b"-b", b"--c", b"--b "])
    body = b"".join(boundary + b"\r\n" + part + b"\r\n" for part in parts) + chance.choice(
        [b"--b--\r\n", b"--b--", b""]
    )
    if chance.random() < 0.4:
        body = body[: chance.randint(0, len(body))]
    if chance.random() < 0.2:
        body = damaged(chance, body)
    media = chance.choice(
        [kind for kind in TYPES if kind.startswith("multipart")] + ["multipart/form-data; boundary=b"] * 6
    )
    return Hostile("multipart", "POST", request("POST", b"/retrieve", body, typed(media)))


def damaged(chance: random.Random, content: bytes) -> bytes:
    bad = bytearray(content)
    for _ in range(chance.randint(1, 8) if bad else 0):
        bad[chance.randrange(len(bad))] = chance.randrange(256)
    return bytes(bad)


def of_images(chance: random.Random) -> Hostile:
    image = digit(chance.randrange(5))
    width, height = chance.choice(
        [(0, 0), (1, 1), (2**31 - 1, 2**31 - 1), (5_000, 5_000), (8, 100_000), (100_000, 8)]
    )
    lying = image[:16] + struct.pack(">II", width, height) + image[24:]
    body = chance.choice([
        damaged(chance, image), image[: chance.randint(0, len(image))], lying, image + b"x" * 100_000,
        b"GIF89a" + image, b"<svg/>", b"\xff\xd8\xff" + image, b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    ])  # fmt: skip
    return Hostile("image", "POST", request("POST", b"/retrieve", body, typed(chance.choice(TYPES[2:8]))))


def of_lengths(chance: random.Random) -> Hostile:
    body = digit(0)
    length = chance.choice(
        [0, 1, len(body) - 1, len(body) + 1, 10**6, 10 * 2**20, 10 * 2**20 + 1, 10**12, 2**63, 2**64]
    )
    content = request("POST", b"/retrieve", body, typed(chance.choice(TYPES)), length)
    return Hostile("length", "POST", content, whole=False)


def of_chunks(chance: random.Random) -> Hostile:
    sizes = [
        b"5",
        b"0005",
        b"5;a=b",
        b"5;" + b"x" * 5000,
        b"-5",
        b"0x5",
        b"g",
        b"",
        b"ffffffffffffffff",
        b"f" * 30,
        b"5 ",
    ]
    chunks = b"".join(
        chance.choice(sizes) + b"\r\n" + b"x" * 5 + b"\r\n" for _ in range(chance.randint(0, 3))
    )
    image = digit(0)
    chunks += chance.choice([b"", b"%x\r\n" % len(image) + image + b"\r\n"])
    end = chance.choice(
        [b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n", b"", b"0\r\n"]
    )
    headers = [
        *typed(chance.choice(TYPES)),
        chance.choice([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked, x"]),
    ]
    headers += chance.choice([[], [], [b"Content-Length: 3"]])
    return Hostile(
        "chunks", "POST", request("POST", b"/retrieve", headers=headers) + chunks + end, whole=False
    )


def of_others(chance: random.Random) -> Hostile:
    content = chance.choice([*FOREIGN, chance.randbytes(chance.randint(1, 2000))])
    return Hostile("foreign", "GET", content, whole=False)


def of_pipelines(chance: random.Random) -> Hostile:
    first = request(chance.choice(["GET", "HEAD"]), chance.choice(PATHS).encode())
    content = first * chance.choice([2, 20]) + chance.choice([b"", first[:10], b"\x00", FOREIGN[0]])
    return Hostile("pipeline", "GET", content, whole=False)


KINDS: list[Callable[[random.Random], Hostile]] = [
    of_methods, of_paths, of_queries, of_headers, of_json, of_deep_json, of_base64, of_multipart, of_images,
    of_lengths, of_chunks, of_others, of_pipelines, of_json, of_multipart,
]  # fmt: skip

"""The many ways in which clients write one and the same valid request: all get the same answer."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.http.body import parse
from service.http.encoded import image_bytes
from service.http.multipart import parts
from service.retrieval.options import RetrieveOptions
from tests.service.processes import Server
from tests.service.queries import Json, answer, claims, picture, saved

# From public bug trackers: the picture, and files that real clients sent to ask for it.
CASES = Path(__file__).with_name("cases")
PICTURE = (CASES / "digit.png").read_bytes()
TEXT = base64.b64encode(PICTURE).decode()
# What Python itself writes on a line: 76 characters.
WRAPPED = base64.encodebytes(PICTURE).decode()
FORM = "multipart/form-data; boundary=b"
DISPOSITION = b'form-data; name="image"; filename="digit.png"'


def typed(content_type: str, content: bytes) -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": content_type}}


def document(text: str) -> dict[str, Any]:
    return {"json": {"image": text}}


def form(disposition: bytes, headers: bytes = b"", content: bytes = PICTURE, end: bytes = b"") -> bytes:
    lines = [b"--b", b"Content-Disposition: " + disposition, *([headers] if headers else []), b"", content]
    return b"\r\n".join([*lines, b"--b--", end])


def encoded_json(encoding: str) -> bytes:
    return json.dumps({"image": TEXT}).encode(encoding)


FILES = {
    path.stem: typed("application/json" if path.suffix == ".json" else FORM, path.read_bytes())
    for path in sorted(CASES.glob("json-*.json")) + sorted(CASES.glob("multipart-*.bin"))
    if path.stem != "multipart-option-as-file"
}
MEDIA_TYPES = {
    f"image sent as {media}": typed(media, PICTURE)
    for media in (
        "image/png", "image/jpg", "image/pjpeg", "image/x-png", "image/webp", "image/anything", "image/*",
        "IMAGE/PNG", "image/png;charset=UTF-8", "application/octet-stream", "binary/octet-stream", "",
        "application/x-www-form-urlencoded", "text/plain",
    )
}  # fmt: skip
URL_SAFE = base64.urlsafe_b64encode(PICTURE).decode()
BASE64 = {
    "no type at all": {"content": PICTURE},
    "wrapped by Python": document(WRAPPED),
    "wrapped with CRLF": document(WRAPPED.replace("\n", "\r\n")),
    "URL-safe": document(URL_SAFE),
    "URL-safe and unpadded": document(URL_SAFE.rstrip("=")),
    "in the middle of spaces": document(f"  {TEXT}\n"),
    "percent-encoded": document(TEXT.replace("=", "%3D").replace("+", "%2B")),
}
DATA_URIS = {
    f"data URI beginning {header[:30]!r}": document(f"{header},{data}")
    for header, data in (
        ("data:image/png;base64", TEXT),
        ("DATA:IMAGE/PNG;BASE64", TEXT),
        ("data:image/png;charset=utf-8;base64", TEXT),
        ('data:image/png;name="a digit.png";base64', WRAPPED),
        ("data:application/octet-stream;base64", URL_SAFE.rstrip("=")),
        ("data:;base64", TEXT.replace("=", "%3d")),
        ("data:image/png", quote_from_bytes(PICTURE)),
    )
}
JSON = {
    f"JSON as {kind} in {encoding}": typed(kind, encoded_json(encoding))
    for kind, encoding in (
        ("application/json", "utf-8-sig"),
        ("application/json; charset=utf-8", "utf-8"),
        ("Application/JSON;Charset=utf-16", "utf-16"),
        ("application/json", "utf-16-le"),
        ("application/json", "utf-32"),
        ("text/json", "utf-8"),
        ("application/vnd.api+json", "utf-8"),
    )
}
MULTIPART = {
    "part with only filename*": typed(
        FORM, form(b"form-data; name=\"image\"; filename*=UTF-8''d%C3%AFgit.png")
    ),
    "part with both file names": typed(FORM, form(DISPOSITION + b"; filename*=UTF-8''x.png")),
    "part without quotes": typed(FORM, form(b"form-data; name=image")),
    "part in another case": typed(FORM, form(b'Form-Data; Name="image"').replace(b"Content-D", b"content-d")),
    "part on two lines": typed(FORM, form(b'form-data;\r\n name="image"')),
    "charset=undefined": typed("multipart/form-data; charset=undefined; boundary=b", form(DISPOSITION)),
    "charset in front": typed('multipart/form-data; charset="x-none"; BOUNDARY="b"', form(DISPOSITION)),
    "another case": typed("Multipart/Form-Data; Boundary=b", form(DISPOSITION)),
    "preamble and epilogue": typed(FORM, b"Hello.\r\n" + form(DISPOSITION, end=b"Good-bye.")),
    "spaces behind the boundary": typed(FORM, form(DISPOSITION).replace(b"--b\r", b"--b \t\r", 1)),
    "base64 in the part": typed(
        FORM, form(DISPOSITION, b"Content-Transfer-Encoding: BASE64", base64.encodebytes(PICTURE))
    ),
    "binary, said so": typed(FORM, form(DISPOSITION, b"Content-Transfer-Encoding: binary")),
}
NOT_GIVEN = {
    "image, and pixels null": {"json": {"image": TEXT, "pixels": None}},
    "every option empty in the query string": typed("image/png", PICTURE)
    | {"params": dict.fromkeys(RetrieveOptions.model_fields, "")},
    "an option empty here and null there": {"params": {"alpha": ""}, "json": {"image": TEXT, "alpha": None}},
    "an option empty twice": typed("image/png", PICTURE) | {"params": "alpha=&alpha="},
    "every option null": {"json": {"image": TEXT} | dict.fromkeys(RetrieveOptions.model_fields)},
}
SPELLINGS = FILES | MEDIA_TYPES | BASE64 | DATA_URIS | JSON | MULTIPART | NOT_GIVEN


@pytest.fixture(scope="module")
def client(demo_server: Server) -> httpx.Client:
    return demo_server.client


@pytest.fixture(scope="module")
def expected(client: httpx.Client) -> Json:
    return claims(answer(client, PICTURE))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_request_gets_the_same_answer(
    client: httpx.Client, expected: Json, spelling: str
) -> None:
    response = client.post("/retrieve", **SPELLINGS[spelling])
    assert response.status_code == 200, response.text
    assert claims(response.json()) == expected


def test_an_option_may_come_as_a_file(client: httpx.Client) -> None:
    content = (CASES / "multipart-option-as-file.bin").read_bytes()
    response = client.post("/retrieve", **typed(FORM, content))
    assert claims(response.json()) == claims(answer(client, PICTURE, top_k=2))


def test_the_type_of_a_jpeg_may_be_misspelt_too(client: httpx.Client) -> None:
    jpeg = saved(picture(6), "JPEG")
    right = claims(answer(client, jpeg, "image/jpeg"))
    for media in ("image/jpg", "image/pjpeg", "image/png", "application/octet-stream", "image/gif"):
        assert claims(answer(client, jpeg, media)) == right


# --- one rule for types

LAX: dict[str, list[Any]] = {
    "top_k": [True, "1", "1_0", 1.0, " 1", [1], {}],
    "max_samples": [True, "256", 256.0],
    "deadline_ms": ["5000", 5000.5],
    "alpha": [True, "0.1", [0.1]],
    "target_radius": ["0.1", False],
    "min_gain": ["0", False],
    "guarantee": ["", 1, True, ["label"]],
    "method": [0, ["cdf"]],
    "rule": ["Vote", "vote "],
}


@pytest.mark.parametrize("name", LAX)
def test_json_of_another_type_is_refused_for_every_option(client: httpx.Client, name: str) -> None:
    for value in LAX[name]:
        response = client.post("/retrieve", json={"image": TEXT, name: value})
        assert response.status_code == 422, value
        assert [error["option"] for error in response.json()["errors"]] == [name]


TEXTS = {
    "top_k": ["1_0", " 1", "1 ", "+1", "1.0", "1e1", "0x1", "١", "true", "1\n", "01"],
    "alpha": ["0_1", " 0.1", "+0.1", ".1", "0.", "1e400", "-1e400", "nan", "NaN", "inf", "-Infinity", "0,1"],
    "target_radius": ["1e400", "inf", "Infinity", "nan", "0.1 ", "1_0.0"],
    "min_gain": ["nan", "False", "-0.1"],
    "method": ["CDF", " cdf", "1"],
}


@pytest.mark.parametrize("place", ["query string", "multipart"])
@pytest.mark.parametrize("name", TEXTS)
def test_text_that_is_no_number_as_json_writes_it_is_refused(
    client: httpx.Client, name: str, place: str
) -> None:
    for text in TEXTS[name]:
        if place == "multipart":
            request: dict[str, Any] = {"files": {"image": PICTURE, name: (None, text.encode())}}
        else:
            request = typed("image/png", PICTURE) | {"params": {name: text}}
        response = client.post("/retrieve", **request)
        assert response.status_code == 422, text
        assert [error["option"] for error in response.json()["errors"]] == [name]


def test_text_that_is_a_number_as_json_writes_it_is_that_number() -> None:
    texts = {"top_k": "10", "alpha": "1e-3", "target_radius": "2", "min_gain": "0.0", "max_samples": "300"}
    options = parse("", PICTURE, texts.items()).options
    given = {"top_k": 10, "alpha": 0.001, "target_radius": 2.0, "min_gain": 0.0, "max_samples": 300}
    assert options.model_dump(exclude_unset=True) == given
    written = json.dumps({"image": TEXT} | given).encode()
    assert parse("application/json", written, ()).options == options


# --- what is accepted is what is sent


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (["text/event-stream"], "text/event-stream"),
        (["TEXT/Event-Stream; q=0.1"], "text/event-stream"),
        (["text/event-stream, application/json;q=0.9"], "text/event-stream"),
        (["text/event-stream", "*/*;q=0.5"], "text/event-stream"),
        (["application/json;q=0, */*"], "text/event-stream"),
        (["*/*"], "application/json"),
        (["application/json, text/event-stream"], "application/json"),
        (["text/event-stream;q=0.5, application/json"], "application/json"),
        (["text/event-stream;q=0"], "application/json"),
        (["text/event-stream; q = 0.000 , */*"], "application/json"),
        (["text/event-stream;q=wrong"], "application/json"),
        (["text/event-streams"], "application/json"),
        (["image/png"], "application/json"),
        ([""], "application/json"),
    ],
)
def test_a_stream_is_sent_to_those_who_prefer_it_to_json(
    client: httpx.Client, accept: list[str], media: str
) -> None:
    headers = [("content-type", "image/png"), *(("accept", value) for value in accept)]
    response = client.post("/retrieve", content=PICTURE, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"].partition(";")[0] == media


# --- laws of the two parsers


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(content=st.binary(max_size=300), width=st.integers(4, 80), safe=st.booleans(), padded=st.booleans())
def test_bytes_come_back_from_every_way_to_write_them(
    content: bytes, width: int, safe: bool, padded: bool
) -> None:
    text = (base64.urlsafe_b64encode if safe else base64.b64encode)(content).decode()
    text = text if padded else text.rstrip("=")
    wrapped = "\n".join(text[start : start + width] for start in range(0, len(text), width))
    assert image_bytes(wrapped) == content
    assert image_bytes(f"data:,{quote_from_bytes(content)}") == content


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.binary(max_size=60) | st.sampled_from([b"\r\n--", b"--b", b"\r\n--c--", b"\r\n\r\n"]), max_size=5
    )
)
def test_parts_come_back_as_they_were_sent(contents: list[bytes]) -> None:
    body = b"".join(
        b'--boundary\r\nContent-Disposition: form-data; name="p%d"\r\n\r\n' % n + content + b"\r\n"
        for n, content in enumerate(contents)
    )
    found = parts("multipart/form-data; boundary=boundary", body + b"--boundary--", most=5)
    assert [(part.name, part.content) for part in found] == [(f"p{n}", c) for n, c in enumerate(contents)]

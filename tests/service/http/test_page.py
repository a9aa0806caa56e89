"""The page as files: all of it there, from nowhere else, and small."""

import base64
import hashlib
import re
import tomllib
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.retriever import Retriever
from tests.service.processes import Server
from tests.service.queries import digit, picture, saved, tensor

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "service" / "http" / "page"
FILES = sorted(path.relative_to(PAGE) for path in PAGE.rglob("*") if path.is_file())
CODE = [path for path in FILES if path.suffix in (".js", ".css", ".html", ".svg")]


@pytest.fixture(scope="module")
def client(demo_server: Server) -> httpx.Client:
    return demo_server.client


def test_the_page_is_at_the_root_and_lets_nothing_in_from_elsewhere(client: httpx.Client) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    policy = dict(
        part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:"
    assert not any("unsafe" in allowed or "http" in allowed for allowed in policy.values())
    assert policy["frame-ancestors"] == "'none'"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_is_served_as_what_it_is(client: httpx.Client, file: Path) -> None:
    response = client.get(f"/page/{file.as_posix()}")
    assert response.content == (PAGE / file).read_bytes()
    assert response.headers["x-content-type-options"] == "nosniff"
    kind = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png"}
    if file.suffix in kind:
        assert response.headers["content-type"].partition(";")[0] == kind[file.suffix]
    # Asked again, only whether it is still the same.
    again = client.get(f"/page/{file.as_posix()}", headers={"if-none-match": response.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["nothing.js", "", "vendor", "../app.py", "%2e%2e/app.py", "..%2fapp.py"])
def test_nothing_else_is(client: httpx.Client, path: str) -> None:
    response = client.get(f"/page/{path}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_all_files_are_part_of_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in settings["service.http"] for path in PAGE.parent.glob(pattern)}
    assert {PAGE / file for file in FILES} <= packed


@pytest.mark.parametrize("file", CODE, ids=str)
def test_no_file_names_another_host(file: Path) -> None:
    text = (PAGE / file).read_text()
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", text))
    # Names of XML, which nobody asks for.
    assert {address for address in addresses if not address.startswith("http://www.w3.org/")} <= PICO


# In a comment of Pico's that names its licence.
PICO = {"https://picocss.com"}


def test_what_is_not_ours_is_what_the_list_says() -> None:
    listed = (PAGE / "vendor" / "README.md").read_text()
    for file in (PAGE / "vendor").glob("*.[jc]s*"):
        assert f"| `{file.name}` |" in listed
        assert hashlib.sha256(file.read_bytes()).hexdigest() in listed


def test_what_the_model_sees_is_its_exact_input(client: httpx.Client, demo_retriever: Retriever) -> None:
    for content in (digit(3), saved(picture(3).resize((40, 24)), "PNG")):
        body = client.post("/model/input", content=content, headers={"content-type": "image/png"}).json()
        seen = np.frombuffer(base64.b64decode(body["pixels"]), "<f4").reshape(body["shape"])
        assert np.array_equal(seen, demo_retriever.decode(content))
        assert body["losses"] == []
    assert np.array_equal(demo_retriever.seen(digit(3))[0], tensor(3))


def test_what_is_lost_is_told_of_the_one_picture_and_counted_as_no_query(client: httpx.Client) -> None:
    counted = client.get("/model").json()["warnings"]
    large = saved(picture(3).resize((200, 100)).convert("RGB").point(lambda value: value), "PNG")
    colourful = saved(picture(3).convert("RGB").convert("HSV").point(lambda v: 200).convert("RGB"), "PNG")
    told = {}
    for name, content in (("large", large), ("colourful", colourful)):
        response = client.post("/model/input", content=content)
        told[name] = response.json()["losses"]
    assert [loss.partition(";")[0] for loss in told["large"]] == ["Its detail is lost: it is shrunk 17 times"]
    assert [loss.partition(";")[0] for loss in told["colourful"]] == ["Its colours are lost"]
    assert client.get("/model").json()["warnings"] == counted


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"", "image/png", 400),
        (b"{}", "application/json", 415),
        (b"nonsense", "image/png", 415),
        (digit(0)[:60], "image/png", 422),
    ],
)
def test_what_is_no_picture_is_a_problem(client: httpx.Client, body: bytes, media: str, status: int) -> None:
    response = client.post("/model/input", content=body, headers={"content-type": media})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"

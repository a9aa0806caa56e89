"""/openapi.json: valid, complete, each thing described once; and a client that is generated from it works."""

import base64
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.http.forms import DIGIT
from service.retrieval.options import RetrieveOptions
from tests.service.processes import Server
from tests.service.queries import Json, answer, claims, digit, tensor

OPTIONS = RetrieveOptions.model_fields.keys()
ROUTES = {
    ("post", "/retrieve"),
    ("post", "/retrieve/batch"),
    ("post", "/attack"),
    ("get", "/gallery"),
    ("get", "/galleries"),
    ("get", "/galleries/{name}"),
    ("put", "/galleries/{name}"),
    ("delete", "/galleries/{name}"),
    ("get", "/galleries/{name}/items"),
    ("get", "/galleries/{name}/items/{item_id}"),
    ("get", "/galleries/{name}/images/{item_id}"),
    ("get", "/gallery/items"),
    ("post", "/gallery/items"),
    ("delete", "/gallery/items"),
    ("get", "/gallery/items/{item_id}"),
    ("put", "/gallery/items/{item_id}"),
    ("patch", "/gallery/items/{item_id}"),
    ("delete", "/gallery/items/{item_id}"),
    ("get", "/gallery/images/{item_id}"),
    ("get", "/gallery/snapshots"),
    ("post", "/gallery/snapshots"),
    ("get", "/gallery/snapshots/{name}"),
    ("delete", "/gallery/snapshots/{name}"),
    ("post", "/gallery/snapshots/{name}/restore"),
    ("post", "/gallery/jobs"),
    ("get", "/gallery/jobs"),
    ("get", "/gallery/jobs/{job_id}"),
    ("delete", "/gallery/jobs/{job_id}"),
    ("get", "/model"),
    ("post", "/model/input"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/metrics"),
}


@pytest.fixture(scope="module")
def document(demo_server: Server) -> Json:
    found: Json = demo_server.client.get("/openapi.json").json()
    return found


def test_the_document_is_valid(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_openapi_documents_every_route_and_nothing_else(document: Json) -> None:
    documented = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert documented == ROUTES
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], f"{method} {path} has no description"
            assert operation["responses"].keys() & {"200", "201", "202", "204"}


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


def test_every_reference_of_openapi_leads_somewhere(document: Json) -> None:
    assert references(document)
    for reference in references(document):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_every_error_that_openapi_documents_is_a_problem(document: Json) -> None:
    paths = document["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            errors = {s: r for s, r in operation["responses"].items() if int(s) >= 400}
            for status, response in errors.items():
                assert list(response["content"]) == ["application/problem+json"], f"{method} {path} {status}"
    assert paths["/retrieve"]["post"]["responses"].keys() >= {"400", "409", "413", "415", "422", "503"}
    assert "404" in paths["/gallery/items/{item_id}"]["get"]["responses"]
    assert "404" in paths["/gallery/images/{item_id}"]["get"]["responses"]
    assert "503" in paths["/readyz"]["get"]["responses"]


def resolved(document: Json, value: Json) -> Json:
    """What a reference leads to, or the value itself."""
    while "$ref" in value:
        found: Any = document
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def test_every_body_form_and_every_option_is_described(document: Json) -> None:
    operation = document["paths"]["/retrieve"]["post"]
    forms = resolved(document, operation["requestBody"])["content"]
    raw = {"image/png", "image/jpeg", "image/webp", "application/octet-stream"}
    assert forms.keys() == raw | {"multipart/form-data", "application/json"}
    assert all(forms[media]["schema"] == {"type": "string", "format": "binary"} for media in raw)
    parameters = [resolved(document, parameter) for parameter in operation["parameters"]]
    assert [parameter["name"] for parameter in parameters] == list(OPTIONS)
    bodies = {
        "RetrieveForm": forms["multipart/form-data"]["schema"],
        **dict(
            zip(
                ("RetrieveImageBody", "RetrievePixelsBody"),
                forms["application/json"]["schema"]["oneOf"],
                strict=True,
            )
        ),
    }
    for name, reference in bodies.items():
        assert reference["$ref"] == f"#/components/schemas/{name}"
        body = resolved(document, reference)
        assert list(body["properties"])[1:] == list(OPTIONS)
        assert body["required"] == list(body["properties"])[:1]
        assert body["additionalProperties"] is False


def test_an_option_is_described_in_one_place(document: Json) -> None:
    written = json.dumps(document)
    for parameter in document["components"]["parameters"].values():
        described = resolved(document, parameter["schema"])
        assert written.count(json.dumps(described)) == 1
        # A generated client would send it in the URL too, where the body may have another.
        assert "default" not in described


def test_every_operation_has_a_name_of_its_own(document: Json) -> None:
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names)
    assert {"retrieve", "get_item", "get_item_image", "get_gallery", "get_model", "get_readyz"} <= set(names)


def test_every_answer_tells_of_its_headers(document: Json, demo_server: Server) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                assert "X-Request-Id" in response["headers"]
                assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))
    assert document["components"]["headers"].keys() == {"X-Request-Id", "Retry-After", "ETag", "Location"}
    assert demo_server.client.get("/livez").headers["x-request-id"]


def test_the_events_of_a_stream_are_described(document: Json, demo_server: Server) -> None:
    content = document["paths"]["/retrieve"]["post"]["responses"]["200"]["content"]
    assert list(content) == ["application/json", "text/event-stream"]  # the first is what clients take
    events = content["text/event-stream"]["x-events"]
    assert events.keys() == {"round", "answer", "problem"}
    schema = resolved(document, events["round"])
    query = {"pixels": np.random.default_rng(5).random((1, 8, 8)).tolist()}
    text = demo_server.client.post("/retrieve", json=query, headers={"accept": "text/event-stream"}).text
    first = json.loads(text.split("\n")[1].removeprefix("data: "))
    assert first.keys() == schema["properties"].keys() == set(schema["required"])


def test_examples_are_answered(document: Json, demo_server: Server) -> None:
    forms = resolved(document, document["paths"]["/retrieve"]["post"]["requestBody"])["content"]
    examples = forms["application/json"]["examples"]
    assert examples.keys() == {"image", "pixels"}
    for example in examples.values():
        response = demo_server.client.post("/retrieve", json=example["value"])
        assert response.status_code == 200, response.text
        assert response.json()["neighbor"]["label"] == "5"
    assert claims(response.json()) != claims(answer(demo_server.client, DIGIT))  # its pixels are rounded


# --- a generated client


@pytest.fixture(scope="module")
def generated(document: Json, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a package that `openapi-python-client` writes, importable."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "config.yml").write_text("post_hooks: []\n")
    done = subprocess.run(
        [
            Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta", "none",
            "--path", folder / "openapi.json", "--config", folder / "config.yml",
            "--output-path", folder / "generated_client",
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    # It has no name for a raw PNG; application/octet-stream is the same body.
    unsupported = re.findall(r"Unsupported content[ _]type (\S+)", done.stdout)
    assert len(unsupported) == done.stdout.count("WARNING"), done.stdout
    assert all(media.startswith("image/") for media in unsupported)
    sys.path.insert(0, str(folder))
    yield "generated_client"
    sys.path.remove(str(folder))


@pytest.fixture
def client(generated: str, demo_server: Server) -> Iterator[Any]:
    with importlib.import_module(generated).Client(base_url=demo_server.url, timeout=60) as client:
        yield client


@pytest.fixture
def models(generated: str) -> ModuleType:
    return importlib.import_module(f"{generated}.models")


def test_a_generated_client_asks_in_every_form(
    generated: str, client: Any, models: ModuleType, demo_server: Server
) -> None:
    retrieve = importlib.import_module(f"{generated}.api.default.retrieve")
    types = importlib.import_module(f"{generated}.types")
    expected = claims(answer(demo_server.client, digit(0), top_k=2, guarantee="item"))
    file, text = types.File(payload=digit(0)), base64.b64encode(digit(0)).decode()
    options = {"top_k": 2, "guarantee": models.Guarantee.ITEM}
    for found in (
        retrieve.sync(client=client, body=models.RetrieveImageBody(text, **options)),
        retrieve.sync(
            client=client, body=models.RetrieveImageBody(text, top_k=2), guarantee=models.Guarantee.ITEM
        ),
        retrieve.sync(client=client, body=models.RetrieveImageBody(text, alpha=None, **options)),
        retrieve.sync(client=client, body=models.RetrievePixelsBody(tensor(0).tolist(), **options)),
        retrieve.sync(client=client, body=models.RetrieveForm(file, **options)),
        retrieve.sync(client=client, body=file, **options),
    ):
        assert isinstance(found, models.RetrieveResponse), found
        assert claims(found.to_dict()) == expected


def test_a_generated_client_reads_problems(generated: str, client: Any, models: ModuleType) -> None:
    retrieve = importlib.import_module(f"{generated}.api.default.retrieve")
    found = retrieve.sync_detailed(client=client, body=models.RetrieveImageBody("AAAA", top_k=0))
    assert found.status_code == 422
    assert isinstance(found.parsed, models.ProblemBody)
    assert [error.option for error in found.parsed.errors] == ["top_k"]


def test_a_generated_client_calls_the_other_routes(generated: str, client: Any) -> None:
    for name, member in (("get_gallery", "size"), ("get_model", "sigma"), ("get_livez", "status")):
        found = importlib.import_module(f"{generated}.api.default.{name}").sync(client=client)
        assert getattr(found, member)

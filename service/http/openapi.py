"""The OpenAPI document: what FastAPI infers, completed by what it cannot know."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.http import forms, item_forms
from service.http.access import needed
from service.http.problems import ProblemBody, documented
from service.retrieval.answer import RoundBody

# FastAPI's own, which no route sends.
_REPLACED = ("HTTPValidationError", "ValidationError")
_REQUEST_ID = "X-Request-Id"
_RETRY_AFTER = "Retry-After"
_HEADERS = {
    _REQUEST_ID: {
        "description": "The id of the request in the log; the client's, if it sent a plain one.",
        "schema": {"type": "string"},
    },
    _RETRY_AFTER: {"description": "Seconds after which to come back.", "schema": {"type": "integer"}},
    "ETag": {"description": "The digest of the item, for `If-Match`.", "schema": {"type": "string"}},
    "Location": {"description": "The path of what was made.", "schema": {"type": "string"}},
}
_LATER = ("429", "503")
# For routes that send them: `responses` of the operation.
TAG_HEADER = {"ETag": {"$ref": "#/components/headers/ETag"}}
LOCATION_HEADER = {"Location": {"$ref": "#/components/headers/Location"}}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `retrievalguard keys create`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}


def operation_id(route: APIRoute) -> str:
    """The name by which generated clients call a route; it stays when its path changes."""
    return f"get_{route.name}" if "GET" in (route.methods or ()) else route.name


def install(app: FastAPI) -> None:
    """Have `app` describe itself completely; it asks its retriever when it is first asked itself."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(describe(), forms.components(app.state.retriever), item_forms.components())
        return describe()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any], *components: dict[str, dict[str, Any]]) -> None:
    known = document["components"]
    for kind, named in [
        *(part for described in components for part in described.items()),
        ("schemas", _schemas(ProblemBody, RoundBody)),
        ("headers", _HEADERS),
        ("securitySchemes", _SECURITY),
    ]:
        known.setdefault(kind, {}).update(named)
    for name in _REPLACED:
        known["schemas"].pop(name, None)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            scope = needed(method.upper(), path)
            if scope is not None:
                operation["security"] = [{"bearer": []}, {"header": []}, {}]
                operation["description"] += f"\n\nWhere keys are used, one with scope `{scope}` is needed."
                responses |= {str(status): told for status, told in documented(401, 403, 429).items()}
            if "application/json" in responses.get("422", {}).get("content", {}):
                del responses["422"]
            for status, response in responses.items():
                names = (_REQUEST_ID, _RETRY_AFTER) if status in _LATER else (_REQUEST_ID,)
                sent = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
                response["headers"] = response.get("headers", {}) | sent


def _schemas(*models: type[BaseModel]) -> dict[str, Any]:
    """The schemas of models that no route names as its answer."""
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas

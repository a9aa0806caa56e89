"""The forms of a query, described: `body` reads them, and FastAPI cannot infer them.

All are named components of the OpenAPI document, each option once, whatever routes and forms refer to them.
"""

import base64
from typing import Any

import numpy as np

from service.images import MEDIA_TYPES, decode_image, png
from service.retrieval.options import RetrieveOptions
from service.retrieval.query import least_alpha
from service.retriever import Retriever

Json = dict[str, Any]

# A 5 of 8 x 8 pixels, as a PNG file.
DIGIT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAQ0lEQVR4nAXBARVAMBQAwNNgEX6ERRBBAxVI"
    "4klAExFoMA2mwXc3qNfuPTFm5h2ouQWIzF4ZWL75WUFpB5haDyi9FfxKQxUErI3ksAAAAABJRU5ErkJggg=="
)
# A longer list is no example that a person reads, and a page that nobody can scroll.
MOST_EXAMPLE_NUMBERS = 4_096
BINARY = {"type": "string", "format": "binary"}
# What a form may be sent as: its bytes decide what it is, and not its name.
RAW = (*MEDIA_TYPES.values(), "application/octet-stream")


def operation() -> Json:
    """What an operation that takes a query adds to its description: its body, and its options in the URL."""
    parameters = [{"$ref": f"#/components/parameters/{name}"} for name in RetrieveOptions.model_fields]
    return {"requestBody": {"$ref": "#/components/requestBodies/Query"}, "parameters": parameters}


def file() -> Json:
    """The request body of an operation that takes an image file and nothing else."""
    return {"required": True, "content": {media: {"schema": BINARY} for media in RAW}}


def batch_operation() -> Json:
    """What an operation that takes a batch of queries adds to its description."""
    return operation() | {"requestBody": {"$ref": "#/components/requestBodies/Queries"}}


def gallery_operation() -> Json:
    """What an operation that takes a filter adds to its description."""
    return {"requestBody": {"$ref": "#/components/requestBodies/NamedGallery"}}


def components(retriever: Retriever) -> dict[str, Json]:
    """The components that `operation` refers to, with the shape and examples that fit the model served."""
    options = _options()
    # What a documentation page fills in is to be answered.
    options["alpha"]["minimum"] = least_alpha(retriever.settings, retriever.smoothed)
    schemas = {_component(name): schema for name, schema in options.items()}
    in_json: Json = {name: {"anyOf": [_option(name), {"type": "null"}]} for name in options}
    as_text = {name: _option(name) for name in options}
    for name, schema in options.items():
        free = schema["type"] == "string" and "enum" not in schema
        if free or schema["type"] == "object":
            schemas[f"{_component(name)}Text"] = {
                "type": "string",
                "description": schema["description"] if free else f"The {name}: a JSON object, as text.",
                "example": "",  # else a documentation page fills in a text of its own
            }
            as_text[name] = _schema(f"{_component(name)}Text")
    image = {"type": "string", "description": "A PNG, JPEG or WebP file in base64, or a data URI of one."}
    schemas |= {
        "RetrieveImageBody": _body("A query as an image file in base64.", {"image": image} | in_json),
        "RetrievePixelsBody": _body(
            "A query as the exact input of the model.",
            {"pixels": _pixels(retriever.model.input_shape)} | in_json,
        ),
        "RetrieveForm": _body("A query as a form.", {"image": BINARY} | as_text),
    }
    parameters: dict[str, Json] = {
        name: {
            "name": name,
            "in": "query",
            "required": False,
            "allowEmptyValue": True,
            "description": schema["description"],
            "schema": as_text[name],
        }
        for name, schema in options.items()
    }
    either = {"oneOf": [_schema("RetrieveImageBody"), _schema("RetrievePixelsBody")]}
    content: dict[str, Json] = {media: {"schema": BINARY} for media in RAW}
    content["multipart/form-data"] = {"schema": _schema("RetrieveForm")}
    content["application/json"] = {
        "schema": either,
        "examples": _examples(retriever),
    }
    body = {
        "description": "An image, or the exact input of the model. Options may stand here or in the URL.",
        "required": True,
        "content": content,
    }
    schemas["QueriesBody"] = batch_body("A batch of queries.", "queries", either)
    batch = {
        "description": "Queries, each in JSON. Options in the URL are those of all.",
        "required": True,
        "content": {"application/json": {"schema": _schema("QueriesBody")}},
    }
    schemas["NamedGalleryFilter"] = _body("The filter of a named gallery.", {"filter": _option("filter")})
    named = {
        "description": "Which items are in it.",
        "required": True,
        "content": {"application/json": {"schema": _schema("NamedGalleryFilter")}},
    }
    bodies = {"Query": body, "Queries": batch, "NamedGallery": named}
    return {"schemas": schemas, "parameters": parameters, "requestBodies": bodies}


def batch_body(description: str, name: str, item: Json) -> Json:
    """The schema of a batch; a list alone, without the object around it, is read too."""
    return _body(description, {name: {"type": "array", "minItems": 1, "items": item}})


def _options() -> dict[str, Json]:
    """The schema of each option, as if it were required and had no default.

    Generated clients send defaults with every request, in the URL and in the body: twice is once too often.
    """
    described = {}
    for name, schema in RetrieveOptions.model_json_schema()["properties"].items():
        value = schema.get("anyOf", [schema])[0]
        default = schema.get("default")
        said = "" if default is None else f" Default: {default}."
        described[name] = {key: value[key] for key in value if key not in ("default", "title")} | {
            "description": schema["description"] + said
        }
    return described


def _component(option: str) -> str:
    return option.title().replace("_", "")


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _option(name: str) -> Json:
    return _schema(_component(name))


def _body(description: str, properties: Json) -> Json:
    return {
        "type": "object",
        "description": description,
        "required": [next(iter(properties))],
        "properties": properties,
        "additionalProperties": False,
    }


def _pixels(shape: tuple[int, int, int]) -> Json:
    """Nested lists of exactly this shape."""
    schema: Json = {"type": "number", "minimum": 0, "maximum": 1}
    for length in reversed(shape):
        schema = {"type": "array", "minItems": length, "maxItems": length, "items": schema}
    return schema | {"description": f"The model input: {' x '.join(map(str, shape))} numbers in [0, 1]."}


def _examples(retriever: Retriever) -> dict[str, Json]:
    """Queries that can be sent as they are."""
    shape, least = retriever.model.input_shape, retriever.settings.min_image_side
    times = -(-least // 8)
    digit = (255 * _decoded((1, 8, 8))).round().astype(np.uint8)
    file = png(digit.repeat(times, axis=1).repeat(times, axis=2))
    found = {"image": {"summary": "An image", "value": {"image": base64.b64encode(file).decode()}}}
    if np.prod(shape) <= MOST_EXAMPLE_NUMBERS:
        numbers = _decoded(shape).astype(np.float64).round(3).tolist()
        found["pixels"] = {"summary": "The input of the model", "value": {"pixels": numbers}}
    return found


def _decoded(shape: tuple[int, int, int]) -> np.typing.NDArray[np.float32]:
    return decode_image(DIGIT, shape, max_pixels=64, min_side=8)

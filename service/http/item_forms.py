"""The forms of an item, described for the OpenAPI document: `item_body` reads them."""

from typing import Any

from service.http.forms import BINARY, RAW, Json, batch_body

_IMAGE = {"type": "string", "description": "A PNG, JPEG or WebP file in base64, or a data URI of one."}
_ID = {"type": "string", "description": "The id: one line of text, no part between slashes empty or dots."}
_LABEL = {"type": "string", "description": "What the label guarantee is about: one line of text."}
_METADATA = {
    "type": "object",
    "description": "Whatever else is to be kept with the item.",
    "additionalProperties": True,
}
_METADATA_TEXT = {"type": "string", "description": "The metadata: a JSON object, as text."}


def operation(body: str, *fields: str) -> Json:
    """What an operation adds to its description: its body, and the `fields` that may stand in the URL."""
    parameters = [{"$ref": f"#/components/parameters/item_{name}"} for name in fields]
    return {"requestBody": {"$ref": f"#/components/requestBodies/{body}"}, "parameters": parameters}


def components() -> dict[str, Json]:
    """The components that `operation` refers to."""
    fields = {"label": _schema("ItemLabel"), "metadata": _schema("Metadata")}
    in_form = {"label": _schema("ItemLabel"), "metadata": _schema("MetadataText")}
    image, id_ = {"image": _schema("ItemImage")}, {"id": _schema("ItemId")}
    schemas = {
        "ItemId": _ID,
        "ItemLabel": _LABEL,
        "ItemImage": _IMAGE,
        "Metadata": _METADATA,
        "MetadataText": _METADATA_TEXT,
        "NewItemBody": _object("An item to add.", image | id_ | fields, "image", "id", "label"),
        "NewItemForm": _object(
            "An item to add, as a form.", {"image": BINARY} | id_ | in_form, "image", "id", "label"
        ),
        "NewItemsBody": batch_body("A batch of items to add.", "items", _schema("NewItemBody")),
        "PutItemBody": _object("An item, whose id is in the URL.", image | fields, "image", "label"),
        "PutItemForm": _object(
            "An item, whose id is in the URL, as a form.", {"image": BINARY} | in_form, "image", "label"
        ),
        "RevisionBody": _object("What is to change: label, metadata, or both.", fields)
        | {"minProperties": 1},
    }
    parameters = {
        f"item_{name}": {
            "name": name,
            "in": "query",
            "required": False,
            "description": "For a raw image; else it may be in the body.",
            "schema": _schema(component),
        }
        for name, component in (("id", "ItemId"), ("label", "ItemLabel"), ("metadata", "MetadataText"))
    }
    new_item = _request("The image of an item, all of the item, or a batch of items.", "NewItem")
    new_item["content"]["application/json"]["schema"] = {
        "oneOf": [_schema("NewItemBody"), _schema("NewItemsBody")]
    }
    bodies = {
        "NewItem": new_item,
        "PutItem": _request("The image of an item, or all of the item but its id.", "PutItem"),
        "Revision": {
            "description": "What is to change.",
            "required": True,
            "content": {"application/json": {"schema": _schema("RevisionBody")}},
        },
    }
    return {"schemas": schemas, "parameters": parameters, "requestBodies": bodies}


def _request(description: str, name: str) -> Json:
    content: Json = {media: {"schema": BINARY} for media in RAW}
    content["multipart/form-data"] = {"schema": _schema(f"{name}Form")}
    content["application/json"] = {"schema": _schema(f"{name}Body")}
    return {"description": description, "required": True, "content": content}


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(description: str, properties: Json, *required: str) -> Json:
    found: dict[str, Any] = {"type": "object", "description": description, "properties": properties}
    return found | {"additionalProperties": False} | ({"required": list(required)} if required else {})

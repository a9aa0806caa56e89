"""The OpenAPI document as Markdown: every route, its parameters, bodies and answers; and every shape."""

from typing import Any

Json = dict[str, Any]


def markdown(document: Json) -> str:
    """All of `document`: a section for each route, then one for each schema that they name."""
    lines = [f"OpenAPI {document['openapi']}, version {document['info']['version']}, from the code.", ""]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += _operation(document, f"{method.upper()} {path}", operation)
    lines += ["## Shapes", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [f"({name.lower()}-shape)=", f"### {name}", "", _text(schema.get("description", "")), ""]
        lines += _members(schema)
    return "\n".join(lines)


def _operation(document: Json, title: str, operation: Json) -> list[str]:
    lines = [f"## {title}", "", _text(operation["description"]), ""]
    parameters = [_resolved(document, parameter) for parameter in operation.get("parameters", [])]
    if parameters:
        lines += ["| parameter | in | type | what it is |", "|---|---|---|---|"]
        for parameter in parameters:
            place = parameter["in"] + (", needed" if parameter.get("required") else "")
            shape, said = _type(parameter["schema"]), _cell(parameter.get("description", ""))
            lines.append(f"| `{parameter['name']}` | {place} | {shape} | {said} |")
        lines.append("")
    if "requestBody" in operation:
        body = _resolved(document, operation["requestBody"])
        lines += [_text(body.get("description", "")), "", "| body | shape |", "|---|---|"]
        lines += [f"| `{media}` | {_type(shape['schema'])} |" for media, shape in body["content"].items()]
        lines.append("")
    lines += ["| status | what it is | shape |", "|---|---|---|"]
    for status, response in operation["responses"].items():
        contents = response.get("content", {}).values()
        shapes = [_type(content["schema"]) for content in contents if "schema" in content]
        lines.append(f"| {status} | {_cell(response['description'])} | {', '.join(shapes)} |")
    return [*lines, ""]


def _members(schema: Json) -> list[str]:
    if "properties" not in schema:
        return [_type(schema), ""]
    needed = schema.get("required", [])
    lines = ["| member | type | what it is |", "|---|---|---|"]
    for name, member in schema["properties"].items():
        optional = "" if name in needed else ", may be left out"
        lines.append(f"| `{name}` | {_type(member)}{optional} | {_cell(member.get('description', ''))} |")
    return [*lines, ""]


def _type(schema: Json) -> str:
    """In words, with links to the shapes that have a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()}-shape)"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("format") or schema.get("const") or schema.get("type", "anything"))


def _resolved(document: Json, value: Json) -> Json:
    while "$ref" in value:
        found: Any = document
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def _text(description: str) -> str:
    """A description as Markdown: indented lines of docstrings are no code."""
    return "\n".join(line.strip() for line in description.splitlines())


def _cell(description: str) -> str:
    """The same in a cell of a table."""
    return " ".join(description.split()).replace("|", "\\|")

"""Writes `kuberay.schema.json` from KubeRay's own: `python -m tests.docker.kuberay FILE`.

FILE, `ray-operator/config/crd/bases/ray.io_rayservices.yaml` of https://github.com/ray-project/kuberay
(Apache-2.0), is a megabyte, as it holds all of a pod three times. Kept are names, types and ranges on the way
to what the manifest says; of what it says nothing of, the name alone. Texts are left out.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SCHEMA = HERE / "kuberay.schema.json"
MANIFEST = HERE.parents[1] / "docker" / "kuberay" / "rayservice.yaml"
KEPT = ("type", "required", "enum", "pattern", "minimum", "maximum", "anyOf", "format")


def reduced(schema: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """What `schema` asks of `values`."""
    found: dict[str, Any] = {name: schema[name] for name in KEPT if name in schema}
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    if "properties" in schema:
        found["additionalProperties"] = False
        found["properties"] = {
            name: reduced(part, said) if (said := [value[name] for value in values if name in value]) else {}
            for name, part in sorted(schema["properties"].items())
        }
    elif isinstance(schema.get("additionalProperties"), dict):
        said = [each for value in values for each in value.values()]
        found["additionalProperties"] = reduced(schema["additionalProperties"], said)
    if "items" in schema:
        found["items"] = reduced(schema["items"], [each for value in values for each in value])
    return found


def main() -> None:
    """Write it."""
    definition = yaml.safe_load(Path(sys.argv[1]).read_text())
    (version,) = (one for one in definition["spec"]["versions"] if one["name"] == "v1")
    whole = version["schema"]["openAPIV3Schema"]
    whole["properties"]["metadata"] = {"type": "object"}
    schema = {
        "$comment": "Reduced by tests/docker/kuberay.py from KubeRay 1.7, which is Apache-2.0",
        **reduced(whole, [yaml.safe_load(MANIFEST.read_text())]),
    }
    SCHEMA.write_text(json.dumps(schema, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""The manifest for KubeRay: fields that KubeRay knows, and what it has to say of ours."""

import copy
import importlib
import re
import typing
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml

from bench.cluster import stage
from retrievalguard.cluster.plan import ClusterPlan, replicas
from retrievalguard.cluster.surroundings import EVERYWHERE
from tests.docker.kuberay import MANIFEST, TABLE
from tests.docker.stack import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

SERVICE: dict[str, Any] = yaml.safe_load(MANIFEST.read_text())
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
GROUPS = CLUSTER["workerGroupSpecs"]
PODS = [CLUSTER["headGroupSpec"]["template"]["spec"], *(group["template"]["spec"] for group in GROUPS)]
CONTAINERS = [container for pod in PODS for container in pod["containers"]]
VALIDATOR = jsonschema.Draft202012Validator(TABLE)


def test_it_is_what_kuberay_takes() -> None:
    assert [error.message for error in VALIDATOR.iter_errors(SERVICE)] == []


def misspelled(service: dict[str, Any]) -> None:
    probe = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    probe["livenesProbe"] = probe.pop("livenessProbe")


def unnamed(service: dict[str, Any]) -> None:
    del service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["groupName"]


def text(service: dict[str, Any]) -> None:
    service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"] = "8"


def unknown_mode(service: dict[str, Any]) -> None:
    service["spec"]["rayClusterConfig"]["authOptions"]["mode"] = "password"


@pytest.mark.parametrize("change", [misspelled, unnamed, text, unknown_mode])
def test_what_kuberay_would_refuse_is_noticed(change: Callable[[dict[str, Any]], None]) -> None:
    changed = copy.deepcopy(SERVICE)
    change(changed)
    assert list(VALIDATOR.iter_errors(changed))


def test_every_container_is_probed_bounded_and_without_rights() -> None:
    for container in CONTAINERS:
        assert container["livenessProbe"]["httpGet"]["port"] == 52365
        assert container["readinessProbe"]["httpGet"]["path"].endswith("/healthz")
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    for pod in PODS:
        assert pod["securityContext"]["runAsUser"] == 10001  # the image's
    assert CLUSTER["authOptions"]["mode"] == "token"


def test_what_is_secret_is_mounted_and_stands_nowhere() -> None:
    for pod in PODS:
        (mounted,) = (volume for volume in pod["volumes"] if volume["name"] == "secret")
        assert mounted["secret"]["secretName"] == "retrievalguard"
    for container in CONTAINERS:
        said = {each["name"]: each["value"] for each in container["env"]}
        secrets = {name: value for name, value in said.items() if name.endswith("_FILE")}
        assert len(secrets) == 4
        assert all(value.startswith("/run/retrievalguard/") for value in secrets.values())
        assert {"/run/retrievalguard", "/data", "/tmp"} == {
            mount["mountPath"] for mount in container["volumeMounts"]
        }
        assert not any(name in said for name in ("RETRIEVALGUARD_SECRET", "DATABASE_URL", "REDIS_URL"))


def test_ports_are_those_of_serve() -> None:
    serve = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
    port = serve["http_options"]["port"]
    for container in CONTAINERS[1:]:
        assert container["ports"] == [{"name": "serve", "containerPort": port}]
        assert container["readinessProbe"]["httpGet"]["port"] == port
    (rule,) = CLUSTER["networkPolicy"]["worker"]["ingressRules"]
    assert [each["port"] for each in rule["ports"]] == [port]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray, at its import
def test_ray_starts_what_is_ours_at_the_version_that_is_locked() -> None:
    from ray.serve.schema import ServeDeploySchema  # takes seconds to import

    serve = ServeDeploySchema.model_validate(yaml.safe_load(SERVICE["spec"]["serveConfigV2"]))
    (application,) = serve.applications
    module, _, name = application.import_path.partition(":")
    builder = getattr(importlib.import_module(module), name)
    wanted = typing.get_type_hints(builder)["wanted"].model_validate(application.args)
    plan = ClusterPlan(replicas(wanted.api, "api"), replicas(wanted.samplers, "samplers"), wanted.gpu)
    assert plan.api.least >= 2  # one may fail
    pinned = re.search(r"^ray==(\S+)", (ROOT / "requirements" / "cluster.txt").read_text(), re.M)
    assert pinned is not None
    assert CLUSTER["rayVersion"] == pinned[1]


def test_what_ray_finds_in_the_environment_is_what_the_command_sets() -> None:
    for container in CONTAINERS:
        said = {each["name"]: each["value"] for each in container["env"]}
        assert EVERYWHERE.items() <= said.items()
    for name in ("ray-head", "ray-worker"):
        assert EVERYWHERE.items() <= COMPOSE["services"][name]["environment"].items()
    told = (ROOT / "docs" / "operations.md").read_text()
    for name, value in EVERYWHERE.items():
        assert f"`{name}={value}`" in told
    assert stage.EVERYWHERE == EVERYWHERE  # as on several machines, so that kills are measured with it

"""What the manifest may say: fields of KubeRay 1.7 (ray.io/v1) and of a pod of Kubernetes, by name and type.

Our own table, of those that the manifest uses and a few beside them. So it knows less than KubeRay: a field
that is missing here is no error there, and what one field asks of another is not here. A new field of the
manifest is looked up and written down here first.
"""

from typing import Any

from tests.docker.stack import ROOT

MANIFEST = ROOT / "docker" / "kuberay" / "rayservice.yaml"

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
QUANTITY: Schema = {"anyOf": [COUNT, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|[KMGT]i?)?$"}]}


def one_of(*words: str) -> Schema:
    return {"enum": list(words)}


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def named(value: Schema) -> Schema:
    """Whatever names, each with such a value."""
    return {"type": "object", "additionalProperties": value}


def fields(*required: str, **known: Schema) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": known,
        "additionalProperties": False,
    }


RESOURCES = fields(requests=named(QUANTITY), limits=named(QUANTITY))

PROBE = fields(
    "httpGet",
    httpGet=fields("port", path=TEXT, port=PORT, scheme=one_of("HTTP", "HTTPS")),
    initialDelaySeconds=COUNT,
    periodSeconds=COUNT,
    timeoutSeconds=COUNT,
    successThreshold=COUNT,
    failureThreshold=COUNT,
)

CONTAINER = fields(
    "name",
    "image",
    name=TEXT,
    image=TEXT,
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    command=many(TEXT),
    args=many(TEXT),
    env=many(fields("name", "value", name=TEXT, value=TEXT)),
    ports=many(fields("containerPort", name=TEXT, containerPort=PORT, protocol=one_of("TCP", "UDP", "SCTP"))),
    volumeMounts=many(fields("name", "mountPath", name=TEXT, mountPath=TEXT, readOnly=FLAG)),
    resources=RESOURCES,
    livenessProbe=PROBE,
    readinessProbe=PROBE,
    securityContext=fields(
        readOnlyRootFilesystem=FLAG,
        allowPrivilegeEscalation=FLAG,
        capabilities=fields(add=many(TEXT), drop=many(TEXT)),
    ),
)

POD = fields(
    "containers",
    automountServiceAccountToken=FLAG,
    securityContext=fields(
        runAsNonRoot=FLAG,
        runAsUser=COUNT,
        runAsGroup=COUNT,
        fsGroup=COUNT,
        seccompProfile=fields("type", type=one_of("RuntimeDefault", "Unconfined", "Localhost")),
    ),
    nodeSelector=named(TEXT),
    tolerations=many(
        fields(
            key=TEXT,
            operator=one_of("Exists", "Equal"),
            value=TEXT,
            effect=one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
        )
    ),
    terminationGracePeriodSeconds=COUNT,
    volumes=many(
        fields(
            "name",
            name=TEXT,
            secret=fields(secretName=TEXT, defaultMode=COUNT, optional=FLAG),
            emptyDir=fields(medium=one_of("", "Memory"), sizeLimit=QUANTITY),
        )
    ),
    containers=many(CONTAINER),
)

TEMPLATE = fields("spec", metadata=named({}), spec=POD)
START = named(TEXT)  # options of `ray start`, all of them texts

SELECTOR = fields(matchLabels=named(TEXT))
PEER = fields(namespaceSelector=SELECTOR, podSelector=SELECTOR)
TRAFFIC = fields(port=PORT, protocol=one_of("TCP", "UDP", "SCTP"))
INGRESS = fields(ingressRules=many(fields(ports=many(TRAFFIC), **{"from": many(PEER)})))

CLUSTER = fields(
    "headGroupSpec",
    rayVersion=TEXT,
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=fields(version=one_of("v1", "v2"), idleTimeoutSeconds=COUNT, resources=RESOURCES),
    authOptions=fields(mode=one_of("disabled", "token")),
    networkPolicy=fields(
        mode=one_of("DenyAll", "DenyAllIngress", "DenyAllEgress"), head=INGRESS, worker=INGRESS
    ),
    headGroupSpec=fields("template", rayStartParams=START, template=TEMPLATE),
    workerGroupSpecs=many(
        fields(
            "groupName",
            "minReplicas",
            "maxReplicas",
            "template",
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=START,
            template=TEMPLATE,
        )
    ),
)

TABLE = fields(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion=one_of("ray.io/v1"),
    kind=one_of("RayService"),
    metadata=named({}),
    spec=fields(
        "rayClusterConfig",
        excludeHeadPodFromServeSvc=FLAG,
        serveConfigV2=TEXT,
        rayClusterConfig=CLUSTER,
    ),
)

"""What KubeRay starts (docker/kuberay): the cluster as one application that Ray's own configuration names.

KubeRay does itself what `rollout` does otherwise: for another image or configuration it starts another
cluster of Ray, and sends queries there when that is ready. So samplers and API replicas are one
application here.
"""

from pydantic import BaseModel, ConfigDict
from ray.serve import Application

from retrievalguard.cluster import rollout
from retrievalguard.cluster.plan import ClusterPlan, replicas, shared
from service.settings import Settings


class Wanted(BaseModel):
    """The options of `retrievalguard cluster`, as `args` of the application."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api: str = "1"
    samplers: str = "1:4"
    gpu: bool = False


def application(wanted: Wanted) -> Application:
    """API replicas and their samplers; settings come from the environment. Raises `CheckError`."""
    plan = ClusterPlan(replicas(wanted.api, "api"), replicas(wanted.samplers, "samplers"), wanted.gpu)
    settings = shared(Settings.from_environment())
    version = rollout.version(settings, plan)
    return rollout.api(settings, plan, version, rollout.samplers(settings, plan, version))

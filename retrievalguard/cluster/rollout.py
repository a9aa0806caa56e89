"""The applications of Serve: the samplers of one version, the API, and how one version follows another.

Samplers of one model under one secret are an application of their own, named after these. So an API replica
only ever has the samplers of its own version, and an update goes like this: the new samplers start beside the
old; then API replicas are replaced, each as soon as its successor is ready; and when the last old one has
answered what it was asked, the old samplers end.
"""

import logging
import time
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import LoggingConfig

from retrievalguard.cluster.deployments import ApiReplica, SamplerReplica, first_version
from retrievalguard.cluster.plan import ClusterPlan, Replicas
from retrievalguard.cluster.version import ClusterVersion
from retrievalguard.preflight import CheckError
from service.settings import Settings

log = logging.getLogger("retrievalguard")

API = "retrievalguard"
SAMPLERS = "samplers-"
# Calls that a sampler has at a time (those for the gallery give way to others, and must not keep them out),
# and above which another is wanted; for the API, queries in flight.
CALLS, BUSY_CALLS = 6, 2.0
BUSY_QUERIES = 8.0
# Over what time the load is averaged, and how long it has to be low before a replica ends, in seconds.
LOOK_BACK_SECONDS, DOWNSCALE_SECONDS = 5.0, 60.0
# How often a replica is asked whether it lives, in seconds.
HEALTH_SECONDS = 2.0
QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


def roll_out(settings: Settings, plan: ClusterPlan) -> None:
    """Have the cluster be as `plan` and `settings` say, at the end; what was before goes on until then.

    Raises `CheckError` if the new replicas do not start; those of before stay.
    """
    try:
        _roll_out(settings, plan)
    except (RuntimeError, RayError) as error:
        raise CheckError(f"the replicas do not start, what was there before goes on: {error}") from error


def _roll_out(settings: Settings, plan: ClusterPlan) -> None:
    next_one = version(settings, plan)
    name = SAMPLERS + next_one.name
    log.info("samplers of %s start", next_one.statement.digest)
    serve.run(samplers(settings, plan, next_one), name=name, route_prefix=None)
    serve.run(api(settings, plan, next_one, name), name=API, route_prefix="/")
    _end_old(name, settings.shutdown_grace_seconds)


def version(settings: Settings, plan: ClusterPlan) -> ClusterVersion:
    """What all replicas are built of, worked out where a sampler would run."""
    working_out = ray.remote(max_calls=1)(first_version)  # max_calls: its process gives way for good
    found: ClusterVersion = ray.get(working_out.options(**_machine(plan)).remote(settings))
    return found


def samplers(settings: Settings, plan: ClusterPlan, version: ClusterVersion) -> Application:
    """Those that draw."""
    drawing = serve.deployment(
        name="Sampler",
        ray_actor_options=_machine(plan),
        max_ongoing_requests=CALLS,
        logging_config=QUIET,
        health_check_period_s=HEALTH_SECONDS,
        **_scaled(plan.samplers, BUSY_CALLS),
    )(SamplerReplica)
    return drawing.bind(settings, version)


def api(
    settings: Settings, plan: ClusterPlan, version: ClusterVersion, samplers: str | Application
) -> Application:
    """Those that answer, and have `samplers` draw: an application by its name, or a part of this one."""
    answering = serve.deployment(
        name="Api",
        ray_actor_options={"num_cpus": 1, **_place(settings)},
        max_ongoing_requests=settings.max_connections,
        graceful_shutdown_timeout_s=settings.shutdown_grace_seconds,
        max_surge_percent=100,
        logging_config=QUIET,
        health_check_period_s=HEALTH_SECONDS,
        **_scaled(plan.api, BUSY_QUERIES),
    )(ApiReplica)
    return answering.bind(settings, version, samplers, plan.samplers.most)


def _machine(plan: ClusterPlan) -> dict[str, Any]:
    return {"num_gpus": 1, "num_cpus": 0} if plan.on_gpu else {"num_cpus": 1}


def _scaled(wanted: Replicas, busy: float) -> dict[str, Any]:
    if wanted.least == wanted.most:
        return {"num_replicas": wanted.least}
    scaling = AutoscalingConfig(
        min_replicas=wanted.least,
        max_replicas=wanted.most,
        target_ongoing_requests=busy,
        look_back_period_s=LOOK_BACK_SECONDS,
        upscale_delay_s=LOOK_BACK_SECONDS,
        downscale_delay_s=DOWNSCALE_SECONDS,
    )
    return {"autoscaling_config": scaling}


def _place(settings: Settings) -> dict[str, Any]:
    """Without a shared gallery API replicas stay on this machine: it has the data folder."""
    if settings.database_url is not None:
        return {}
    here: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return {"resources": {f"node:{here}": 0.001}}


def _end_old(current: str, grace: float) -> None:
    """End samplers of other versions, once no API replica of theirs is left."""
    deadline = time.monotonic() + 2 * grace
    while time.monotonic() < deadline:
        states = serve.status().applications[API].deployments["Api"].replica_states
        if set(states) <= {"RUNNING"}:
            break
        time.sleep(0.2)
    for name in serve.status().applications:
        if name.startswith(SAMPLERS) and name != current:
            serve.delete(name)

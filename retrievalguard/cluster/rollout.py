"""The applications of Serve: the samplers of one version, the API, and how one version follows another.

Samplers of one model under one secret are an application of their own, named after these. So an API replica
only ever has the samplers of its own version, and an update goes like this: the new samplers start beside the
old; then API replicas are replaced, each as soon as its successor is ready; and when the last old one has
answered what it was asked, the old samplers end.
"""

import hashlib
import logging
import logging.config
import sys
import time
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.config import AutoscalingConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from models import Calibration, EmbeddingModel, calibrated
from retrievalguard.cluster.plan import ClusterPlan, Replicas
from retrievalguard.cluster.replica import UnfitReplica, application, model_here
from retrievalguard.cluster.sampler import Drawing, UnfitSampler
from retrievalguard.cluster.wire import Call, Reply, Seals, Statement
from retrievalguard.preflight import CheckError
from service import logs
from service.process import own_process
from service.secret import noise_secret
from service.settings import Settings

log = logging.getLogger("retrievalguard")

API = "retrievalguard"
SAMPLERS = "samplers-"
# Calls that a sampler has at a time, and above which another is wanted; for the API, queries in flight.
CALLS, BUSY_CALLS = 3, 2.0
BUSY_QUERIES = 8.0
# Over what time the load is averaged, and how long it has to be low before a replica ends, in seconds.
LOOK_BACK_SECONDS, DOWNSCALE_SECONDS = 5.0, 60.0
# How often a replica is asked whether it lives, in seconds.
HEALTH_SECONDS = 2.0
QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)
# How samplers run the network, as JSON, what they state, and the model that replicas are to have.
Found = tuple[str, Statement, str]


class SamplerReplica:
    """A sampler replica."""

    def __init__(self, settings: Settings, calibration: str, statement: Statement) -> None:
        _own_replica(settings)
        model = EmbeddingModel.load(settings.model)
        secret = noise_secret(settings.secret, settings.data_dir)
        sigma = settings.sigma or model.manifest.sigma
        try:
            self._drawing = Drawing(
                model, sigma, secret, Calibration.model_validate_json(calibration), statement
            )
        except UnfitSampler as error:
            log.error("a sampler is refused: %s", error)
            raise

    async def draw(self, call: Call) -> Reply:
        """Samples of chunks, sealed."""
        return await self._drawing.answer(call)


@serve.ingress()
class ApiReplica:
    """An API replica; `samplers`: the application of those that draw for it, at most `most`."""

    def __init__(
        self,
        settings: Settings,
        calibration: str,
        statement: Statement,
        stated_model: str,
        samplers: str | DeploymentHandle[Any],
        most: int,
    ) -> None:
        _own_replica(settings)
        found = Calibration.model_validate_json(calibration)
        try:
            self._app = application(settings, found, statement, stated_model, samplers, most)
        except UnfitReplica as error:
            log.error("an API replica is refused: %s", error)
            raise

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._app


def roll_out(settings: Settings, plan: ClusterPlan) -> None:
    """Have the cluster be as `plan` and `settings` say, at the end; what was before goes on until then.

    Raises `CheckError` if the new replicas do not start; those of before stay.
    """
    try:
        _roll_out(settings, plan)
    except (RuntimeError, RayError) as error:
        raise CheckError(f"the replicas do not start, what was there before goes on: {error}") from error


def _roll_out(settings: Settings, plan: ClusterPlan) -> None:
    found = calibration(settings, plan)
    _, statement, _ = found
    name = SAMPLERS + hashlib.sha256(statement.digest.encode() + statement.proof).hexdigest()[:12]
    log.info("samplers of %s start", statement.digest)
    serve.run(samplers(settings, plan, found), name=name, route_prefix=None)
    serve.run(api(settings, plan, found, name), name=API, route_prefix="/")
    _end_old(name, settings.shutdown_grace_seconds)


def calibration(settings: Settings, plan: ClusterPlan) -> Found:
    """What all replicas are built of, worked out where a sampler would run."""
    found: Found = ray.get(ray.remote(_calibrated).options(**_machine(plan)).remote(settings))
    return found


def samplers(settings: Settings, plan: ClusterPlan, found: Found) -> Application:
    """Those that draw."""
    calibration, statement, _ = found
    drawing = serve.deployment(
        name="Sampler",
        ray_actor_options=_machine(plan),
        max_ongoing_requests=CALLS,
        logging_config=QUIET,
        health_check_period_s=HEALTH_SECONDS,
        **_scaled(plan.samplers, BUSY_CALLS),
    )(SamplerReplica)
    return drawing.bind(settings, calibration, statement)


def api(settings: Settings, plan: ClusterPlan, found: Found, samplers: str | Application) -> Application:
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
    return answering.bind(settings, *found, samplers, plan.samplers.most)


def _machine(plan: ClusterPlan) -> dict[str, Any]:
    return {"num_gpus": 1, "num_cpus": 0} if plan.on_gpu else {"num_cpus": 1}


def _calibrated(settings: Settings) -> Found:
    _own_replica(settings)
    model = EmbeddingModel.load(settings.model)
    sigma = settings.sigma or model.manifest.sigma
    found = calibrated(model, sigma, settings.variant, settings.data_dir / "calibration.json")
    secret = noise_secret(settings.secret, settings.data_dir)
    return found.model_dump_json(), Seals(secret, found.digest, sigma).statement, model_here(model)


def _own_replica(settings: Settings) -> None:
    logging.config.dictConfig(logs.configuration(logs.format_for(settings.log_format, sys.stderr)))
    own_process()


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

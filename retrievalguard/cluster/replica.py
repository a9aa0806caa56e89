"""An API replica: the very same application as `retrievalguard serve`, whose engine has the samplers draw."""

import logging
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from index import ShardMissing, StoreUnreachable
from models import Calibration
from models.noise import chunk_size
from models.sampling.samplers import SamplersElsewhere
from retrievalguard.cluster.members import Member
from retrievalguard.cluster.remote import NobodyAnswers, RemoteSampler, SamplerFailed
from retrievalguard.cluster.shards import ray_shards
from retrievalguard.cluster.wire import Call, Reply
from service.http.app import create_app
from service.metrics import Metrics
from service.retriever import Retriever
from service.settings import Settings

log = logging.getLogger("retrievalguard")

# While a replica starts, the gallery's server or a shard may be away for so long: if it failed, the next one
# would load all code again. Not for longer: where the URL is wrong, the command is to say so.
AWAY_SECONDS, TRIED_SECONDS = 20.0, 1.0
# Calls under way for each sampler: while it draws for one, the next is on its way.
CALLS_A_SAMPLER = 2
# A call holds so many batches that it takes about so many seconds: then what Ray adds to it is little.
CALL_SECONDS, MOST_BATCHES = 0.12, 16


def batches_a_call(calibration: Calibration, chunk: int) -> int:
    """How many batches of `calibration`, of chunks of `chunk` samples, a call may hold."""
    rate = calibration.samples_per_second
    if rate is None:
        return 1
    return max(1, min(MOST_BATCHES, round(CALL_SECONDS * rate / (calibration.batch * chunk))))


class Ask:
    """Sends calls to samplers, of another application or of this one, to whichever has least to do.

    A call waits for `seconds` at most, also for a sampler to appear.
    """

    def __init__(self, samplers: str | DeploymentHandle[Any], seconds: float) -> None:
        self._samplers = serve.get_app_handle(samplers) if isinstance(samplers, str) else samplers
        self._seconds = seconds

    def __call__(self, call: Call) -> Reply:
        """The reply. Raises `NobodyAnswers`, `SamplerFailed`, or `ConnectionError`: the sampler is lost."""
        response = self._samplers.draw.remote(call)
        try:
            reply: Reply = response.result(timeout_s=self._seconds)
        except TimeoutError as error:
            response.cancel()  # type: ignore[no-untyped-call]
            raise NobodyAnswers(f"no sampler has answered in {self._seconds:g} s") from error
        except RayTaskError as error:
            raise SamplerFailed(_first_line(error)) from error
        except (RayError, RayServeException) as error:
            raise ConnectionError(_first_line(error)) from error
        return reply


def application(
    settings: Settings, member: Member, samplers: str | DeploymentHandle[Any], most_samplers: int
) -> FastAPI:
    """The application of a replica, with a retriever of its own; `samplers`: the application of those."""
    metrics, calibration = Metrics(), member.calibration
    chunk = chunk_size(member.model.input_shape)
    remote = RemoteSampler(
        Ask(samplers, settings.sampler_timeout_seconds),
        member.seals,
        chunk=chunk,
        dimension=member.model.dimension,
        refused=lambda why: metrics.samplers_refused.labels(why).inc(),
        lost=metrics.samplers_lost.inc,
    )
    elsewhere = SamplersElsewhere(
        calibration,
        lambda number: remote,
        workers=CALLS_A_SAMPLER * most_samplers,
        batches=batches_a_call(calibration, chunk),
    )
    shards = ray_shards(settings.gallery_shards) if settings.gallery_shards else ()
    return create_app(
        patient(
            lambda: Retriever.open(
                settings, metrics=metrics, model=member.model, elsewhere=elsewhere, shards=shards
            )
        )
    )


def patient(
    opened: Callable[[], Retriever], away: float = AWAY_SECONDS, tried: float = TRIED_SECONDS
) -> Retriever:
    """What is `opened`; tried again while the gallery's server or a shard is away.

    Raises `StoreUnreachable` or `ShardMissing` if it still is `away` seconds after the first time.
    """
    until: float | None = None
    while True:
        try:
            return opened()
        except (StoreUnreachable, ShardMissing) as error:
            until = until or time.monotonic() + away  # not of a long reading that went well
            if time.monotonic() + tried > until:
                raise
            log.warning("a replica that starts waits for the gallery: %s", error)
            time.sleep(tried)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"

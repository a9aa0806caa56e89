"""An API replica: the very same application as `retrievalguard serve`, whose engine has the samplers draw."""

import hashlib
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from models import Calibration, EmbeddingModel
from models.code import embedding_code
from models.noise import chunk_size
from models.sampling.samplers import SamplersElsewhere
from retrievalguard.cluster.remote import NobodyAnswers, RemoteSampler, SamplerFailed
from retrievalguard.cluster.wire import Call, Reply, Seals, Statement
from service.http.app import create_app
from service.metrics import Metrics
from service.retriever import Retriever
from service.secret import noise_secret
from service.settings import Settings

# Calls under way for each sampler: while it draws for one, the next is on its way.
CALLS_A_SAMPLER = 2
# A call holds so many batches that it takes about so many seconds: then what Ray adds to it is little.
CALL_SECONDS, MOST_BATCHES = 0.04, 16


class UnfitReplica(Exception):
    """This machine has another model, program or secret than its cluster; the message says which."""


def model_here(model: EmbeddingModel) -> str:
    """What names `model` on every machine: its manifest, with the digest of its weights, and our code."""
    named = f"{model.manifest.model_dump_json()} code {embedding_code()}"
    return "sha256:" + hashlib.sha256(named.encode()).hexdigest()


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
    settings: Settings,
    calibration: Calibration,
    statement: Statement,
    stated_model: str,
    samplers: str | DeploymentHandle[Any],
    most_samplers: int,
) -> FastAPI:
    """The application of a replica, with a retriever of its own; `samplers`: the application of those.

    Raises `UnfitReplica` unless this is the `stated_model` (`model_here`), under the same secret and σ: else
    samples of one network would be certified, decoded for and searched with what is known of another.
    """
    metrics = Metrics()
    model = EmbeddingModel.load(settings.model)
    if model_here(model) != stated_model:
        raise UnfitReplica(
            f"the model folder {settings.model} or the program of this machine is not that of the cluster:"
            " give all machines the same. This replica answers nothing"
        )
    secret = noise_secret(settings.secret, settings.data_dir)
    seals = Seals(secret, calibration.digest, settings.sigma or model.manifest.sigma)
    refusal = seals.refusal(statement)
    if refusal is not None:
        raise UnfitReplica(
            f"the {refusal} of this replica is not that of the cluster: give all machines the same"
            " RETRIEVALGUARD_SECRET or RETRIEVALGUARD_SECRET_FILE. This replica answers nothing"
        )
    chunk = chunk_size(model.input_shape)
    remote = RemoteSampler(
        Ask(samplers, settings.sampler_timeout_seconds),
        seals,
        chunk=chunk,
        dimension=model.dimension,
        refused=lambda why: metrics.samplers_refused.labels(why).inc(),
        lost=metrics.samplers_lost.inc,
    )
    elsewhere = SamplersElsewhere(
        calibration,
        lambda number: remote,
        workers=CALLS_A_SAMPLER * most_samplers,
        batches=batches_a_call(calibration, chunk),
    )
    return create_app(Retriever.open(settings, metrics=metrics, elsewhere=elsewhere))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"

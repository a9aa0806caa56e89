"""What all queries share, put together: samples and their cache, and answers that are kept."""

from certify import EmbeddingSpace, prepare
from models import EmbeddingModel, SmoothedModel
from service.cache.answers import AnswerCache
from service.cache.leases import Leases
from service.cache.redis_store import RedisStore
from service.cache.samples import SampleCache
from service.cache.sealed import CacheStore, Event
from service.metrics import Metrics
from service.retrieval.answering import Answering
from service.retrieval.repeats import Repeats
from service.retrieval.samples import SamplesInUse
from service.settings import Settings
from service.traffic.backlog import Backlog
from service.traffic.turns import Turns

# A sample may be off by so much (l2) from h at its noisy input, h being the function of the digest: one set
# of kernels, one processor. There a row may come out otherwise only where it stands elsewhere in its batch,
# and calibration refuses every pass and batch in which it saw one do so, by a bit. This covers what it did
# not see: float32 sums in another order were 3e-6 apart at most in the demo network.
SAMPLE_SLACK = 1e-5


def embedding_space(model: EmbeddingModel, label_weight: float) -> EmbeddingSpace:
    """Where the embeddings of `model` lie, as they are searched with this label weight."""
    return EmbeddingSpace.normalized(
        model.dimension, nonnegative=model.nonnegative, slack=SAMPLE_SLACK, padded=label_weight > 0
    )


def assembled(
    settings: Settings,
    smoothed: SmoothedModel,
    store: CacheStore,
    secret: bytes,
    backlog: Backlog,
    metrics: Metrics,
    threads: int,
) -> tuple[Answering, Repeats]:
    """What works out answers, on so many `threads`, and what does so once for each question."""

    def count(event: Event) -> None:
        metrics.cache_failures.labels(event).inc()

    cache = SampleCache(
        store,
        secret,
        model_digest=smoothed.digest,
        sigma=smoothed.sigma,
        dimension=smoothed.model.dimension,
        chunk=smoothed.chunk,
        count=count,
    )
    leases = Leases(store, secret) if isinstance(store, RedisStore) else None
    prepare()
    answering = Answering(
        smoothed=smoothed,
        space=embedding_space(smoothed.model, settings.label_weight),
        samples=SamplesInUse(cache, smoothed, metrics, leases),
        turns=Turns(threads),
        backlog=backlog,
        metrics=metrics,
        abstains=settings.shard_missing == "abstain",
    )
    return answering, Repeats(answering, AnswerCache(store, secret, count=count))

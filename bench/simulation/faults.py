"""What fails in a run, when, and for how long."""

from functools import partial

from bench.simulation.cluster import Cluster, Steps
from bench.simulation.sizing import Fault
from bench.simulation.times import READING_SECONDS

AT, FOR = 8.0, 8.0
# Of one machine.
GPUS = 8


def gpus_are_lost(cluster: Cluster) -> Steps[None]:
    """A machine with GPUs is away for a while."""
    yield cluster.env.timeout(AT)
    cluster.gpus.lose(GPUS)
    yield cluster.env.timeout(FOR)
    cluster.gpus.gain(GPUS)


def copies_are_lost(copies: int, cluster: Cluster) -> Steps[None]:
    """So many copies of one shard: they start at once elsewhere, and read their part of the gallery."""
    yield cluster.env.timeout(AT)
    for copy in range(copies):
        cluster.shards.lose(0, copy)
    yield cluster.env.timeout(READING_SECONDS * cluster.plan.items / cluster.plan.shards)
    for copy in range(copies):
        cluster.shards.gain(0, copy, cluster.env.now)


def redis_is_lost(cluster: Cluster) -> Steps[None]:
    """Redis is away for a while, and empty when it is back."""
    yield cluster.env.timeout(AT)
    cluster.redis_is_there = False
    yield cluster.env.timeout(FOR)
    cluster.forget()


FAULTS: dict[str, Fault] = {
    f"{GPUS} GPUs": gpus_are_lost,
    "one copy of a shard": partial(copies_are_lost, 1),
    "both copies of a shard": partial(copies_are_lost, 2),
    "Redis": redis_is_lost,
}

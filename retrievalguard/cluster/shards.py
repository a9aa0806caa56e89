"""The shards of a gallery as Ray actors, two copies of each, on several machines where there are such."""

import os
from functools import partial
from typing import Any, cast

import ray

from index import Copy, Shard
from index.shards.messages import Answer, Keep, Request

# Copies of each shard; seconds for all of them to be there.
COPIES, STARTED_SECONDS = 2, 120.0
# Where all replicas of a service find them, and how many questions each answers at a time.
NAMESPACE, AT_ONCE = "retrievalguard", 4
# Nothing is told to Ray's makers; and shards answer queries, so that they do not come after all else.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
# On a busy machine Ray's own processes take longer to start than the time that it gives them.
STARTS = 4


class ShardActor:
    """One copy of a shard, in a process of its own."""

    def __init__(self) -> None:
        self._shard = Shard()

    def answer(self, request: Request) -> Answer:
        """As `Shard.answer`."""
        return self._shard.answer(request)


def ray_shards(count: int) -> list[list[Copy]]:
    """The copies of `count` shards, by number: those that are there already, and new ones for all others.

    Ray is joined where RAY_ADDRESS says, or else started on this machine. An actor that dies is started anew,
    empty: whoever coordinates gives it its segments again. Raises `ray.exceptions.GetTimeoutError` if they do
    not start.
    """
    if not ray.is_initialized():
        _start()
    actor_class: Any = ray.remote(ShardActor)
    actors = [
        [
            actor_class.options(
                name=f"shard {number} copy {copy}", namespace=NAMESPACE, get_if_exists=True,
                lifetime="detached", max_restarts=-1, max_concurrency=AT_ONCE, num_cpus=0,
                scheduling_strategy="SPREAD",
            ).remote()
            for copy in range(COPIES)
        ]
        for number in range(count)
    ]  # fmt: skip
    ready = [actor.answer.remote(Keep(owner="", marks=())) for pair in actors for actor in pair]
    ray.get(ready, timeout=STARTED_SECONDS)
    return [[partial(_ask, actor) for actor in pair] for pair in actors]


def _start() -> None:
    # Without an address Ray would join any that it finds on this machine.
    address = os.environ.get("RAY_ADDRESS", "local")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for left in reversed(range(STARTS)):
        try:
            ray.init(
                address, namespace=NAMESPACE, include_dashboard=False if address == "local" else None,
                log_to_driver=False, configure_logging=False,
            )  # fmt: skip
            return
        except Exception:  # it has no class of its own
            ray.shutdown()
            if not left:
                raise


def _ask(actor: Any, request: Request, seconds: float) -> Answer:
    return cast(Answer, ray.get(actor.answer.remote(request), timeout=seconds))

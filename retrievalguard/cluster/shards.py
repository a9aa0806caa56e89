"""The shards of a gallery as Ray actors, two copies of each, on several machines where there are such."""

import hashlib
import os
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import ray

import index
from index import Copy, Shard
from index.shards.messages import Answer, Keep, Request
from retrievalguard.cluster.surroundings import STARTS

# Copies of each shard; seconds for all of them to be there.
COPIES, STARTED_SECONDS = 2, 120.0
# Where all replicas of a service find them, and how many questions each answers at a time.
NAMESPACE, AT_ONCE = "retrievalguard", 4


class ShardActor:
    """One copy of a shard, in a process of its own."""

    def __init__(self) -> None:
        self._shard = Shard()

    def answer(self, request: Request) -> Answer:
        """As `Shard.answer`."""
        return self._shard.answer(request)


@cache
def _code() -> str:
    content = hashlib.sha256()
    for path in sorted(Path(index.__path__[0]).rglob("*.py")):
        content.update(path.read_bytes())
    return content.hexdigest()[:12]


def name_of(number: int, copy: int) -> str:
    """The actor of a copy: one of other code, from before an update, is not found by it."""
    return f"shard {number} copy {copy} of {_code()}"


def ray_shards(count: int) -> list[list[Copy]]:
    """The copies of `count` shards, by number: those that are there already, and new ones for all others.

    Ray is joined where RAY_ADDRESS says, or else started on this machine (`surroundings.for_shards`), unless
    that has happened. An actor that dies is started anew, empty: whoever coordinates gives it its segments
    again. Raises `ray.exceptions.GetTimeoutError` if they do not start.
    """
    if not ray.is_initialized():
        _start()
    actor_class: Any = ray.remote(ShardActor)
    actors = [
        [
            actor_class.options(
                name=name_of(number, copy), namespace=NAMESPACE, get_if_exists=True,
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

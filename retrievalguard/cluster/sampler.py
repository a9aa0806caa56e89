"""What a sampler replica does: network and noise on one core or one GPU, for whoever has the same secret."""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Self

import numpy as np

from models import KeyedNoise, input_digest
from models.sampling.here import WORKERS_A_GPU, sampler_here
from models.sampling.queue import Stream
from models.sampling.samplers import Sampler, on_own_core
from retrievalguard.cluster.members import Member, Unfit
from retrievalguard.cluster.priority import give_way
from retrievalguard.cluster.wire import Call, Reply


class Drawing:
    """Samples of a `member`'s model on this machine; raises `Unfit` unless it computes what the cluster does.

    On a GPU two threads take turns: while one computes, the other gets the next batch ready. On a core there
    is one for queries, and one that gives way to it, with a pass of its own, for items of the gallery.
    """

    def __init__(self, member: Member) -> None:
        self._seals, self._model, self._calibration = member.seals, member.model, member.calibration
        if not self._calibration.fits(self._model):
            raise Unfit(
                f"this machine does not compute {self._calibration.digest}: its model folder, processor, GPU"
                " or libraries are others than those of the cluster. This replica does nothing"
            )
        self._noise = KeyedNoise(member.secret, self._calibration.digest, member.sigma)
        # Built now, each on its thread, and what goes wrong is told now.
        self._turns = itertools.cycle(
            [_Turn(self._build).ready() for _ in range(WORKERS_A_GPU if self._calibration.on_gpu else 1)]
        )
        self._for_gallery = None if self._calibration.on_gpu else _Turn(self._build, give_way)

    async def answer(self, call: Call) -> Reply:
        """What was asked for; nothing but a statement if it was asked of another model or secret."""
        if self._seals.refusal(call.statement) is not None:
            return Reply(self._seals.statement)
        turn = next(self._turns)
        if self._for_gallery is not None and all(each.purpose == "gallery" for each in call.inputs):
            turn = self._for_gallery
        return await asyncio.get_running_loop().run_in_executor(turn.pool, self._draw, turn, call)

    def _build(self) -> Sampler:
        def build() -> Sampler:
            return sampler_here(self._model, self._calibration, self._noise)

        return build() if self._calibration.on_gpu else on_own_core(0, 0, build)

    def _draw(self, turn: "_Turn", call: Call) -> Reply:
        # Not by the digests that were sent: the seal says of which inputs these samples are.
        streams = [Stream(input_digest(each.pixels), each.pixels, each.purpose) for each in call.inputs]
        chunks = [(streams[place], number) for place, number in call.chunks]
        batch = self._calibration.batch
        drawn = [
            samples.copy()  # a sampler's arrays hold until its next call
            for start in range(0, len(chunks), batch)
            for samples in turn.sampler(chunks[start : start + batch])
        ]
        asked = [(stream.purpose, stream.digest, number) for stream, number in chunks]
        return self._seals.reply(asked, np.stack(drawn))


class _Turn:
    """A thread, and its sampler, which is built on it: `before` anything else it does what that says."""

    def __init__(self, build: Callable[[], Sampler], before: Callable[[], None] | None = None) -> None:
        self.pool = ThreadPoolExecutor(1, "sampler", before)
        self._build = build

    def ready(self) -> Self:
        """Itself, once its sampler is built; raises what that raises."""
        self.pool.submit(lambda: self.sampler).result()
        return self

    @cached_property
    def sampler(self) -> Sampler:
        """That of this thread, for nobody else."""
        return self._build()

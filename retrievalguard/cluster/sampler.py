"""What a sampler replica does: network and noise on one core or one GPU, for whoever has the same secret."""

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from models import Calibration, EmbeddingModel, KeyedNoise, input_digest
from models.sampling.here import WORKERS_A_GPU, sampler_here
from models.sampling.queue import Stream
from models.sampling.samplers import Sampler, on_own_core
from retrievalguard.cluster.wire import Call, Reply, Seals, Statement


class UnfitSampler(Exception):
    """This machine cannot draw the samples of this cluster; the message says what differs."""


class Drawing:
    """Samples of `model` on this machine, in batches of `calibration`, whose digest it must have.

    On a GPU two threads take turns: while one computes, the other gets the next batch ready.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        sigma: float,
        secret: bytes,
        calibration: Calibration,
        expected: Statement,
    ) -> None:
        if not calibration.fits(model):
            raise UnfitSampler(
                f"this machine does not compute {calibration.digest}: its model folder, processor, GPU or"
                " libraries are others than those of the cluster. It draws nothing"
            )
        self._seals = Seals(secret, calibration.digest, sigma)
        refusal = self._seals.refusal(expected)
        if refusal is not None:
            raise UnfitSampler(
                f"the {refusal} of this sampler is not that of the cluster: give all machines the same"
                " RETRIEVALGUARD_SECRET or RETRIEVALGUARD_SECRET_FILE. It draws nothing"
            )
        self._model, self._calibration = model, calibration
        self._noise = KeyedNoise(secret, calibration.digest, sigma)
        pools = [
            ThreadPoolExecutor(1, "sampler") for _ in range(WORKERS_A_GPU if calibration.on_gpu else 1)
        ]  # built now, each on its thread, and what goes wrong is told now
        self._turns = itertools.cycle([(pool, pool.submit(self._build).result()) for pool in pools])

    async def answer(self, call: Call) -> Reply:
        """What was asked for; nothing but a statement if it was asked of another model or secret."""
        if self._seals.refusal(call.statement) is not None:
            return Reply(self._seals.statement)
        pool, sampler = next(self._turns)
        return await asyncio.get_running_loop().run_in_executor(pool, self._draw, sampler, call)

    def _build(self) -> Sampler:
        def build() -> Sampler:
            return sampler_here(self._model, self._calibration, self._noise)

        return build() if self._calibration.on_gpu else on_own_core(0, 0, build)

    def _draw(self, sampler: Sampler, call: Call) -> Reply:
        # Not by the digests that were sent: the seal says of which inputs these samples are.
        streams = [Stream(input_digest(each.pixels), each.pixels, each.purpose) for each in call.inputs]
        chunks = [(streams[place], number) for place, number in call.chunks]
        batch = self._calibration.batch
        drawn = [
            samples.copy()  # a sampler's arrays hold until its next call
            for start in range(0, len(chunks), batch)
            for samples in sampler(chunks[start : start + batch])
        ]
        asked = [(stream.purpose, stream.digest, number) for stream, number in chunks]
        return self._seals.reply(asked, np.stack(drawn))

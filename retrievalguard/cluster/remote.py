"""The sampler of an API replica's engine: it has sampler replicas draw, whichever there are at the moment."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.sampling.queue import Stream
from models.sampling.samplers import SamplerLost
from retrievalguard.cluster.wire import Call, Input, Refusal, Reply, Seals
from service.errors import ModelFailure, SamplersAway

log = logging.getLogger("retrievalguard")

RETRY_SECONDS = 5
_WHY = {
    "digest": "it is of another model, or on another processor or with other libraries",
    "secret": "it has another secret, or another sigma",
    "seal": "what it sent is not what was asked for",
}


class NobodyAnswers(Exception):
    """No sampler has answered in time: there is none, or all are busy."""


class SamplerFailed(Exception):
    """A sampler that lives has failed to draw: its network or the input is the cause."""


class RemoteSampler:
    """Asks samplers, for all workers of an engine.

    ask      sends a call and waits for its reply; raises `NobodyAnswers`, `SamplerFailed`, and
             `ConnectionError` if the sampler that it went to is lost
    refused  is told of every reply that was not taken; `lost` of every call that no reply came to
    """

    def __init__(
        self,
        ask: Callable[[Call], Reply],
        seals: Seals,
        *,
        chunk: int,
        dimension: int,
        refused: Callable[[Refusal], None],
        lost: Callable[[], None],
    ) -> None:
        self._ask, self._seals = ask, seals
        self._chunk, self._dimension = chunk, dimension
        self._refused, self._lost = refused, lost

    def __call__(self, chunks: Sequence[tuple[Stream, int]]) -> Sequence[NDArray[np.float32]]:
        """The samples (chunk, d) of each of the `chunks`.

        Raises `SamplerLost` when a sampler was lost with them, or sent others, and `SamplersAway` when none
        answers.
        """
        call = self._call(chunks)
        try:
            reply = self._ask(call)
        except NobodyAnswers as error:
            self._lost()
            log.warning("samples are missing: %s", error)
            raise SamplersAway("no sampler has answered in time: try again later", RETRY_SECONDS) from error
        except ConnectionError as error:
            self._lost()
            log.warning("a sampler was lost with %d chunks, which others draw: %s", len(chunks), error)
            raise _lost("samplers were lost while they drew for this query: try again") from error
        except (
            SamplerFailed
        ) as error:  # once more elsewhere, in the end alone: it may be that of another query
            self._lost()
            log.error("a sampler has failed to draw: %s", error)
            failure = ModelFailure("the samplers failed to draw for this query; their log tells why")
            raise SamplerLost(failure) from error
        taken = self._seals.taken(call, reply, (len(chunks), self._chunk, self._dimension))
        if isinstance(taken, str):
            self._refused(taken)
            log.error(
                "samples of a sampler are refused: %s; it states %s, this is %s",
                _WHY[taken], reply.statement.digest, self._seals.statement.digest,
            )  # fmt: skip
            raise _lost("there are samplers that cannot be used: the log tells why; try again")
        return list(taken)

    def _call(self, chunks: Sequence[tuple[Stream, int]]) -> Call:
        """Each input is sent once, however many of its chunks are asked for."""
        places: dict[int, int] = {}
        inputs: list[Input] = []
        for stream, _ in chunks:
            if id(stream) not in places:
                places[id(stream)] = len(inputs)
                inputs.append(Input(stream.purpose, stream.digest, stream.pixels))
        return Call(
            self._seals.statement, inputs, [(places[id(stream)], number) for stream, number in chunks]
        )


def _lost(detail: str) -> SamplerLost:
    return SamplerLost(SamplersAway(detail, RETRY_SECONDS))

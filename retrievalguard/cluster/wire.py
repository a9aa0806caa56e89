"""What goes between an API replica and a sampler, and what proves that it belongs to this model and secret.

Both know the secret that keys the noise. A sampler states its digest, and a value that only who has the same
secret can make; and it seals what it drew together with what it drew it of. So samples of another model,
secret, input or chunk are never taken for those that were asked for, whatever went wrong on the way.
"""

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models import Purpose
from models.noise import length_prefixed
from retrievalguard.cluster.version import Statement

# Why a sampler, or what it sent, is refused.
Refusal = Literal["digest", "secret", "seal"]
# A chunk: the purpose and digest of its input, and its number.
Asked = tuple[Purpose, bytes, int]


@dataclass(frozen=True)
class Input:
    """An input that samples are drawn of: pixels (C, H, W) float32 on the grid, and their digest."""

    purpose: Purpose
    digest: bytes
    pixels: NDArray[np.float32]


@dataclass(frozen=True)
class Call:
    """What a sampler is asked: chunks, each by the place of its input in `inputs` and its number."""

    statement: Statement
    inputs: Sequence[Input]
    chunks: Sequence[tuple[int, int]]

    @property
    def asked(self) -> list[Asked]:
        """Each chunk by what decides its noise."""
        return [
            (self.inputs[place].purpose, self.inputs[place].digest, number) for place, number in self.chunks
        ]


@dataclass(frozen=True)
class Reply:
    """What it sends back: `samples` (chunks, chunk, d) float32, sealed with what was asked; or none.

    A sampler that is of another model or secret states so and draws nothing.
    """

    statement: Statement
    samples: NDArray[np.float32] | None = None
    seal: bytes = b""


class Seals:
    """Statements and seals of one model under one secret."""

    def __init__(self, secret: bytes, digest: str, sigma: float) -> None:
        name = length_prefixed(b"retrievalguard sampler 1", digest.encode(), struct.pack(">d", sigma))
        self._key = hmac.new(secret, name, hashlib.sha256).digest()
        self.statement = Statement(digest, self._mac(b"statement"))

    def refusal(self, statement: Statement) -> Refusal | None:
        """Why what was stated is not ours; None if it is."""
        if statement.digest != self.statement.digest:
            return "digest"
        return None if hmac.compare_digest(statement.proof, self.statement.proof) else "secret"

    def reply(self, drawn: Sequence[Asked], samples: NDArray[np.float32]) -> Reply:
        """The reply with `samples` (chunks, chunk, d) of the chunks `drawn`."""
        return Reply(self.statement, samples, self._seal(drawn, samples))

    def taken(self, call: Call, reply: Reply, shape: tuple[int, int, int]) -> NDArray[np.float32] | Refusal:
        """The samples of `reply`, of that `shape`, if they are those that were asked for; else why not."""
        refusal = self.refusal(reply.statement)
        if refusal is not None:
            return refusal
        samples = reply.samples
        if samples is None or samples.shape != shape or samples.dtype != np.float32:
            return "seal"
        return samples if hmac.compare_digest(reply.seal, self._seal(call.asked, samples)) else "seal"

    def _seal(self, drawn: Sequence[Asked], samples: NDArray[np.float32]) -> bytes:
        chunks = [
            length_prefixed(purpose.encode(), digest, struct.pack(">Q", number))
            for purpose, digest, number in drawn
        ]
        numbers = hashlib.sha256(np.ascontiguousarray(samples, "<f4").data).digest()
        return self._mac(b"samples", *chunks, struct.pack(">3Q", *samples.shape), numbers)

    def _mac(self, *fields: bytes) -> bytes:
        return hmac.new(self._key, length_prefixed(*fields), hashlib.sha256).digest()

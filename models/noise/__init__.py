"""Gaussian noise as a keyed function: the same query meets the same noise, and nobody can predict it.

If a repeated query were sampled afresh, the best of many radii could be picked, and the confidence would be
void. If its noise could be predicted, an input could be ground until its samples happen to look robust.
So the noise of each chunk is a ChaCha20 stream whose key is an HMAC over everything it may depend on. Each
number is the inverse of the normal distribution at 64 bits of it, and how far that is from Gaussian is paid
for out of α (docs/certificate.md, Numbers).

Belongs here: whatever decides the noise. Does not: who asks for it.

grid      the grid on which pixels and noise lie, and how many samples are drawn at a time
digests   what names an input
keyed     keys and chunks: the noise itself
chacha    ChaCha20
normal    from bits to normal numbers
distance  how far from Gaussian that is at most
device    the same numbers, bit for bit, on a GPU
"""

from models.noise.digests import input_digest, length_prefixed
from models.noise.distance import noise_distance
from models.noise.grid import CHUNK, chunk_size, grid_step, on_grid
from models.noise.keyed import KeyedNoise, Purpose

__all__ = [
    "CHUNK",
    "KeyedNoise",
    "Purpose",
    "chunk_size",
    "grid_step",
    "input_digest",
    "length_prefixed",
    "noise_distance",
    "on_grid",
]

"""The noise on a GPU: the same bits as `models.noise.normal` on a CPU, written in Triton.

A number is sums and products of float64, each rounded on its own, and conversions. Triton is imported here
alone, and comes with the builds of torch for GPUs; it takes no annotations of ours.
"""

import numpy as np
import torch
import triton
import triton.language as tl

from models.noise.chacha import LANES
from models.noise.grid import grid_step
from models.noise.normal import (
    KNOWN_COUNT,
    KNOWN_KEY,
    KNOWN_SIGMA,
    PLAIN,
    REFINED_BITS,
    REFINING,
    SMALLEST,
    TILE,
    WHOLE,
    check_known,
    table,
)

_LANES = tl.constexpr(LANES)
_TILE = tl.constexpr(TILE)
_PLAIN, _REFINING = tl.constexpr(PLAIN), tl.constexpr(REFINING)
_REFINED = tl.constexpr(1 << REFINED_BITS)
_FIRST_ROW = tl.constexpr((1023 + SMALLEST) << 4)
_WHOLE = tl.constexpr(WHOLE)
# A product and a sum that became one operation would be rounded once.
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}


def noise_table(device: torch.device, sigma: float) -> torch.Tensor:
    """What the kernel looks up, on `device`: scale, step, and the coefficients, those of a power together.

    In float64; as arguments they would be rounded to float32.
    """
    step = grid_step(sigma)
    rows = torch.from_numpy(table().T.copy())
    return torch.cat([torch.tensor([sigma / step, step], dtype=torch.float64), rows.reshape(-1)]).to(device)


def check(device: torch.device) -> None:
    """Raise `RuntimeError` if what was compiled for `device` makes other noise than a CPU."""
    found = torch.zeros((1, 1, KNOWN_COUNT), device=device)
    keys = torch.from_numpy(np.array([KNOWN_KEY], np.int32)).to(device)
    add_noise(found, torch.zeros((1, KNOWN_COUNT), device=device), keys, noise_table(device, KNOWN_SIGMA))
    check_known(found.cpu().numpy().reshape(-1), "use another version of Triton or of the GPU's driver")


def add_noise(out: torch.Tensor, pixels: torch.Tensor, keys: torch.Tensor, lookup: torch.Tensor) -> None:
    """Fill `out` (chunks, samples, numbers) with `pixels` (chunks, numbers) and N(0, σ²) on the grid.

    Both float32 and contiguous; `keys` (chunks, 8) int32, the key of each chunk (`KeyedNoise.key`);
    `lookup` is `noise_table`.
    """
    chunks, samples, numbers = out.shape
    grid = (triton.cdiv(samples * numbers, TILE), chunks)
    rows = (len(lookup) - 2) // 8
    _add_noise[grid](out, pixels, keys, lookup, samples * numbers, numbers, rows, **OPTIONS)


@triton.jit
def _quarter(a, b, c, d):
    a = a + b
    d = d ^ a
    d = (d << 16) | (d >> 16)
    c = c + d
    b = b ^ c
    b = (b << 12) | (b >> 20)
    a = a + b
    d = d ^ a
    d = (d << 8) | (d >> 24)
    c = c + d
    b = b ^ c
    b = (b << 7) | (b >> 25)
    return a, b, c, d


@triton.jit
def _keystream(keys, stream: tl.constexpr, counter):
    """The 16 words of the blocks `counter` (lanes,) of a stream, each (lanes,) uint32."""
    zero = counter ^ counter
    s0, s1, s2, s3 = zero + 0x61707865, zero + 0x3320646E, zero + 0x79622D32, zero + 0x6B206574
    s4 = zero + tl.load(keys + 0).to(tl.uint32, bitcast=True)
    s5 = zero + tl.load(keys + 1).to(tl.uint32, bitcast=True)
    s6 = zero + tl.load(keys + 2).to(tl.uint32, bitcast=True)
    s7 = zero + tl.load(keys + 3).to(tl.uint32, bitcast=True)
    s8 = zero + tl.load(keys + 4).to(tl.uint32, bitcast=True)
    s9 = zero + tl.load(keys + 5).to(tl.uint32, bitcast=True)
    s10 = zero + tl.load(keys + 6).to(tl.uint32, bitcast=True)
    s11 = zero + tl.load(keys + 7).to(tl.uint32, bitcast=True)
    s15 = zero + stream
    x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11 = s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11
    x12, x13, x14, x15 = counter, zero, zero, s15
    for _ in range(10):
        x0, x4, x8, x12 = _quarter(x0, x4, x8, x12)
        x1, x5, x9, x13 = _quarter(x1, x5, x9, x13)
        x2, x6, x10, x14 = _quarter(x2, x6, x10, x14)
        x3, x7, x11, x15 = _quarter(x3, x7, x11, x15)
        x0, x5, x10, x15 = _quarter(x0, x5, x10, x15)
        x1, x6, x11, x12 = _quarter(x1, x6, x11, x12)
        x2, x7, x8, x13 = _quarter(x2, x7, x8, x13)
        x3, x4, x9, x14 = _quarter(x3, x4, x9, x14)
    return (
        x0 + s0, x1 + s1, x2 + s2, x3 + s3, x4 + s4, x5 + s5, x6 + s6, x7 + s7,
        x8 + s8, x9 + s9, x10 + s10, x11 + s11, x12 + counter, x13, x14, x15 + s15,
    )  # fmt: skip


@triton.jit
def _store(
    high, low, number, out, pixels, keys, lookup,
    count, numbers, rows,
):  # fmt: skip
    """Numbers `number` (lanes,) of a chunk, of the words `high` and `low` (lanes,), with their pixels."""
    v = ((high & 0x7FFFFFFF).to(tl.int64) << 32) | low.to(tl.int64)
    half = v.to(tl.float64) * 0.0 + 0.5
    rare = v < _REFINED
    if tl.max(rare.to(tl.int32), axis=0) != 0:
        words = _keystream(keys, _REFINING, number.to(tl.uint32))
        half = tl.where(rare, (words[0].to(tl.float64) + 0.5) * (1.0 / (1 << 32)), half)
    y = v.to(tl.float64) + half
    bits = y.to(tl.int64, bitcast=True)
    row = lookup + 2 + (bits >> 48) - _FIRST_ROW
    place = ((bits & 0xFFFFFFFFFFFF) | (1023 << 52)).to(tl.float64, bitcast=True)
    t = (place - 1.0) * 32.0 - 1.0
    z = tl.load(row + 7 * rows)
    for power in tl.static_range(6, -1, -1):
        z = z * t + tl.load(row + power * rows)
    z = tl.where((high >> 31) != 0, -z, z)
    scale, step = tl.load(lookup), tl.load(lookup + 1)
    noise = (((z * scale + _WHOLE) - _WHOLE) * step).to(tl.float32)
    wanted = number < count
    pixel = tl.load(pixels + number % numbers, mask=wanted, other=0.0)
    tl.store(out + number, pixel + noise, mask=wanted)


@triton.jit
def _add_noise(out, pixels, keys, lookup, count, numbers, rows):
    """A tile of a chunk: `count` numbers in a chunk, `numbers` in a sample."""
    tile, chunk = tl.program_id(0), tl.program_id(1).to(tl.int64)
    out, pixels, keys = out + chunk * count, pixels + chunk * numbers, keys + chunk * 8
    lane = tl.arange(0, _LANES)
    words = _keystream(keys, _PLAIN, (tile * _LANES + lane).to(tl.uint32))
    number = tile * _TILE + lane
    for j in tl.static_range(8):
        _store(
            words[2 * j], words[2 * j + 1], number + j * _LANES, out, pixels, keys, lookup,
            count, numbers, rows,
        )  # fmt: skip

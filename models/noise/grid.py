"""The grid on which pixels and noise lie, fine enough for float32 to add them exactly.

Otherwise the rounding of x + σz would depend on x, and a network could tell x from x + δ by the last bits of
the sum: the attacks of Jin et al. 2022 (arXiv 2205.10159) and Voráček & Hein 2022 (arXiv 2207.07209).
"""

import math

import numpy as np
from numpy.typing import NDArray

# Samples in a chunk: the unit in which noise is drawn and passed through the network. So many for small
# images; for larger ones fewer, down to the second number, so that a chunk has no more than so many pixels.
CHUNK, LEAST_CHUNK, CHUNK_PIXELS = 128, 8, 2**18


def chunk_size(input_shape: tuple[int, int, int]) -> int:
    """Samples in a chunk of images (C, H, W): a power of two, and nothing but the shape decides it."""
    chunk = CHUNK
    while chunk > LEAST_CHUNK and chunk * math.prod(input_shape) > CHUNK_PIXELS:
        chunk //= 2
    return chunk


def grid_step(sigma: float) -> float:
    """The step of the grid: 2^-20 for σ <= 1, twice that for σ <= 2, and so on.

    For |x| <= 1 and |z| <= 15, x + σz is then a multiple of it below 2^24 steps: exact in float32.
    """
    return 2.0 ** (max(math.ceil(math.log2(sigma)), 0) - 20)


def on_grid(image: NDArray[np.floating], sigma: float) -> NDArray[np.float32]:
    """The `image`, float32 or float64, with every pixel moved to the grid: by at most half a step.

    Exactly so for pixels in [0, 1], as dividing by a power of two is exact. A float64 image must come as it
    is: rounded to float32 first, its pixels would move by up to .53 steps.
    """
    step = grid_step(sigma)
    moved: NDArray[np.float64] = np.rint(image.astype(np.float64) / step) * step
    return moved.astype(np.float32)

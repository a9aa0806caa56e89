"""Pictures that nobody took, for measurements before there is a gallery: patches, coarse and fine."""

import numpy as np
from numpy.typing import NDArray

_SEED = 0


def pictures(input_shape: tuple[int, int, int], count: int) -> NDArray[np.float32]:
    """Images (count, C, H, W) in [0, 1], the same ones every time.

    Each is a sum of random patches: ever smaller ones, from one as large as the picture to single pixels, and
    the smaller the fainter, as in photographs.
    """
    channels, height, width = input_shape
    generator = np.random.default_rng(_SEED)
    rows, columns = np.arange(height), np.arange(width)
    found = np.zeros((count, *input_shape))
    patches, share = 1, 0.5
    while patches < 2 * max(height, width):
        drawn = generator.random((count, channels, patches, patches))
        found += share * drawn[:, :, rows * patches // height][:, :, :, columns * patches // width]
        patches, share = 2 * patches, share / 2
    low, high = found.min(axis=(1, 2, 3), keepdims=True), found.max(axis=(1, 2, 3), keepdims=True)
    stretched: NDArray[np.float32] = ((found - low) / (high - low)).astype(np.float32)
    return stretched


def noisy(images: NDArray[np.float32], copies: int, sigma: float) -> NDArray[np.float32]:
    """`copies` of each image (n, C, H, W), each with noise N(0, σ²) of its own: (copies * n, C, H, W).

    The images follow each other, and then again: any part of the result has about as many of each.
    """
    repeated = np.tile(images, (copies, 1, 1, 1))
    noise = np.random.default_rng(_SEED + 1).standard_normal(repeated.shape, dtype=np.float32)
    repeated += np.float32(sigma) * noise
    return repeated

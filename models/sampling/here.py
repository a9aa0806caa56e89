"""The sampler that this machine runs for a network: on the core of the thread that asks, or on its GPU."""

from functools import partial

from models.model import EmbeddingModel
from models.noise import KeyedNoise, chunk_size
from models.passes.calibration import Calibration
from models.passes.cuda import DevicePass
from models.sampling.device_sampler import DeviceSampler, compiling
from models.sampling.samplers import CoreSampler, Sampler

# While the GPU computes the batch of one, the other gets the next ready.
WORKERS_A_GPU = 2


def sampler_here(model: EmbeddingModel, calibration: Calibration, noise: KeyedNoise) -> Sampler:
    """A sampler of `model`, run as `calibration` says, for the calling thread: on its current GPU, if on one.

    Raises `models.VariantError` if it does not compute as when it was calibrated.
    """
    forward, chunk = calibration.build(model), chunk_size(model.input_shape)
    if isinstance(forward, DevicePass):
        from models.noise.device import add_noise, check, noise_table  # which need Triton

        with compiling:
            check(forward.device)
        lookup = noise_table(forward.device, noise.sigma)
        return DeviceSampler(forward, noise.key, partial(add_noise, lookup=lookup), chunk)
    return CoreSampler(forward, noise, (calibration.batch * chunk, *model.input_shape), chunk)

"""CUDA: passes that stay on a GPU, recorded once as a graph of kernels and played back for each batch.

Other batch sizes have other kernels there, which add in another order. So a network has one batch, which
follows from the shape of its input alone, and a smaller one is filled up. Which kernels these are is decided
while the graph is recorded, by the rules of cuDNN and cuBLAS and never by timing; after that no switch of
torch and no other thread can change them.
"""

import copy
import functools
import hashlib
import math
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.networks.embedding import EmbeddingNetwork
from models.noise import chunk_size
from models.passes.folding import fold_batch_norm
from models.passes.gpu import gpu_kernels, gpus
from models.passes.pictures import pictures
from models.passes.unavailable import VariantUnavailable

Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# Chunks in a batch, wherever a network runs.
Batch = Literal[1, 2, 4, 8, 16, 32, 64, 128]
# The most images in a batch, and the most numbers in all of them: enough to keep a large GPU busy.
BATCH_IMAGES, BATCH_NUMBERS = 1024, 2**26
PROBE_PICTURES = 8
# Runs before the recording: libraries load and choose their kernels in the first.
_WARM_UPS = 3
# The switches of torch are those of the process; and recordings meet no other recording.
_recording = threading.Lock()


def batch_chunks(input_shape: tuple[int, int, int]) -> Batch:
    """Chunks in the one batch of a GPU: nothing but the shape (C, H, W) of images decides it."""
    images = min(BATCH_IMAGES, BATCH_NUMBERS // math.prod(input_shape))
    batches: tuple[Batch, ...] = get_args(Batch)
    return max(batch for batch in batches if batch == 1 or batch * chunk_size(input_shape) <= images)


def arithmetic(precision: Precision, input_shape: tuple[int, int, int]) -> str:
    """What decides the numbers of such passes; raises `VariantUnavailable` where they cannot run."""
    kernels = gpu_kernels()
    if precision == "bfloat16" and torch.cuda.get_device_capability(gpus()[0]) < (8, 0):
        raise VariantUnavailable("this GPU has no instructions for bfloat16")
    images = batch_chunks(input_shape) * chunk_size(input_shape)
    return f"{precision} folded channels-last graph of {images} {kernels}"


class DevicePass:
    """A network on `device`, for batches of up to `batch` images (C, H, W) of `input_shape`.

    Weights and products in `precision`; what standardises pixels before, and the normalisation at the end, in
    float32. For one caller at a time. On a CPU, where tests run it, there is no graph, and all else is alike.

    images   (batch, C, H, W) float32 on the device: what the next `run` is about
    """

    def __init__(
        self,
        network: EmbeddingNetwork,
        input_shape: tuple[int, int, int],
        batch: int,
        precision: Precision,
        device: torch.device,
    ) -> None:
        self.device, self.batch = device, batch
        self._precision: torch.dtype = getattr(torch, precision)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = _line(device) if device.type == "cuda" else None
        with _recording, _fixed_kernels():
            self.images = torch.zeros((batch, *input_shape), device=device)
            self._network = self._prepared(network, input_shape)
            if device.type == "cuda":
                self._record()

    def on_stream(self) -> AbstractContextManager[object]:
        """Within the block this thread's work on the device stands in line with that of all passes there."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    @torch.inference_mode()
    def run(self) -> Tensor:
        """Embeddings (batch, d) float32 of `images`, on the device, until the next run. In `on_stream`."""
        if self._graph is None:
            return self._embeddings()
        self._graph.replay()
        return self._recorded

    @torch.inference_mode()
    def run_into(self, here: Tensor) -> None:
        """The same, into `here` (batch, d) of this machine, pinned; there when it returns. In `on_stream`."""
        here.copy_(self.run(), non_blocking=True)
        if self._stream is not None:
            # Another pass may be in line by now, which nobody here waits for.
            arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            arrived.record(self._stream)
            arrived.synchronize()

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (n, d) of `images` (n, C, H, W), n being no more than `batch`."""
        with self.on_stream():
            self.images[: len(images)].copy_(torch.from_numpy(images))
            embeddings: NDArray[np.float32] = self.run()[: len(images)].cpu().numpy()
        return embeddings

    def probe(self) -> str:
        """sha256 of what it gives for some pictures: another one, if other kernels add otherwise.

        Where memory is short a library may choose others, and nothing else tells.
        """
        _, channels, height, width = self.images.shape
        asked = pictures((channels, height, width), min(PROBE_PICTURES, self.batch))
        return hashlib.sha256(self(asked).tobytes()).hexdigest()

    def again(self) -> None:
        """Run on the images that are there, to the end: what a pass takes once they are."""
        with self.on_stream():
            self.run()
            if self._stream is not None:
                self._stream.synchronize()

    def _prepared(self, network: EmbeddingNetwork, input_shape: tuple[int, int, int]) -> EmbeddingNetwork:
        """A copy of `network` on the device, where it is folded too: no processor has a part in it."""
        moved = fold_batch_norm(copy.deepcopy(network).to(self.device), input_shape)
        for module in moved.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(self._precision)
        return moved.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @torch.inference_mode()
    def _embeddings(self) -> Tensor:
        pixels = self.images.contiguous(memory_format=torch.channels_last)
        reduced = self._precision is not torch.float32
        with torch.autocast(self.device.type, self._precision, enabled=reduced, cache_enabled=False):
            scores = self._network.scores(pixels)
        return self._network.normalised(scores.float())

    def _record(self) -> None:
        with torch.cuda.device(self.device):
            torch.cuda.synchronize()  # the weights are there
            # Apart from the line, in which other passes run meanwhile.
            apart = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(apart):
                for _ in range(_WARM_UPS):
                    self._embeddings()
            apart.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=apart, capture_error_mode="thread_local"):
                self._recorded = self._embeddings()
            self._graph = graph


@functools.cache
def _line(device: torch.device) -> torch.cuda.Stream:
    """What passes on `device` stand in: one after the other they are faster than side by side."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def _fixed_kernels() -> Iterator[None]:
    """Kernels of cuDNN that give the same twice, are chosen by rule, and multiply float32 as it is."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield

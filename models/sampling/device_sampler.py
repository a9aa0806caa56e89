"""The sampler of a GPU: pixels and keys go up, samples come down, and all between stays there.

Noise is made on the device, under the same keys and with the same bits as on a CPU, right into the images of
a pass.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.noise import Purpose
from models.passes.cuda import DevicePass
from models.sampling.queue import Stream

KEY_WORDS = 8
# Kernels of the noise, by one thread at a time.
compiling = threading.Lock()
# out (chunks, samples, numbers), pixels (chunks, numbers), keys (chunks, 8) int32: out becomes pixels plus
# noise on the grid. On the device, on the current stream.
AddNoise = Callable[[Tensor, Tensor, Tensor], None]
# The key (32 bytes) of a chunk: purpose, digest of the input, number.
Key = Callable[[Purpose, bytes, int], bytes]


class DeviceSampler:
    """Noise and network on the device of `forward`, whose batch holds chunks of `chunk` samples.

    What is not filled of a batch is what was there before: it takes as long, and changes no other row.
    """

    def __init__(self, forward: DevicePass, key: Key, add_noise: AddNoise, chunk: int) -> None:
        self._forward, self._key, self._add_noise, self._chunk = forward, key, add_noise, chunk
        chunks = forward.batch // chunk
        self._noisy = forward.images.view(chunks, chunk, -1)
        numbers = self._noisy.shape[2]
        pinned = forward.device.type == "cuda"
        self._inputs_here = torch.zeros((chunks, numbers), pin_memory=pinned)
        self._whose_here = torch.zeros(chunks, dtype=torch.int64, pin_memory=pinned)
        self._keys_here = torch.zeros((chunks, KEY_WORDS), dtype=torch.int32, pin_memory=pinned)
        # Digests of the inputs that lie there, on the device as well.
        self._known: list[bytes] = []
        with compiling, forward.on_stream():
            self._inputs = self._inputs_here.to(forward.device)
            self._whose = self._whose_here.to(forward.device)
            self._keys = self._keys_here.to(forward.device)
            self._pixels = torch.zeros_like(self._inputs)
            add_noise(self._noisy, self._pixels, self._keys)  # compiled now, and not while a query waits
            found = forward.run()
        self._samples = torch.zeros(found.shape, pin_memory=pinned)

    @torch.inference_mode()
    def __call__(self, chunks: Sequence[tuple[Stream, int]]) -> Sequence[NDArray[np.float32]]:
        """The samples (chunk, d) of each of the `chunks`. Raises what the device raises."""
        inputs = {stream.digest: stream.pixels for stream, _ in chunks}
        place = {digest: row for row, digest in enumerate(inputs)}
        whose, keys, size = self._whose_here.numpy(), self._keys_here.numpy(), self._chunk
        for slot, (stream, number) in enumerate(chunks):
            whose[slot] = place[stream.digest]
            keys[slot] = np.frombuffer(self._key(stream.purpose, stream.digest, number), "<i4")
        with self._forward.on_stream():
            self._send(inputs)
            for there, here in ((self._whose, self._whose_here), (self._keys, self._keys_here)):
                there[: len(chunks)].copy_(here[: len(chunks)], non_blocking=True)
            torch.index_select(self._inputs, 0, self._whose, out=self._pixels)
            self._add_noise(self._noisy, self._pixels, self._keys)
            self._forward.run_into(self._samples)
        embeddings: NDArray[np.float32] = self._samples.numpy()
        return [embeddings[slot * size : (slot + 1) * size] for slot in range(len(chunks))]

    def _send(self, inputs: dict[bytes, NDArray[np.float32]]) -> None:
        """Each of the `inputs` once, however many chunks it has, and those alone that are not there yet."""
        known, self._known = self._known, []  # nothing is, should this fail
        for row, (digest, pixels) in enumerate(inputs.items()):
            if known[row : row + 1] != [digest]:
                self._inputs_here[row].numpy()[:] = pixels.reshape(-1)
                self._inputs[row].copy_(self._inputs_here[row], non_blocking=True)
        self._known = [*inputs, *known[len(inputs) :]]

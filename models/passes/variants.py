"""Forward passes: the ways to run one network, each an h of its own.

Another order of additions, or another precision, is another function. So the arithmetic (versions and
processor included) and the code of the network, its passes and the noise are part of the model digest: what
is served, what embedded the gallery and what is certified are one and the same h.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from models.code import embedding_code
from models.manifest import backbone_of
from models.model import EmbeddingModel
from models.networks.convolutional import ConvolutionalEmbedding
from models.networks.embedding import EmbeddingNetwork
from models.networks.transformers import encoder_library
from models.noise import chunk_size
from models.passes import cuda, openvino
from models.passes.converted_graph import converted_graph
from models.passes.folding import fold_batch_norm
from models.passes.kernels import torch_kernels
from models.passes.pictures import noisy, pictures
from models.passes.quantization import measured_ranges, quantize
from models.passes.unavailable import VariantUnavailable
from models.passes.written_graph import written_graph

# The arithmetic of the network as it was written.
EAGER = "float32"
# Pictures on which the ranges of int8 are measured.
RANGE_PICTURES = 16
Images = NDArray[np.float32]
# Images (B, C, H, W) to embeddings (B, d), for one fixed B (on a GPU up to that), by one caller at a time.
ForwardPass = Callable[[Images], NDArray[np.float32]]


@dataclass(frozen=True)
class Variant:
    """One way to run a network.

    name        as settings and /model call it
    arithmetic  what decides its numbers, for the digest; raises `VariantUnavailable` where it cannot run
    build       a pass for batches of so many images
    on_gpu      whether it runs on a GPU (the calling thread's current one), and not on one thread of a CPU
    """

    name: str
    arithmetic: Callable[[EmbeddingModel], str]
    build: Callable[[EmbeddingModel, int], ForwardPass]
    on_gpu: bool = False

    def least_batch(self, input_shape: tuple[int, int, int]) -> cuda.Batch:
        """Chunks in the smallest batch; on a GPU, which has one batch for images of a shape, in that."""
        return cuda.batch_chunks(input_shape) if self.on_gpu else 1

    def digest(self, model: EmbeddingModel, probe: str | None = None) -> str:
        """`sha256:...` of all that decides the value of this h, and of its samples but for σ and secret.

        With what a `probe` of the pass gave (`models.passes.cuda`), if there was one.

        The code that draws samples is part of it too, so that all that is keyed by the digest (noise, cached
        samples, gallery vectors, the calibration) is of this version of the program.
        """
        probed = f" probe {probe}" if probe else ""
        return model.manifest.digest(f"{self.arithmetic(model)} code {embedding_code()}{probed}")


def convolutional(network: EmbeddingNetwork) -> ConvolutionalEmbedding:
    """The `network`; `VariantUnavailable` if it is of another kind."""
    if not isinstance(network, ConvolutionalEmbedding):
        raise VariantUnavailable("this way to run is written down for convolutional networks alone")
    return network


def _folded_copy(model: EmbeddingModel) -> ConvolutionalEmbedding:
    """The convolutional network of `model` with its batch normalisations folded."""
    return fold_batch_norm(convolutional(model.network), model.input_shape)


def _in_torch(network: ConvolutionalEmbedding, memory_format: torch.memory_format) -> ForwardPass:
    """`network` as it is; the last steps in numpy, which needs less for small arrays."""

    @torch.inference_mode()
    def forward(images: Images) -> NDArray[np.float32]:
        pixels = torch.from_numpy(images).contiguous(memory_format=memory_format)
        return network.finished(network.scores(pixels).float().numpy())

    return forward


def _eager(model: EmbeddingModel, batch: int) -> ForwardPass:
    return model


def _folded(model: EmbeddingModel, batch: int) -> ForwardPass:
    return _in_torch(_folded_copy(model), torch.contiguous_format)


def _channels_last(model: EmbeddingModel, batch: int) -> ForwardPass:
    folded = _folded_copy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _in_torch(folded, torch.channels_last)


def _torch_bfloat16(model: EmbeddingModel, batch: int) -> ForwardPass:
    folded = _folded_copy(model)
    folded.features.to(torch.bfloat16)
    return _in_torch(folded, torch.contiguous_format)


def _torch_arithmetic(name: str) -> Callable[[EmbeddingModel], str]:
    def arithmetic(model: EmbeddingModel) -> str:
        if name != EAGER:
            convolutional(model.network)
        return f"{name} {torch_kernels()} {network_libraries(model)}".rstrip()

    return arithmetic


def _in_openvino(precision: openvino.Precision) -> Callable[[EmbeddingModel, int], ForwardPass]:
    def build(model: EmbeddingModel, batch: int) -> ForwardPass:
        shape = (batch, *model.input_shape)
        if _graph_source(model) == "written":
            ranges = model.manifest.ranges if precision == "int8" else None
            graph = written_graph(_folded_copy(model), model.input_shape, ranges, batch)
        else:
            graph = converted_graph(model.network, model.input_shape, batch)
            if precision == "int8":
                quantize(graph, _measured(model))
        return openvino.build(model.network, graph, precision, shape)

    return build


def _in_openvino_arithmetic(precision: openvino.Precision) -> Callable[[EmbeddingModel], str]:
    def arithmetic(model: EmbeddingModel) -> str:
        ranges = (model.manifest.ranges or _measured(model)) if precision == "int8" else ()
        name = f"{openvino.arithmetic(precision, ranges)} graph {_graph_source(model)}"
        return f"{name} {network_libraries(model)}".rstrip()

    return arithmetic


def _on_gpu(precision: cuda.Precision) -> Callable[[EmbeddingModel, int], ForwardPass]:
    def build(model: EmbeddingModel, batch: int) -> ForwardPass:
        device = torch.device("cuda", torch.cuda.current_device())
        return cuda.DevicePass(model.network, model.input_shape, batch, precision, device)

    return build


def _on_gpu_arithmetic(precision: cuda.Precision) -> Callable[[EmbeddingModel], str]:
    def arithmetic(model: EmbeddingModel) -> str:
        name = f"{cuda.arithmetic(precision, model.input_shape)} {network_libraries(model)}"
        return name.rstrip()

    return arithmetic


def _graph_source(model: EmbeddingModel) -> Literal["written", "converted"]:
    """Whose graph OpenVINO compiles: ours, or its converter's. They add in other orders."""
    written = isinstance(model.network, ConvolutionalEmbedding) and model.manifest.ranges is not None
    return "written" if written else "converted"


def _measured(model: EmbeddingModel) -> openvino.Ranges:
    if model.ranges is None:
        raise VariantUnavailable("the ranges of its values were not measured")
    return model.ranges


def network_libraries(model: EmbeddingModel) -> str:
    """What decides the numbers of the network besides torch: the library that it is written in."""
    return encoder_library() if backbone_of(model.manifest.architecture).kind == "transformers" else ""


def with_ranges(model: EmbeddingModel, sigma: float) -> EmbeddingModel:
    """The `model` with what its int8 pass rounds between, measured on pictures with noise of `sigma`.

    Itself, if that is known already. Raises `VariantUnavailable` where OpenVINO cannot run it.
    """
    if model.manifest.ranges is not None or model.ranges is not None:
        return model
    batch = min(RANGE_PICTURES, chunk_size(model.input_shape))
    images = noisy(pictures(model.input_shape, RANGE_PICTURES), 1, sigma)
    graph = converted_graph(model.network, model.input_shape, batch)
    return EmbeddingModel(model.manifest, model.network, measured_ranges(graph, images))


# From the nearest to the textbook to the farthest.
VARIANTS = (
    Variant("eager", _torch_arithmetic(EAGER), _eager),
    Variant("folded", _torch_arithmetic("float32 folded"), _folded),
    Variant("channels-last", _torch_arithmetic("float32 folded channels-last"), _channels_last),
    Variant("torch-bfloat16", _torch_arithmetic("bfloat16 folded"), _torch_bfloat16),
    *(
        Variant(f"openvino-{precision}", _in_openvino_arithmetic(precision), _in_openvino(precision))
        for precision in openvino.PRECISIONS
    ),
    *(
        Variant(f"cuda-{precision}", _on_gpu_arithmetic(precision), _on_gpu(precision), on_gpu=True)
        for precision in cuda.PRECISIONS
    ),
)
INT8 = "openvino-int8"
BY_NAME = {variant.name: variant for variant in VARIANTS}

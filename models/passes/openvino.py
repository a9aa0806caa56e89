"""Forward passes compiled by OpenVINO, for CPUs: float32, bfloat16, and int8.

The graph is written down operation by operation, from the network with its batch normalisations folded: what
is compiled is what is read here; nothing of the converter is called.
The normalisation to length one is left to float32 outside, whatever the precision of the rest.

int8: weights are rounded to 255 levels a channel, activations to 256 levels between 0 and the `ranges` of the
manifest; what is above is cut off. Sums of products are then whole numbers, exact in any order.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.networks.convolutional import ConvolutionalEmbedding
from models.passes.processor import processor
from models.passes.telemetry import without_telemetry

Images = NDArray[np.float32]
Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class VariantUnavailable(Exception):
    """This way to run the network does not work here; the message says why."""


@functools.cache
def _core() -> Any:
    """OpenVINO, once for the whole process and for as long as it lives.

    Each `Core` gives the thread that made it another stack for signals, and takes it away again when it ends:
    with several of them, the next signal finds a stack that is gone, and ends the process.
    """
    try:
        with without_telemetry():
            import openvino
    except ImportError as error:
        raise VariantUnavailable("OpenVINO is not installed: pip install 'retrievalguard[cpu]'") from error
    return openvino.Core()


def _capabilities() -> tuple[str, list[str]]:
    """OpenVINO's version, and what this processor can do."""
    found: list[str] = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    import openvino

    return openvino.get_version().split("-")[0], found


def arithmetic(precision: Precision, ranges: Sequence[float]) -> str:
    """What decides the numbers of such passes; raises `VariantUnavailable` where they cannot run."""
    version, capabilities = _capabilities()
    needed = {"float32": "FP32", "bfloat16": "BF16", "int8": "INT8"}[precision]
    if needed not in capabilities:
        raise VariantUnavailable(f"this processor has no instructions for {precision}")
    name = f"{precision} openvino {version} numpy {np.__version__} {processor()}"
    if precision == "int8":
        # What is not int8 runs in the smaller type that the processor has.
        name += f" {_rest(capabilities)} {' '.join(map(repr, ranges))}"
    return name


def _rest(capabilities: Sequence[str]) -> str:
    return "bf16" if "BF16" in capabilities else "f32"


def build(
    network: ConvolutionalEmbedding,
    input_shape: tuple[int, int, int],
    ranges: Sequence[float],
    precision: Precision,
    batch: int,
) -> Callable[[Images], NDArray[np.float32]]:
    """A pass for `batch` images on the thread that calls it, of a `network` without batch normalisations."""
    import openvino

    hint = {"float32": "f32", "bfloat16": "bf16", "int8": _rest(_capabilities()[1])}[precision]
    compiled = _core().compile_model(
        _graph(network, input_shape, ranges if precision == "int8" else None, batch),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        },
    )
    request = compiled.create_infer_request()
    images = np.zeros((batch, *input_shape), np.float32)
    request.set_input_tensor(openvino.Tensor(images, shared_memory=True))

    def forward(given: Images) -> NDArray[np.float32]:
        images[...] = given
        request.infer()
        return network.finished(request.get_output_tensor().data)

    return forward


def _graph(
    network: ConvolutionalEmbedding,
    input_shape: tuple[int, int, int],
    ranges: Sequence[float] | None,
    batch: int,
) -> Any:
    """`network.scores` as an OpenVINO model; with `ranges`, one for each ReLU, in int8 where it pays."""
    import openvino
    from openvino import opset13 as operations

    def constant(value: Any) -> Any:
        return operations.constant(np.asarray(value, np.float32))

    def quantized(node: Any, bound: float) -> Any:
        low, high = constant(0.0), constant(bound)
        return operations.fake_quantize(node, low, high, low, high, 256)

    def quantized_weights(weights: NDArray[np.float32]) -> Any:
        bound = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
        low, high = constant(-bound), constant(bound)
        return operations.fake_quantize(constant(weights), low, high, low, high, 255)

    images = operations.parameter([batch, *input_shape], np.float32)
    node = operations.divide(operations.subtract(images, constant(network.mean)), constant(network.std))
    for number, block in enumerate(network.features):
        convolution: Any = block[0]  # type: ignore[index]
        weights = convolution.weight.detach().numpy()
        # The first convolution sees pixels, which have no range, and is cheap.
        whole = ranges is not None and number > 0
        if ranges is not None and whole:
            node = quantized(node, ranges[number - 1])
        node = operations.convolution(
            node,
            quantized_weights(weights) if whole else constant(weights),
            list(convolution.stride),
            list(convolution.padding),
            list(convolution.padding),
            list(convolution.dilation),
        )
        bias = convolution.bias.detach().numpy().reshape(1, -1, 1, 1)
        node = operations.relu(operations.add(node, constant(bias)))
    node = operations.reshape(node, operations.constant(np.array([batch, -1])), False)
    weights = network.head.weight.detach().numpy()
    if ranges is not None:
        node = quantized(node, ranges[-1])
    node = operations.matmul(
        node, constant(weights) if ranges is None else quantized_weights(weights), False, True
    )
    node = operations.add(node, constant(network.head.bias.detach().numpy().reshape(1, -1)))
    return openvino.Model([operations.result(node)], [images])

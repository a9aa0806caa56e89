"""OpenVINO, for CPUs: one runtime for the process, and passes compiled from graphs.

The end of the network, which makes an embedding of its scores, is left to float32 outside, whatever the
precision of the rest.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.networks.embedding import EmbeddingNetwork
from models.passes.kernels import torch_kernels
from models.passes.telemetry import without_telemetry
from models.passes.unavailable import VariantUnavailable

Images = NDArray[np.float32]
Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# The smallest and the largest value of each tensor that int8 passes round, in the order of the graph.
Ranges = tuple[tuple[float, float], ...]


def in_a_line(error: Exception) -> str:
    """What happened, in a line: OpenVINO tells it in many."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@functools.cache
def core() -> Any:
    """OpenVINO, once for the whole process and for as long as it lives.

    Each `Core` gives the thread that made it another stack for signals, and takes it away again when it ends:
    with several of them, the next signal finds a stack that is gone, and ends the process. Raises
    `VariantUnavailable` where it is not installed.
    """
    try:
        with without_telemetry():
            import openvino
    except ImportError as error:
        raise VariantUnavailable("OpenVINO is not installed: pip install 'retrievalguard[cpu]'") from error
    return openvino.Core()


def _capabilities() -> tuple[str, list[str]]:
    """OpenVINO's version, and what this processor can do."""
    found: list[str] = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    import openvino

    return openvino.get_version(), found


def arithmetic(precision: Precision, ranges: Sequence[object]) -> str:
    """What decides the numbers of such passes; raises `VariantUnavailable` where they cannot run.

    torch is part of it, as it folds, traces and so writes the constants of the graph, and so are the switches
    of oneDNN, which OpenVINO has inside. `ranges`: what int8 passes round between.
    """
    version, capabilities = _capabilities()
    needed = {"float32": "FP32", "bfloat16": "BF16", "int8": "INT8"}[precision]
    if needed not in capabilities:
        raise VariantUnavailable(f"this processor has no instructions for {precision}")
    name = f"{precision} openvino {version} {torch_kernels()}"
    if precision == "int8":
        # What is not int8 runs in the smaller type that the processor has.
        name += f" {_rest(capabilities)} {' '.join(map(repr, ranges))}"
    return name


def _rest(capabilities: Sequence[str]) -> str:
    return "bf16" if "BF16" in capabilities else "f32"


def compiled(graph: Any, precision: Precision, shape: tuple[int, ...]) -> Callable[[Images], Images]:
    """A pass through an OpenVINO model from images of `shape` (B, C, H, W) to what its first output gives.

    For the thread that calls this; the result is overwritten by the next call. Raises `VariantUnavailable`.
    """
    import openvino

    hint = {"float32": "f32", "bfloat16": "bf16", "int8": _rest(_capabilities()[1])}[precision]
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    try:
        request = core().compile_model(graph, "CPU", options).create_infer_request()
    except RuntimeError as error:
        raise VariantUnavailable(f"OpenVINO cannot compile this network: {in_a_line(error)}") from error
    images = np.zeros(shape, np.float32)
    request.set_input_tensor(openvino.Tensor(images, shared_memory=True))

    def run(given: Images) -> Images:
        images[...] = given
        request.infer()
        scores: Images = request.get_output_tensor(0).data
        return scores

    return run


def build(
    network: EmbeddingNetwork, graph: Any, precision: Precision, shape: tuple[int, ...]
) -> Callable[[Images], NDArray[np.float32]]:
    """A pass for images of `shape` (B, C, H, W) on the calling thread; `graph`: the network's scores."""
    run = compiled(graph, precision, shape)
    return lambda given: network.finished(run(given))

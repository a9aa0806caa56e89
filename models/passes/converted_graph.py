"""The graph of any network, as OpenVINO's converter finds it by tracing the module.

With a free batch: a vision transformer that was converted with a fixed one keeps it.
"""

import threading
import warnings
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from models.networks.embedding import EmbeddingNetwork
from models.passes.openvino import core, in_a_line
from models.passes.telemetry import without_telemetry
from models.passes.unavailable import VariantUnavailable

_graphs: "WeakKeyDictionary[EmbeddingNetwork, Any]" = WeakKeyDictionary()
_converting = threading.Lock()


class _Scores(nn.Module):
    """What is traced: a network up to its scores."""

    def __init__(self, network: EmbeddingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network.scores(pixels)


def converted_graph(network: EmbeddingNetwork, input_shape: tuple[int, int, int], batch: int) -> Any:
    """`network.scores` as an OpenVINO model for `batch` images; traced once, and for the caller to change.

    Raises `VariantUnavailable` for a network that the converter cannot read.
    """
    with _converting:
        if network not in _graphs:
            _graphs[network] = _converted(network, input_shape)
        graph = _graphs[network].clone()
    try:
        graph.reshape([batch, *input_shape])
    except RuntimeError as error:
        raise VariantUnavailable(
            f"OpenVINO cannot fix the batch of this network: {in_a_line(error)}"
        ) from error
    return graph


def _converted(network: EmbeddingNetwork, input_shape: tuple[int, int, int]) -> Any:
    core()
    with without_telemetry():
        import openvino
        from openvino.tools import ovc  # noqa: F401  # without telemetry, as all of OpenVINO

    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter(
                "ignore"
            )  # of tracing: what depends on the shape alone is meant to be fixed
            example = torch.zeros(2, *input_shape)
            # The converter would trace it itself, and once more to compare: four times as long.
            traced = torch.jit.trace(_Scores(network).eval(), example, check_trace=False, strict=False)  # type: ignore[no-untyped-call]
            return openvino.convert_model(
                traced,
                example_input=example,
                input=[openvino.PartialShape([-1, *input_shape])],
            )
    except Exception as error:  # it raises of many kinds, none of which it documents
        raise VariantUnavailable(f"OpenVINO cannot convert this network: {in_a_line(error)}") from error

"""The graph of a convolutional network, written down operation by operation for OpenVINO.

From the network with its batch normalisations folded: what is compiled is what is read here; nothing of the
converter is called.

int8: weights are rounded to 255 levels a channel, activations to 256 levels between 0 and the `ranges` of the
manifest; what is above is cut off. Sums of products are then whole numbers, exact in any order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.convolutional import ConvolutionalEmbedding


def written_graph(
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

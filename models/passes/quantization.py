"""Any network in int8: which tensors are rounded, between what, and the graph that does so.

Rounded is what a convolution or a product with weights reads: values to 256 levels between the smallest
and the largest that were measured, zero among them, weights to 255 levels a channel. What reads the same
tensor besides, such as the other branch of a residual block, reads it rounded, so that it stays in 8 bits in
between. The first layer is left alone: it sees pixels, which have no range, and is cheap.

The ranges are part of h. Who measures them keeps them: measured anew they might differ in the last digit.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.passes.openvino import Images, Ranges, compiled

# What is worth to be computed in 8 bits, and the axes of its weights that are of one output.
_PRODUCTS: dict[str, tuple[int, ...] | None] = {
    "Convolution": (1, 2, 3),
    "GroupConvolution": (2, 3, 4),
    "MatMul": None,
}
_DIGITS = 3


def measured_ranges(graph: Any, images: Images) -> Ranges:
    """What the tensors that are rounded hold when the network sees `images` (n, C, H, W), to three digits.

    `graph`: as `models.passes.converted_graph` gives it, for batches of which n is a multiple; it is changed.
    """
    from openvino import opset13 as operations

    shape = tuple(graph.inputs[0].shape)
    tensors = [product.input(0).get_source_output() for product in _products(graph)]
    distinct = list({_name(tensor): tensor for tensor in tensors}.values())
    ends = []
    for tensor in distinct:
        for reduce in (operations.reduce_min, operations.reduce_max):
            axes = operations.constant(np.arange(len(tensor.get_partial_shape()), dtype=np.int64))
            ends.append(operations.reshape(reduce(tensor, axes, False), operations.constant([1]), False))
    if not ends:
        return ()
    import openvino

    probe = openvino.Model([operations.result(operations.concat(ends, 0))], graph.get_parameters())
    run = compiled(probe, "float32", shape)
    found = [run(part).copy() for part in np.split(images, len(images) // shape[0])]
    pairs = np.array(found).reshape(len(found), -1, 2)
    lows, highs = np.minimum(pairs[..., 0].min(0), 0), np.maximum(pairs[..., 1].max(0), 0)
    return tuple(
        (float(f"{low:.{_DIGITS}g}"), float(f"{high:.{_DIGITS}g}"))
        for low, high in zip(lows, highs, strict=True)
    )


def quantize(graph: Any, ranges: Ranges) -> Any:
    """The `graph`, changed to round each of its tensors between its range.

    Raises `ValueError` if there are not as many ranges as tensors: they are of another graph.
    """
    from openvino import opset13 as operations

    def rounded(tensor: Any, low: NDArray[np.float32], high: NDArray[np.float32], levels: int) -> Any:
        ends = [operations.constant(end) for end in (low, high, low, high)]
        return operations.fake_quantize(tensor, *ends, levels).output(0)

    products = list(_products(graph))
    tensors: dict[str, Any] = {}
    for product in products:
        tensor = product.input(0).get_source_output()
        tensors.setdefault(_name(tensor), tensor)
    if len(tensors) != len(ranges):
        raise ValueError(f"{len(ranges)} ranges for {len(tensors)} tensors")
    for product in products:
        weights = product.input(1).get_source_output().get_node().get_data().astype(np.float32)
        bound = np.abs(weights).max(axis=_axes(product), keepdims=True)
        bound = np.maximum(bound, np.finfo(np.float32).tiny)
        product.input(1).replace_source_output(rounded(operations.constant(weights), -bound, bound, 255))
    for tensor, (low, high) in zip(tensors.values(), ranges, strict=True):
        readers = list(tensor.get_target_inputs())
        ends = _with_zero(low, high)
        quantized = rounded(tensor, *ends, 256)
        for reader in readers:
            reader.replace_source_output(quantized)
    return graph


def _products(graph: Any) -> Iterator[Any]:
    """The operations with constant weights that are rounded, in the order of the graph, without the first."""
    from openvino.passes import ConstantFolding, Manager

    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(graph)
    found = [
        node
        for node in graph.get_ordered_ops()
        if node.get_type_name() in _PRODUCTS
        and node.input(1).get_source_output().get_node().get_type_name() == "Constant"
    ]
    return iter(found[1:])


def _axes(product: Any) -> Sequence[int]:
    """The axes of the weights that belong to one output of `product`."""
    axes = _PRODUCTS[product.get_type_name()]
    if axes is not None:
        return axes
    rank = len(product.input(1).get_source_output().get_shape())
    return (rank - 1,) if product.get_attributes()["transpose_b"] else (rank - 2,)


def _with_zero(low: float, high: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The range, moved by less than a level so that 0 is one of 256: what is 0 in a network stays so."""
    step = max(high - low, 1e-6) / 255
    below = round(-low / step)
    return np.array(-below * step, np.float32), np.array((255 - below) * step, np.float32)


def _name(tensor: Any) -> str:
    return f"{tensor.get_node().get_friendly_name()} {tensor.get_index()}"

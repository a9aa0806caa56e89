"""Batch normalisations, folded into the convolutions before them: the same function, one step less.

Which convolution is before which is not read from names or from the order of modules: the network is run
once, and a normalisation is folded if what it was given is the very tensor that a convolution had given.
"""

import copy
from collections import Counter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.networks.embedding import EmbeddingNetwork

Network = TypeVar("Network", bound=EmbeddingNetwork)


def fold_batch_norm(network: Network, input_shape: tuple[int, int, int]) -> Network:
    """A copy of `network`, for images of `input_shape` (C, H, W), on the same device.

    A normalisation behind anything else stays, as does one that is used twice, or whose convolution is.
    """
    folded = copy.deepcopy(network)
    for convolution, norm in _pairs(folded, input_shape):
        fused = fuse_conv_bn_eval(folded.get_submodule(convolution), folded.get_submodule(norm))  # type: ignore[type-var, arg-type]
        folded.set_submodule(convolution, fused)
        folded.set_submodule(norm, nn.Identity())
    return folded


def _pairs(network: EmbeddingNetwork, input_shape: tuple[int, int, int]) -> list[tuple[str, str]]:
    """The names of convolutions and of the normalisations that were given what these gave."""
    given: dict[int, tuple[str, Tensor]] = {}  # the tensors are kept: another could have the same id
    pairs: list[tuple[str, str]] = []
    calls: Counter[str] = Counter()

    def watch(name: str, module: nn.Module) -> Any:
        def called(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            calls[name] += 1
            if isinstance(module, nn.Conv2d):
                given[id(output)] = (name, output)
            elif id(inputs[0]) in given:
                pairs.append((given[id(inputs[0])][0], name))

        return module.register_forward_hook(called)

    hooks = [
        watch(name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        with torch.inference_mode():
            network(torch.zeros(1, *input_shape, device=next(network.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    readers = Counter(convolution for convolution, _ in pairs)
    return [
        (convolution, norm)
        for convolution, norm in pairs
        if calls[convolution] == calls[norm] == readers[convolution] == 1
    ]

"""One model that ships, one network of random weights, and what another process computed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import EmbeddingModel
from models.manifest import ConvolutionalArchitecture, Normalization
from models.model import build_network
from models.networks.convolutional import ConvolutionalEmbedding

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def shipped() -> EmbeddingModel:
    return EmbeddingModel.load("digits-cnn")


@pytest.fixture
def untrained() -> ConvolutionalEmbedding:
    """A narrow network with random weights and batch statistics: nothing that training ever saw."""
    architecture = ConvolutionalArchitecture(kind="convolutional", width=4, dimension=16, nonnegative=True)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = build_network(architecture, (1, 8, 8), Normalization(mean=0.3, std=0.4))
        assert isinstance(network, ConvolutionalEmbedding)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                torch.nn.init.normal_(module.running_mean)
                torch.nn.init.uniform_(module.running_var, 0.1, 2)
                torch.nn.init.normal_(module.weight)
                torch.nn.init.normal_(module.bias)
    return network


@pytest.fixture(scope="package")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.generic]]:
    """What `tests.models.elsewhere` computes in a process of its own, on one core."""
    path = tmp_path_factory.mktemp("elsewhere") / "arrays.npz"
    subprocess.run([sys.executable, "-m", "tests.models.elsewhere", path], cwd=ROOT, check=True, timeout=120)
    with np.load(path) as arrays:
        return dict(arrays)

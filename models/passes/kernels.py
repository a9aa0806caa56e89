"""Which kernels compute a pass in torch and numpy here: others add in another order."""

import os

import numpy as np
import torch

from models.passes.processor import processor

# With these a user takes instructions away from oneDNN, MKL or numpy, or fixes MKL's order of additions.
_VARIABLES = (
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_CPU_ISA_HINTS",
    "DNNL_CPU_ISA_HINTS",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
)


def torch_kernels() -> str:
    """All that is known to decide them: versions, processor, instructions in use, oneDNN, one thread.

    With other kernels the same float32 network gave embeddings up to 2e-5 away, and 1e-4 where nearly all
    of the network was silent: another h, so this is part of the model digest.
    """
    chosen = [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    return " ".join(
        [
            f"torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()}",
            f"onednn {torch.backends.mkldnn.is_available()} {torch.backends.mkldnn.enabled}",  # type: ignore[no-untyped-call]
            f"products {torch.get_float32_matmul_precision()}",
            f"threads 1 numpy {np.__version__}",
            processor(),
            *chosen,
        ]
    )

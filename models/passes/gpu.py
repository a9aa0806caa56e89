"""Which NVIDIA GPUs there are, and which kernels compute a pass on them: others add in another order."""

import ctypes
import functools
import os
import shutil
from importlib.metadata import distributions
from importlib.util import find_spec
from typing import Any

import torch

from models.passes.unavailable import VariantUnavailable

# With these a user chooses other kernels, or other number formats within them.
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUBLASLT_WORKSPACE_SIZE",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT",
    "TORCH_CUDNN_USE_HEURISTIC_MODE_B",
)


def gpus() -> tuple[int, ...]:
    """The numbers of the GPUs that this process may use and that compute alike: those like the first.

    Raises `VariantUnavailable` where there is none, or where noise cannot be made for it.
    """
    if torch.version.cuda is None:
        raise VariantUnavailable("torch is built without CUDA here: install the extra `gpu`")
    if not torch.cuda.is_available():
        raise VariantUnavailable(f"torch sees no NVIDIA GPU, or no driver for CUDA {torch.version.cuda}")
    if find_spec("triton") is None:
        raise VariantUnavailable("Triton, which makes noise on a GPU, is not installed: pip install triton")
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        raise VariantUnavailable("Triton, which makes noise on a GPU, needs a C compiler: install gcc")
    kinds = [_kind(number) for number in range(torch.cuda.device_count())]
    return tuple(number for number, kind in enumerate(kinds) if kind == kinds[0])


def gpu() -> str:
    """The kind of these GPUs, and the driver's version; "no GPU" where there is none."""
    try:
        return f"{_kind(gpus()[0])} driver {_driver()}"
    except VariantUnavailable:
        return "no GPU"


def gpu_kernels() -> str:
    """All that is known to decide them: GPU, driver, libraries, switches of torch; `VariantUnavailable`."""
    switches: Any = torch.backends.cuda
    chosen = [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    return " ".join(
        [
            f"{_kind(gpus()[0])} driver {_driver()}",
            f"torch {torch.__version__} cuda {torch.version.cuda} cudnn {torch.backends.cudnn.version()}",  # type: ignore[no-untyped-call]
            _libraries(),
            f"products {torch.get_float32_matmul_precision()}",
            f"{switches.matmul.allow_fp16_reduced_precision_reduction}",
            f"{switches.matmul.allow_bf16_reduced_precision_reduction}",
            f"attention {switches.flash_sdp_enabled()} {switches.mem_efficient_sdp_enabled()}",
            f"{switches.math_sdp_enabled()} {switches.cudnn_sdp_enabled()}",
            *chosen,
        ]
    )


def _kind(number: int) -> str:
    """Name, compute capability, and how many multiprocessors: a slice of a GPU has fewer."""
    found = torch.cuda.get_device_properties(number)
    return f"{found.name} {found.major}.{found.minor} of {found.multi_processor_count}"


@functools.cache
def _driver() -> str:
    """The version of the driver; where its library does not say, the newest CUDA that it knows."""
    written = ctypes.create_string_buffer(96)
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        said = not (library.nvmlInit_v2() or library.nvmlSystemGetDriverVersion(written, len(written)))
    except OSError:
        said = False
    return written.value.decode() if said else f"for CUDA {torch._C._cuda_getDriverVersion()}"  # type: ignore[attr-defined]


@functools.cache
def _libraries() -> str:
    """NVIDIA's libraries that are installed beside torch, as cuBLAS; and Triton, which makes noise."""
    named = ((one.name, one.version) for one in distributions())
    found = {f"{name} {version}" for name, version in named if name.startswith(("nvidia-", "triton"))}
    return " ".join(sorted(found))

"""The noise of a GPU has the bits of a CPU: interpreted by Triton here, on a device where there is one."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.noise import KeyedNoise
from models.noise.normal import fill
from tests.models.elsewhere import SECRET
from tests.models.noise.textbook import RARE, RARE_KEY, key_of

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
SIGMA = 0.25


def pixels_of(chunks: int, numbers: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).random((chunks, numbers))
    return (np.rint(drawn * 2**20) / 2**20).astype(np.float32)


def made(keys: list[bytes], samples: int, numbers: int, device: str) -> NDArray[np.float32]:
    """(keys, samples, numbers), on `device`."""
    from models.noise.device import add_noise, noise_table

    place = torch.device(device)
    out = torch.full((len(keys), samples, numbers), float("nan"), device=place)
    pixels = torch.from_numpy(pixels_of(len(keys), numbers)).to(place)
    words = np.stack([np.frombuffer(key, "<i4") for key in keys])
    add_noise(out, pixels, torch.from_numpy(words).to(place), noise_table(place, SIGMA))
    found: NDArray[np.float32] = out.cpu().numpy()
    return found


def expected(keys: list[bytes], samples: int, numbers: int) -> NDArray[np.float32]:
    """The same, by the CPU's."""
    out = np.empty((len(keys), samples, numbers), np.float32)
    for part, key in zip(out, keys, strict=True):
        fill(part.reshape(-1), np.frombuffer(key, "<u4"), SIGMA * 2**20, 2.0**-20)
    return np.asarray(out + pixels_of(len(keys), numbers)[:, None])


KEYED = KeyedNoise(SECRET, "sha256:model", SIGMA)
# Keys, samples of each, numbers of a sample: tiles that are full and not, a number that is refined.
CASES = {
    "two chunks": ([KEYED.key("query", b"input", chunk) for chunk in range(2)], 3, 350),
    "whole tiles": ([KEYED.key("gallery", b"input", 2**40)], 2, 1024),
    "one number": ([bytes(32)], 1, 1),
    "a number far out": ([key_of(RARE_KEY)], 1, RARE + 1),
}


@pytest.fixture(scope="module")
def interpreted() -> dict[str, NDArray[np.float32]]:
    """All cases, in a process whose Triton interprets: it has to be told before it is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.noise.test_device"],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: np.array(found, np.float32) for name, found in json.loads(done.stdout).items()}


@pytest.mark.parametrize("case", CASES)
def test_interpreted_it_has_the_bits_of_a_cpu(case: str, interpreted: dict[str, NDArray[np.float32]]) -> None:
    assert np.array_equal(interpreted[case], expected(*CASES[case]))


def test_it_compiles_for_a_gpu_and_rounds_every_operation() -> None:
    from triton import compile as compiled
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from models.noise import device

    kinds = {"out": "*fp32", "pixels": "*fp32", "keys": "*i32", "lookup": "*fp64"}
    kinds |= dict.fromkeys(("count", "numbers", "rows"), "i32")
    source = ASTSource(device._add_noise, kinds, {})
    found = compiled(source, target=GPUTarget("cuda", 80, 32), options=device.OPTIONS)
    steps = found.asm["ptx"]

    assert "mul.rn.f64" in steps
    assert "add.rn.f64" in steps
    assert "fma" not in steps
    # The control: asked to, it fuses.
    fused = compiled(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 4})
    assert "fma.rn.f64" in fused.asm["ptx"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU")
@pytest.mark.parametrize("case", [*CASES, "a chunk of large images"])
def test_on_a_gpu_it_has_the_bits_of_a_cpu(case: str) -> None:
    from models.noise.device import check

    large = ([KEYED.key("query", b"input", chunk) for chunk in range(16)], 8, 3 * 224 * 224)
    given = CASES.get(case, large)
    check(torch.device("cuda"))
    assert np.array_equal(made(*given, device="cuda"), expected(*given))


if __name__ == "__main__":
    from models.noise.device import check

    check(torch.device("cpu"))
    print(json.dumps({name: made(*case, device="cpu").tolist() for name, case in CASES.items()}))

"""The benchmark of the GPU, where there is none."""

import json

import pytest
import torch

from bench import gpu


def test_without_a_gpu_it_says_so_and_measures_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(gpu, "save", lambda *_: pytest.fail("figures were kept"))
    gpu.main()
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["gpu"] is None
    assert "CUDA" in said["reason"]

"""The profile `gpu`: what compose makes of it, and its image, as far as that can be tried without a GPU.

    docker compose --profile gpu build api-gpu
    TEST_DOCKER_GPU=retrievalguard:latest-gpu pytest -m docker tests/docker/test_gpu.py

Building it takes gigabytes of CUDA, so no test does it.
"""

import json
import os
from pathlib import PurePosixPath

import pytest

from tests.docker.stack import COMPOSE, ROOT, asked, done, run, wait_for

IMAGE = os.environ.get("TEST_DOCKER_GPU", "")


def test_compose_reserves_a_gpu_and_a_place_for_kernels() -> None:
    try:
        found = run(*COMPOSE, "--profile", "gpu", "config", "--format", "json")
    except FileNotFoundError:
        pytest.skip("there is no docker command")
    if "is not a docker command" in found.stderr or "unknown flag" in found.stderr:
        pytest.skip("there is no docker compose")
    assert found.returncode == 0, found.stderr
    service = json.loads(found.stdout)["services"]["api-gpu"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"], device["count"]) == ("nvidia", ["gpu"], 1)
    assert service["build"]["args"]["EXTRA"].split()[0] == "gpu"
    # A tmpfs is mounted so that nothing on it runs unless that is asked for; Triton loads what it compiles.
    (folder,) = (mount.removesuffix(":exec") for mount in service["tmpfs"] if mount.endswith(":exec"))
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    (cache,) = (word for word in dockerfile.split() if word.startswith("TRITON_CACHE_DIR="))
    assert PurePosixPath(cache.partition("=")[2]).is_relative_to(folder)
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in dockerfile.split()


# Triton links what calls its kernels against the driver of a GPU: here is one that does nothing.
DRIVER = r"""
import re, subprocess
from pathlib import Path
from triton.backends.nvidia import driver
called = set(re.findall(r"\b(cu[A-Z]\w+)\(", Path(driver.dirname, "driver.c").read_text()))
source = "".join(f"int {name}() {{ return 0; }}\n" for name in sorted(called))
Path("/tmp/driver").mkdir()
subprocess.run(
    ["gcc", "-shared", "-o", "/tmp/driver/libcuda.so.1", "-xc", "-"], input=source.encode(), check=True
)
"""
COMPILED = """
from triton.backends.nvidia import driver
print(callable(driver.CudaUtils().launch))
"""
LIBRARIES = """
import faiss, torch, transformers
print(faiss.GpuIndexFlatL2.__name__, faiss.get_num_gpus(), torch.version.cuda[:3], torch.cuda.is_available())
"""
# As compose runs it, but for the GPU that this machine may lack.
RUN = (
    "docker", "run", "--rm", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true",
    "--tmpfs=/tmp:exec", "--memory=8g",
)  # fmt: skip


@pytest.mark.docker
@pytest.mark.skipif(not IMAGE, reason="TEST_DOCKER_GPU names no image for a GPU")
class TestImage:
    def test_the_libraries_of_two_versions_of_cuda_get_along(self) -> None:
        assert done(*RUN, IMAGE, "python", "-c", LIBRARIES) == "GpuIndexFlatL2 0 13. False"

    def test_triton_can_compile_what_calls_its_kernels(self) -> None:
        where = ("--env=LD_LIBRARY_PATH=/tmp/driver", "--env=TRITON_LIBCUDA_PATH=/tmp/driver")
        both = f"python -c '{DRIVER}' && python -c '{COMPILED}'"
        assert done(*RUN, *where, IMAGE, "sh", "-c", both) == "True"

    def test_it_serves_on_a_machine_without_a_gpu(self) -> None:
        name = "retrievalguard-test-gpu"
        published = ("--name", name, "--detach", "--publish=127.0.0.1:8017:8000")
        settings = ("--env=RETRIEVALGUARD_OPEN_TO_ALL=true", "--env=RETRIEVALGUARD_MODEL=digits-cnn")
        try:
            done(*RUN, *published, *settings, IMAGE)
            wait_for(lambda: asked("http://127.0.0.1:8017/readyz")["status"] == "ok", 600)
            assert asked("http://127.0.0.1:8017/gallery")["size"] == 600
            assert done("docker", "exec", name, "id", "-u") == "10001"
        finally:
            print(run("docker", "logs", name).stdout)
            run("docker", "rm", "--force", "--volumes", name)

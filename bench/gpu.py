"""The engine on a GPU: `make bench BENCH=gpu`. Without one it says so, and has measured nothing.

ResNet-50 at 224 pixels in bfloat16 (random weights cost what trained ones do): the engine against the same
recorded pass played again and again without noise, queue or caller, in turns; 100,000 samples of one query;
the noise alone, and whether it is that of a CPU, bit for bit; whether samples are the same in a crowd, in a
second engine and in a second process. Then every way to run the models that ship, on CPU and GPU; whether a
vision transformer's rows come out the same in any place; and the first pass again, made by `torch.compile`.
"""

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.results import save
from models import Calibration, EmbeddingModel, KeyedNoise, Manifest, SmoothedModel, VariantError
from models.encoder_config import plain
from models.model import build_network
from models.noise import chunk_size, on_grid
from models.passes.calibration import calibrate, machine
from models.passes.cuda import DevicePass
from models.passes.folding import fold_batch_norm
from models.passes.gpu import gpus
from models.passes.pictures import pictures
from models.passes.unavailable import VariantUnavailable

SIGMA, SECRET, VARIANT = 0.25, b"a secret of the benchmark", "cuda-bfloat16"
SAMPLES, PASSES, ROUNDS, CROWD, CHECKED = 100_000, 64, 3, 8, 48
NO_PART = {
    "id2label",
    "label2id",
    "architectures",
    "_name_or_path",
    "transformers_version",
    "dtype",
}


def encoder(config: Any) -> EmbeddingModel:
    """A model at 224 pixels around the encoder that `config` (of transformers) describes, weights random."""
    found = {key: value for key, value in config.to_dict().items() if key not in NO_PART}
    described = {
        "format": 1,
        "name": config.model_type,
        "architecture": {
            "kind": "transformers",
            "dimension": getattr(config, "hidden_size", 2048),
            "config": plain(found),
            "pooling": "pooler" if config.model_type == "resnet" else "first",
            "head": "identity",
        },
        "input_shape": [3, 224, 224],
        "normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "sigma": SIGMA,
        "training": {},
        "weights": {"file": "weights.safetensors", "sha256": "0" * 64},
    }
    manifest = Manifest.model_validate_json(json.dumps(described))
    torch.manual_seed(0)
    network = build_network(manifest.architecture, manifest.input_shape, manifest.normalization)
    return EmbeddingModel(manifest, network)


def resnet_50() -> EmbeddingModel:
    """The network that everybody compares with, the paper too."""
    from transformers import ResNetConfig

    return encoder(ResNetConfig(layer_type="bottleneck", depths=[3, 4, 6, 3]))


def vit_small() -> EmbeddingModel:
    """A vision transformer of 22 million parameters."""
    from transformers import ViTConfig

    return encoder(
        ViTConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536)
    )


def smoothed_of(model: EmbeddingModel) -> SmoothedModel:
    """Ready to draw, in bfloat16."""
    return SmoothedModel(model, SIGMA, SECRET, Calibration.fixed(model, VARIANT))


def named(samples: NDArray[np.float32]) -> str:
    """What two runs are compared by."""
    return sha256(samples.tobytes()).hexdigest()


def seconds(run: Callable[[], object]) -> float:
    """What `run` takes, to the end of what it started on the GPU."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def throughput(smoothed: SmoothedModel, images: NDArray[np.float32]) -> dict[str, Any]:
    """Samples a second of the bare pass and of the engine, in turns; seconds for all samples of one query."""
    forward = smoothed.calibration.build(smoothed.model)
    assert isinstance(forward, DevicePass)
    chunks = smoothed.chunks(PASSES * forward.batch)

    def bare() -> None:
        with forward.on_stream():
            for _ in range(PASSES):
                forward.run()

    def crowd() -> None:
        with ThreadPoolExecutor(CROWD) as pool:
            list(pool.map(lambda image: smoothed.sample(image, 0, chunks // CROWD), images[:CROWD]))

    def alone() -> None:
        smoothed.sample(images[0], 0, chunks)

    runs = {"bare": bare, "engine, one query": alone, f"engine, {CROWD} queries": crowd}
    for run in runs.values():
        run()
    took = [{name: seconds(run) for name, run in runs.items()} for _ in range(ROUNDS)]
    counts = {name: (chunks // CROWD * CROWD if run is crowd else chunks) for name, run in runs.items()}
    rates = {
        name: float(np.median([counts[name] * smoothed.chunk / one[name] for one in took])) for name in runs
    }
    return {
        "batch": forward.batch,
        "samples_per_second": {name: round(rate) for name, rate in rates.items()},
        "engine_over_bare": {
            name: round(
                float(np.median([counts[name] / one[name] * one["bare"] / counts["bare"] for one in took])), 3
            )
            for name in runs
            if name != "bare"
        },
        "seconds_for_100000": round(
            seconds(lambda: smoothed.sample(images[1], 0, smoothed.chunks(SAMPLES))), 2
        ),
        "seconds_for_first_1000": round(seconds(lambda: smoothed.first(images[2], 1000)), 3),
    }


def noise(smoothed: SmoothedModel, images: NDArray[np.float32]) -> dict[str, Any]:
    """What the noise of a batch takes beside its pass; and whether it is that of a CPU."""
    from models.noise.device import add_noise, noise_table

    forward = smoothed.calibration.build(smoothed.model)
    assert isinstance(forward, DevicePass)
    keyed, chunk = KeyedNoise(SECRET, smoothed.digest, SIGMA), smoothed.chunk
    chunks = forward.batch // chunk
    pixels = np.stack([on_grid(images[slot % len(images)], SIGMA) for slot in range(chunks)])
    keys = np.stack([np.frombuffer(keyed.key("query", b"input", slot), "<i4") for slot in range(chunks)])
    pixels_there = torch.from_numpy(pixels.reshape(chunks, -1)).to(forward.device)
    keys_there = torch.from_numpy(keys).to(forward.device)
    out, lookup = forward.images.view(chunks, chunk, -1), noise_table(forward.device, SIGMA)

    def fill() -> None:
        for _ in range(PASSES):
            add_noise(out, pixels_there, keys_there, lookup)

    def play() -> None:
        for _ in range(PASSES):
            forward.again()

    fill()
    made, played = min(seconds(fill) for _ in range(ROUNDS)), min(seconds(play) for _ in range(ROUNDS))
    found, expected = forward.images.cpu().numpy(), np.empty((chunk, *images.shape[1:]), np.float32)
    alike = True
    for slot in range(chunks):
        keyed.fill(expected, "query", b"input", slot)
        alike &= np.array_equal(found[slot * chunk : (slot + 1) * chunk], expected + pixels[slot])
    return {
        "noise_milliseconds_a_batch": round(1000 * made / PASSES, 3),
        "pass_milliseconds_a_batch": round(1000 * played / PASSES, 3),
        "noise_share_of_a_pass": round(made / played, 4),
        "noise_as_on_a_cpu": bool(alike),
        "numbers_compared": int(found.size),
    }


def sameness(smoothed: SmoothedModel, images: NDArray[np.float32]) -> dict[str, bool]:
    """Whether samples are the same in a crowd, in another engine and in another process."""
    alone = [smoothed.sample(image, 0, CHECKED) for image in images[:CROWD]]
    with ThreadPoolExecutor(CROWD) as pool:
        crowded = list(pool.map(lambda image: smoothed.sample(image, 0, CHECKED), images[:CROWD]))
    another = smoothed_of(smoothed.model)
    again = another.sample(images[0], 0, CHECKED)
    another.close()
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu", "--samples"], capture_output=True, text=True, check=True
    )
    return {
        "same_in_a_crowd": all(np.array_equal(one, other) for one, other in zip(alone, crowded, strict=True)),
        "same_in_another_engine": np.array_equal(alone[0], again),
        "same_in_another_process": done.stdout.split()[-1] == named(alone[0]),
    }


def compiled(model: EmbeddingModel, batch: int) -> dict[str, Any]:
    """Samples a second of the same pass as `torch.compile` makes it, which fuses what cuDNN leaves apart."""
    network = fold_batch_norm(copy.deepcopy(model.network).to("cuda"), model.input_shape)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.rand((batch, *model.input_shape), device="cuda").contiguous(
        memory_format=torch.channels_last
    )
    run = torch.compile(lambda: network.normalised(network.scores(pixels).float()))

    def play() -> None:
        for _ in range(PASSES):
            run()

    started = time.perf_counter()
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        run()
        compiling = time.perf_counter() - started
        took = min(seconds(play) for _ in range(ROUNDS))
    return {
        "compiled_samples_per_second": round(PASSES * batch / took),
        "compiling_seconds": round(compiling, 1),
    }


def measured(model: EmbeddingModel, wanted: str | None = None) -> dict[str, Any]:
    """What calibration finds: every variant, or the one that is `wanted`."""
    try:
        found = calibrate(model, SIGMA, wanted)
    except VariantError as error:
        return {"refused": str(error)}
    rows = [one.model_dump(exclude_none=True, exclude={"variant"}) for one in found.measured]
    return {"chosen": found.variant, "batch": found.batch * chunk_size(model.input_shape)} | {
        one.variant: row for one, row in zip(found.measured, rows, strict=True)
    }


def main() -> None:
    """Print what was measured and, as the last line, its JSON."""
    try:
        gpus()
    except VariantUnavailable as error:
        print(f"nothing is measured: {error}")
        print(json.dumps({"gpu": None, "reason": str(error)}))
        return
    started = time.perf_counter()
    model = resnet_50()
    images = pictures(model.input_shape, CROWD)
    smoothed = smoothed_of(model)
    if sys.argv[1:] == ["--samples"]:
        print(named(smoothed.sample(images[0], 0, CHECKED)))
        smoothed.close()
        return
    report: dict[str, Any] = {"machine": machine(), "resnet-50": {}}
    for part in (throughput, noise, sameness):
        report["resnet-50"] |= part(smoothed, images)
        print(json.dumps(report["resnet-50"]), flush=True)
    smoothed.close()
    report["resnet-50"] |= measured(model, VARIANT)
    for name in ("emoji-small", "digits-cnn"):
        report[name] = measured(EmbeddingModel.load(name))
        print(name, json.dumps(report[name]), flush=True)
    report["vit-s-16"] = measured(vit_small(), VARIANT)
    save("gpu", report)  # what comes now may take a while
    report["resnet-50"] |= compiled(model, report["resnet-50"]["batch"])
    report["seconds"] = round(time.perf_counter() - started)
    save("gpu", report)
    for name, value in report.items():
        print(f"{name:12} {value}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()

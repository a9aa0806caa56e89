"""Backbones at 224 pixels, imported and served for real: `make bench BENCH=backbones`.

EfficientNet-B0, ResNet-50 and ViT-S/16 as `transformers` builds them, with random weights, which cost what
trained ones do. Each is written as a folder of transformers, imported, and served on an empty data folder:
how long until it is ready, and how much memory that took at most; then ten pictures are added and one is
asked for over HTTP. And samples a second, by the clock and of a core's time: the engine, the bare network in
the variant that is served, and eager float32, all on every core.

`python -m bench.backbones vit-s-16` is one of them alone, and leaves the figures of the others.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.results import RESULTS, save
from bench.server import EXECUTABLE, launched
from bench.throughput import Bare, engine
from models import EmbeddingModel, SmoothedModel, calibrated
from models.encoders import import_encoder
from models.passes.pictures import pictures
from service.process import own_process

SIDE, PICTURES, SAMPLES = 224, 10, 32
# Queries that the engine has in flight; rounds, short ones, so that other jobs meet all in it alike.
IN_FLIGHT, ROUNDS = 4, 9
# A busy machine may take that long; what its cores did, and what they were waited for, is told beside it.
START_SECONDS = 1800
PREPROCESSOR = {
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "do_center_crop": True,
    "crop_size": {"height": SIDE, "width": SIDE},
    "resample": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def resnet_50() -> Any:
    """The convolutional network that everybody compares with."""
    from transformers import ResNetConfig, ResNetModel

    return ResNetModel(ResNetConfig(layer_type="bottleneck", depths=[3, 4, 6, 3]))


def vit_small() -> Any:
    """A vision transformer of 22 million parameters, patches of 16 pixels."""
    from transformers import ViTConfig, ViTModel

    shape = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
    return ViTModel(ViTConfig(**shape))


def efficientnet_b0() -> Any:
    """A small convolutional network, of the size that phones run."""
    from transformers import EfficientNetConfig, EfficientNetModel

    shape = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "image_size": SIDE, "hidden_dim": 1280}
    model = EfficientNetModel(EfficientNetConfig(**shape))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # all of the batch below
        elif isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    with torch.no_grad():  # else images fade away in its many layers, and all embeddings are one
        model.train()(pixel_values=torch.rand(8, 3, SIDE, SIDE))
    return model.eval()


BACKBONES: dict[str, Callable[[], Any]] = {
    "efficientnet-b0": efficientnet_b0,
    "resnet-50": resnet_50,
    "vit-s-16": vit_small,
}


def imported(name: str, folder: Path) -> EmbeddingModel:
    """The model folder `folder`/model of the backbone `name`."""
    torch.manual_seed(0)
    encoder = folder / "encoder"
    BACKBONES[name]().save_pretrained(encoder)
    (encoder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return import_encoder(encoder, folder / "model", sigma=0.25, name=name)


def served(folder: Path) -> dict[str, float | str]:
    """Seconds to the first start, memory, and what one query over HTTP took."""
    environment = os.environ | {
        f"RETRIEVALGUARD_{name}": str(value)
        for name, value in {
            "HOST": "127.0.0.1",
            "PORT": 0,
            "DATA_DIR": folder / "data",
            "MODEL": folder / "model",
            "GALLERY_SAMPLES": 8,
        }.items()
    }
    gallery = folder / "pictures"
    gallery.mkdir()
    for number, picture in enumerate(pictures((3, SIDE, SIDE), PICTURES)):
        (gallery / f"label-{number % 5}").mkdir(exist_ok=True)
        pixels = np.rint(255 * picture.transpose(1, 2, 0)).astype(np.uint8)
        Image.fromarray(pixels).save(gallery / f"label-{number % 5}" / f"{number}.png")
    started = time.perf_counter()
    serve: list[str | Path] = [EXECUTABLE, "serve"]
    with launched(serve, environment, folder / "log", START_SECONDS) as (process, url):
        start = time.perf_counter() - started
        processor, waited = _processor_seconds(process.pid), _waited_seconds(process.pid)
        started = time.perf_counter()
        subprocess.run([EXECUTABLE, "gallery", "add", gallery], env=environment, check=True)
        adding = time.perf_counter() - started
        answer = _asked(url, (gallery / "label-0" / "0.png").read_bytes())
        memory = _peak_megabytes(process.pid)
    return {
        "start_seconds": round(start, 1),
        "start_processor_seconds": round(processor, 1),
        "start_waited_seconds": round(waited, 1),
        "memory_megabytes": round(memory),
        "add_seconds": round(adding, 1),
        "query_seconds": round(answer["timing_ms"]["total"] / 1000, 2),
        "query_samples": answer["certificate"]["samples"],
        "neighbor": answer["neighbor"]["id"],
    }


def _asked(url: str, content: bytes) -> Any:
    asked = urllib.request.Request(
        f"{url}/retrieve?max_samples={SAMPLES}", content, {"Content-Type": "image/png"}
    )
    with urllib.request.urlopen(asked, timeout=START_SECONDS) as response:
        return json.load(response)


def _processor_seconds(process: int) -> float:
    """What the process has had of all cores: on a busy machine, closer to what it needs than the clock."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _waited_seconds(process: int) -> float:
    """How long its first thread, which does nearly all of a start, could have run and had no core.

    Without it the start takes about what it would on free ones (the second number of schedstat, of Linux).
    """
    fields = Path(f"/proc/{process}/task/{process}/schedstat").read_text().split()
    return int(fields[1]) / 1e9


def _peak_megabytes(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def rates(model: EmbeddingModel, record: Path) -> dict[str, float | str]:
    """Samples a second by the clock, and of a core's time: the median of some rounds in turns."""
    calibration = calibrated(model, model.manifest.sigma, None, record)
    smoothed = SmoothedModel(model, model.manifest.sigma, b"a secret of the benchmark", calibration)
    eager = SmoothedModel(model, model.manifest.sigma, b"a secret of the benchmark", calibration.fixed(model))
    bare, plain = Bare(smoothed), Bare(eager)
    workers = smoothed.engine.workers
    batches = IN_FLIGHT * -(-workers // IN_FLIGHT)  # as many of each query, and no worker is without
    drawn_each = batches * calibration.batch * smoothed.chunk
    loops: dict[str, Callable[[], float]] = {
        "engine": lambda: engine(smoothed, IN_FLIGHT, drawn_each),
        "bare": lambda: bare.rate(drawn_each),
        "eager": lambda: plain.rate(workers * eager.chunk),
    }
    clock: dict[str, list[float]] = {name: [] for name in loops}
    core: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            started, spent = time.perf_counter(), time.process_time()
            clock[name].append(loop())
            drawn = clock[name][-1] * (time.perf_counter() - started)
            core[name].append(drawn / (time.process_time() - spent))
    smoothed.close()
    eager.close()

    def over(found: dict[str, list[float]], one: str, other: str) -> float:
        return round(float(np.median(np.divide(found[one], found[other]))), 3)

    return {
        "variant": calibration.variant,
        "batch": calibration.batch * smoothed.chunk,
        **{f"{name}_per_second": round(float(np.median(found)), 1) for name, found in clock.items()},
        **{f"{name}_per_core_second": round(float(np.median(found)), 2) for name, found in core.items()},
        "engine_over_bare": over(clock, "engine", "bare"),
        "engine_over_bare_core": over(core, "engine", "bare"),
        "bare_over_eager": over(clock, "bare", "eager"),
        "bare_over_eager_core": over(core, "bare", "eager"),
        "radius_kept": next(
            (one.radius_kept or 0.0 for one in calibration.measured if one.variant == calibration.variant),
            0.0,
        ),
    }


def main() -> None:
    """Print what was compared and, as the last line, its JSON."""
    own_process()
    path = RESULTS / "backbones.json"
    # What other runs measured stays: one backbone takes a while.
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    report["cores"] = len(os.sched_getaffinity(0))
    for name in sys.argv[1:] or BACKBONES:
        with tempfile.TemporaryDirectory(prefix="retrievalguard-bench-") as temporary:
            folder = Path(temporary)
            started = time.perf_counter()
            model = imported(name, folder)
            row: dict[str, float | str] = {"import_seconds": round(time.perf_counter() - started, 1)}
            row |= served(folder)
            row |= rates(model, folder / "data" / "calibration.json")
        report[name] = row
        print(name, *(f"{key} {value}" for key, value in row.items()), sep="\n  ", flush=True)
        save("backbones", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()

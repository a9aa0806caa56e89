"""The commands about models: make one of a backbone, and tell what one is and what its queries will cost."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrievalguard import interrupts, preflight
from retrievalguard.opening import console

if TYPE_CHECKING:
    from models import Calibration, EmbeddingModel

app = typer.Typer(no_args_is_help=True, help="Import an embedding model, or look at one.")


@app.command("import")
def model_import(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A folder of transformers: config.json, model.safetensors, preprocessor_config.json."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The folder to write; default: the name of FOLDER with -model behind.")
    ] = None,
    sigma: Annotated[
        float, typer.Option(help="The noise that it is meant for, in [0,1] pixels.", min=1e-6, max=100)
    ] = 0.25,
    dimension: Annotated[
        int | None,
        typer.Option(
            help="Project embeddings to so many numbers; default: as many as it gives.", min=2, max=4096
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; default: that of FOLDER.")] = None,
) -> None:
    """Make a model folder of a vision encoder: what it needs is copied, and no code of its own is run."""
    if not folder.is_dir():
        raise preflight.CheckError(f"{folder} is no folder: name one that holds config.json and weights")
    output = output or Path(f"{folder.resolve().name}-model")
    preflight.check_new_folder(output, "--output")
    interrupts.raise_again()

    from models.encoders import import_encoder

    model = import_encoder(folder, output, sigma=sigma, name=name, dimension=dimension)
    _describe(model)
    console.print(
        f"{output}: serve it with RETRIEVALGUARD_MODEL={output} and a RETRIEVALGUARD_DATA_DIR of its own",
        markup=False,
    )


@app.command("info")
def model_info(
    folder: Annotated[
        str | None, typer.Argument(help="A model folder, or a name; default: RETRIEVALGUARD_MODEL.")
    ] = None,
) -> None:
    """Tell what a model is, and measure what a query will cost on this machine: it takes up to a minute."""
    from service.settings import Settings

    settings = Settings.from_environment()
    preflight.check_model(folder or settings.model)

    from models import EmbeddingModel
    from models.passes.calibration import calibrate
    from models.passes.gpu import gpus
    from service.process import own_process

    interrupts.raise_again()
    own_process()
    model = EmbeddingModel.load(folder or settings.model)
    _describe(model)
    sigma = settings.sigma or model.manifest.sigma
    calibration = calibrate(model, sigma, settings.variant)
    if calibration.on_gpu:
        _cost(calibration, "GPU", len(gpus()))
    else:
        _cost(calibration, "core", settings.threads or len(os.sched_getaffinity(0)))


def _describe(model: "EmbeddingModel") -> None:
    """A line for each fact; figures first, so that they can be compared between models."""
    from models.manifest import backbone_of

    manifest, architecture = model.manifest, model.manifest.architecture
    channels, height, width = model.input_shape
    parameters = sum(values.numel() for values in model.network.parameters())
    backbone = backbone_of(architecture)
    kind: str = backbone.kind
    if backbone.kind == "transformers":
        kind += f" {backbone.config['model_type']}, pooled by {backbone.pooling}"
    if architecture.kind == "denoised":
        kind += f", behind a denoiser of width {architecture.width}"
    made, how = manifest.preprocessing, "stretched to it, bilinear"
    if made is not None:
        to = made.size or f"a shortest edge of {made.shortest_edge}"
        how = f"resized to {to} ({made.interpolation}), then its centre"
    facts = {
        "name": manifest.name,
        "kind": kind,
        "parameters": f"{parameters:,}",
        "input": f"{channels} x {height} x {width}; a picture is {how}",
        "dimension": f"{model.dimension}",
        "space": "non-negative and of norm 1" if model.nonnegative else "of norm 1",
        "sigma": f"{manifest.sigma:g}",
        "trained on": f"{manifest.trained_on}",
        "labels": f"{len(manifest.training['labels'])}" if "labels" in manifest.training else "not said",
        "digest": manifest.digest(),
    }
    for name, value in facts.items():
        print(f"{name:12} {value}")


def _cost(calibration: "Calibration", unit: str, units: int) -> None:
    """What the measurements say of queries, none of which is in the cache."""
    speed = next(
        one.samples_per_second
        for one in calibration.measured
        if one.variant == calibration.variant and one.samples_per_second
    )
    print(f"{'run as':12} {calibration.variant}: {calibration.reason}")
    print(f"{'speed':12} {speed:,.0f} samples a second and {unit}, {units} of them")
    for samples in (1_000, 10_000):
        print(f"{'':12} {samples:,} samples: {samples / speed / units:,.2f} s, if nothing else runs")

"""The command `train`: what is trained on, with which network, and how long.

It needs the extra `research` (pytorch-metric-learning), which serving does not.
"""

import shlex
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.progress import Progress, TextColumn, track

from retrievalguard import interrupts, preflight
from retrievalguard.opening import console
from retrievalguard.published import Root, check_published

if TYPE_CHECKING:
    from models import EmbeddingModel, Preprocessing
    from models.datasets import ImageSet
    from models.training import Epoch, Recipe
    from models.training.recipe import LossName
    from service.gallery.findings import Findings, Refusal, Source
    from service.gallery.training_set import PictureLimits
    from service.settings import Settings

app = typer.Typer()

# Networks that are made anew; any other backbone is a folder, or a model that ships with the project.
SMALL, CONVOLUTIONAL = "small", "convolutional"
# Data sets of pictures that are that small.
DIGITS = ("digits", "digits-zero-shot")
# Refused pictures that are named one by one.
NAMED = 10


class LossChoice(StrEnum):
    """What can be minimised."""

    ARCFACE = "arcface"
    MARGIN = "margin"
    MULTI_SIMILARITY = "multi-similarity"
    PROXY_ANCHOR = "proxy-anchor"
    SUPERVISED_CONTRASTIVE = "supervised-contrastive"
    TRIPLET = "triplet"


class DeviceChoice(StrEnum):
    """Where a training can compute."""

    CPU = "cpu"
    CUDA = "cuda"


@app.command()
def train(
    data: Annotated[
        str, typer.Option(help="A folder LABEL/IMAGE.png, a .csv or .jsonl table, or a data set.")
    ],
    sigma: Annotated[float, typer.Option(help="Standard deviation of the noise, in [0,1] pixels.", min=1e-6)],
    root: Root = None,
    output: Annotated[Path, typer.Option(help="The folder for weights and manifest.")] = Path("model"),
    backbone: Annotated[
        str | None,
        typer.Option(
            help="A new network, small or convolutional; or a folder of transformers or of a model, which is"
            " trained further. Default: convolutional for digits, else small."
        ),
    ] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Train the head of the backbone alone: much cheaper.")
    ] = False,
    denoiser: Annotated[
        bool,
        typer.Option(
            "--denoiser", help="Leave the backbone as it is, and train a denoiser to put in front of it."
        ),
    ] = False,
    loss: Annotated[
        LossChoice, typer.Option(help="ArcFace, the margin loss of the paper, or another.")
    ] = LossChoice.ARCFACE,
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: of the recipe.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.05, help="Train for so long, in place of a number of epochs.")
    ] = None,
    validate: Annotated[
        bool,
        typer.Option("--validate", help="Hold images out, keep the best weights for them, end early."),
    ] = False,
    device: Annotated[DeviceChoice, typer.Option(help="Where to compute.")] = DeviceChoice.CPU,
    name: Annotated[str | None, typer.Option(help="The model's name; default: of the folder.")] = None,
) -> None:
    """Train an embedding network; the same command gives the same weights on a CPU, unless --minutes.

    A training that is cut short goes on where it stood when the same command is given again.
    """
    preflight.check_output_folder(output, "--output")
    if epochs is not None and minutes is not None:
        raise typer.BadParameter("--epochs or --minutes, not both")
    if frozen and denoiser:
        raise typer.BadParameter("--frozen or --denoiser, not both: with a denoiser the backbone is frozen")
    check_published(data, root)
    usual = CONVOLUTIONAL if data in DIGITS else SMALL
    backbone = backbone or usual
    new = backbone in (SMALL, CONVOLUTIONAL)
    if new and (frozen or denoiser):
        raise typer.BadParameter(
            "--frozen and --denoiser are about a backbone that was trained: name its folder by --backbone"
        )
    if denoiser and loss is not LossChoice.ARCFACE:
        raise typer.BadParameter("--loss is about embeddings: a denoiser has its own")
    try:
        from models import training
    except ModuleNotFoundError as error:
        raise typer.BadParameter(
            f"{error.name} is not installed: pip install 'retrievalguard[research]'"
        ) from error
    interrupts.raise_again()

    given = None if new else _given(backbone, sigma, headless=denoiser)
    if given is None:
        images, recipe = _new(data, root, sigma, backbone)
    else:
        images = _read(
            _findings(data, root), given.input_shape, given.manifest.preprocessing, _about(data, root)
        )
        recipe = training.head_alone(sigma) if frozen else training.fine_tuning(sigma)
    if denoiser:
        recipe = training.denoising(sigma, len(images))
    if loss is LossChoice.MARGIN:
        recipe = training.margin_of_the_paper(recipe)
    elif loss is not LossChoice.ARCFACE:
        recipe = replace(recipe, loss=cast("LossName", loss.value))
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    told = {
        "--backbone": backbone if backbone != usual else None,
        "--frozen": frozen,
        "--denoiser": denoiser,
        "--loss": loss.value if loss is not LossChoice.ARCFACE else None,
        "--epochs": epochs,
        "--minutes": minutes,
        "--validate": validate,
        "--device": device.value if device is not DeviceChoice.CPU else None,
    }
    command = ["retrievalguard", "train", "--data", data, "--sigma", repr(sigma)]
    if root is not None:
        command += ["--root", str(root)]
    for option, value in told.items():
        if value is not None and value is not False:
            command += [option] if value is True else [option, str(value)]
    seen, held_out = training.split(images) if validate else (images, None)
    with _Bar() as bar:
        model = training.train(
            seen,
            recipe,
            output,
            name=name or output.resolve().name,
            command=shlex.join(command),
            given=given,
            validation=held_out,
            minutes=minutes,
            device=device.value,
            progress=bar.show,
        )
    console.print(f"{output}: {model.manifest.digest()}", markup=False)


class _Bar(Progress):
    """How much of the training is done, and how well it goes."""

    def __init__(self) -> None:
        columns = (*Progress.get_default_columns(), TextColumn("{task.fields[told]}"))
        super().__init__(*columns, console=console)
        self._task = self.add_task("training", total=1.0, told="")

    def show(self, epoch: "Epoch") -> None:
        told = f"epoch {epoch.number}, loss {epoch.loss:.3f}"
        if epoch.score is not None:
            told += f", held out: recall {epoch.score.recall:.3f}, radius {epoch.score.radius:.3f}"
        self.update(self._task, completed=epoch.share, told=told)


def _given(backbone: str, sigma: float, *, headless: bool) -> "EmbeddingModel":
    """The model in the folder `backbone`, or of that name; an encoder of transformers is imported first.

    `headless`: without a head that is yet to be trained.
    """
    from models import EmbeddingModel

    folder = Path(backbone)
    if not (folder / "config.json").is_file():
        preflight.check_model(backbone, "--backbone")
        return EmbeddingModel.load(backbone)
    from models.encoders import import_encoder
    from models.training import fine_tuning

    dimension = None if headless else fine_tuning(sigma).dimension
    with tempfile.TemporaryDirectory(prefix="retrievalguard-") as temporary:
        return import_encoder(folder, Path(temporary) / "model", sigma=sigma, dimension=dimension)


def _new(data: str, root: Path | None, sigma: float, backbone: str) -> "tuple[ImageSet, Recipe]":
    """The images, and the recipe of a new network for pictures such as these."""
    from models import training
    from models.datasets import DATASETS
    from service.gallery.training_set import look

    convolutional = backbone == CONVOLUTIONAL
    if _is_named(data):
        images = DATASETS[data]("train")
        height, width = images.pixels.shape[2:]
        small = training.small(sigma, training.side_for((height, width)))
        return images, training.Recipe(sigma) if convolutional else small
    findings = _findings(data, root)
    seen = look(findings, _limits())
    side = training.side_for(seen.size)
    recipe = (
        training.Recipe(sigma, side=min(side, *seen.size)) if convolutional else training.small(sigma, side)
    )
    shape = (3 if seen.colourful else 1, recipe.side or side, recipe.side or side)
    return _read(findings, shape, None, _about(data, root)), recipe


def _is_named(data: str) -> bool:
    """Whether it is a data set of the project. A folder of that name comes first, as for `gallery add`."""
    from models.datasets import DATASETS

    return data in DATASETS and not Path(data).is_dir()


def _findings(data: str, root: Path | None) -> "Findings":
    """What there is to train on; what is passed over or looks wrong is told."""
    from models.datasets import DATASETS
    from service.gallery.check import ItemRules
    from service.gallery.sources import published, sources
    from service.gallery.training_set import as_findings

    if _is_named(data):
        return as_findings(DATASETS[data]("train"))
    settings = _settings()
    if root is None:
        found = sources(data, rules=ItemRules(settings.max_name_length, settings.max_metadata_bytes))
    else:
        found = published(data, root, "train")
    _tell(found.refused)
    for reason, count in found.skipped.items():
        console.print(f"{count} skipped: {reason}", style="yellow", markup=False)
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    return found


def _about(data: str, root: Path | None) -> str:
    """The images in a word or two."""
    from models.datasets import DATASETS, PUBLISHED

    if root is not None:
        return f"images of {PUBLISHED[data].title}"
    return (
        DATASETS[data]("train").about if _is_named(data) else f"images of {Path(data).resolve().stem}"[:200]
    )


def _read(
    findings: "Findings", shape: tuple[int, int, int], preprocessing: "Preprocessing | None", about: str
) -> "ImageSet":
    """The images as inputs of `shape`; those that cannot be read are told, and are not trained on."""
    from service.gallery.training_set import training_set

    def progress(found: "Iterable[Source]") -> "Iterable[Source]":
        return track(list(found), "reading", console=console, disable=not console.is_terminal)

    images, refused = training_set(findings, shape, preprocessing, _limits(), about=about, progress=progress)
    _tell(refused)
    if not len(images):
        raise preflight.CheckError(f"{about}: none can be read")
    return images


def _tell(refused: "Iterable[Refusal]") -> None:
    named = list(refused)
    for refusal in named[:NAMED]:
        console.print(f"not trained on: {refusal.place}: {refusal.reason}", style="red", markup=False)
    if len(named) > NAMED:
        console.print(f"not trained on: {len(named) - NAMED} more", style="red")


def _limits() -> "PictureLimits":
    from service.gallery.training_set import PictureLimits

    settings = _settings()
    return PictureLimits(settings.max_image_pixels, settings.min_image_side)


def _settings() -> "Settings":
    from service.settings import Settings

    return Settings.from_environment()

"""The option --root of commands that read data sets in their published layouts."""

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[
    Path | None,
    typer.Option(
        help="Your copy of the data set that --data names: cub200, cars196, online-products or in-shop.",
        exists=True,
        file_okay=False,
    ),
]


def check_published(data: str | None, root: Path | None) -> None:
    """Refuse a published data set without its folder, and a folder without such a data set."""
    from models.datasets import PUBLISHED

    if root is not None and data not in PUBLISHED:
        raise typer.BadParameter(f"--root is about --data {', '.join(PUBLISHED)}: name one of them")
    if root is None and data in PUBLISHED and not Path(data).exists():
        raise typer.BadParameter(
            f"--data {data} is read from your own copy, nothing is downloaded: name its folder by --root (it"
            f" is offered at {PUBLISHED[data].page})"
        )

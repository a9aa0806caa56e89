"""What commands work on: settings, the gallery file, a retriever, each checked before torch is loaded."""

import json
import logging
import logging.config
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import track

from retrievalguard import interrupts, preflight

if TYPE_CHECKING:
    from index import Copy, GalleryStore
    from service.gallery.findings import Source
    from service.retriever import Retriever
    from service.settings import Settings

console = Console(stderr=True, soft_wrap=True)
log = logging.getLogger("retrievalguard")


@contextmanager
def gallery_store(*, made: bool) -> "Iterator[GalleryStore]":
    """The gallery alone, without a model. `made`: if it is a file, that must be there already."""
    settings = checked_settings()

    from index import GalleryStore
    from service.gallery.place import gallery_place

    place = gallery_place(settings)
    if made and isinstance(place, Path) and not place.is_file():
        raise preflight.CheckError(f"there is no gallery at {place}: look at RETRIEVALGUARD_DATA_DIR")
    store = GalleryStore(place)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def opened(settings: "Settings | None" = None) -> "Iterator[Retriever]":
    """A retriever, closed at the end; `settings`: those of the environment."""
    retriever = open_retriever(settings)
    try:
        yield retriever
    finally:
        retriever.close()


def checked_settings() -> "Settings":
    """Those of the environment, checked as far as that takes no torch: a mistake is told at once."""
    preflight.check_service()

    from service.settings import Settings

    settings = Settings.from_environment()
    preflight.check_data_folder(settings.data_dir)
    preflight.check_model(settings.model)
    if settings.database_url is not None:
        preflight.check_postgres()
    return settings


def log_to_stderr(settings: "Settings") -> None:
    """One format for every line, and a word on what was ignored."""
    from service import logs
    from service.settings import service_links

    logging.config.dictConfig(logs.configuration(logs.format_for(settings.log_format, sys.stderr)))
    logging.captureWarnings(True)
    links = service_links(os.environ)
    if links:
        log.info(
            "ignored, as an orchestrator sets them and they are no settings: %s; the port is %d",
            ", ".join(links),
            settings.port,
        )


def open_retriever(settings: "Settings | None" = None) -> "Retriever":
    """A retriever that has this process to itself; `settings`: those of the environment."""
    settings = settings or checked_settings()

    from service.process import own_process
    from service.retriever import Retriever

    interrupts.raise_again()
    own_process()
    return Retriever.open(settings, progress=_embedding, shards=_shards(settings.gallery_shards))


def _shards(count: int) -> "Sequence[Sequence[Copy]]":
    """The copies of so many shards of the gallery, which are started if they are not there."""
    if not count:
        return ()
    preflight.check_ray("RETRIEVALGUARD_GALLERY_SHARDS")
    from retrievalguard.cluster import surroundings

    surroundings.for_shards()  # before Ray is imported, which reads it then
    from retrievalguard.cluster.shards import ray_shards

    return ray_shards(count)


def _embedding(ids: Iterable[str]) -> Iterable[str]:
    found = list(ids)
    if found:
        log.info("embedding %d items of the gallery with this model", len(found))
    return track(
        found, "embedding the gallery with this model", console=console, disable=not console.is_terminal
    )


def read_filter(text: str) -> object:
    """The JSON of a filter, in which a name may not come twice, as it may not in a request."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name is given twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"the filter is no JSON ({error})") from error


def adding(found: "Iterable[Source]") -> "Iterable[Source]":
    """Shows on a terminal how far an addition is."""
    return track(found, "adding to the gallery", console=console, disable=not console.is_terminal)

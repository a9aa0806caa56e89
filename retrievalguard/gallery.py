"""The commands about the gallery."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrievalguard import preflight, streams
from retrievalguard.opening import adding, checked_settings, console, gallery_store, opened, read_filter

if TYPE_CHECKING:
    from index import GalleryStore
    from service.gallery.intake import AddReport
    from service.gallery.named import NamedGalleries

app = typer.Typer(no_args_is_help=True, help="Add, list and delete gallery items.")


@app.command("add")
def add(
    source: Annotated[
        list[str],
        typer.Argument(help="A folder per label, a .csv or .jsonl of path,label,metadata, or `digits`."),
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace items that are there with another image or label.")
    ] = False,
    prefix: Annotated[str, typer.Option(help="Put this before every id.")] = "",
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Delete items (whose id begins with the prefix) that the source lacks."),
    ] = False,
) -> None:
    """Add images, and say what became of each: added, replaced, unchanged, refused or skipped."""
    from service.gallery.check import ItemRules
    from service.gallery.sources import sources

    settings = checked_settings()
    rules = ItemRules(settings.max_name_length, settings.max_metadata_bytes)
    found = sources(*source, rules=rules, prefix=prefix)
    with opened(settings) as retriever:
        report = retriever.intake.add(found, replace=replace, prune=prune, prefix=prefix, progress=adding)
        _tell(report)
        if retriever.vectors.statement:
            console.print(retriever.vectors.statement)
        if retriever.losses["gallery"].statement:
            console.print(retriever.losses["gallery"].statement, style="yellow", markup=False)
        console.print(f"the gallery has {len(retriever.gallery.snapshot())} items")
    if report.refused:
        raise typer.Exit(1)


def _tell(report: "AddReport") -> None:
    for refusal in report.refused:
        console.print(f"refused: {refusal.place}: {refusal.reason}", style="red", markup=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    console.print(str(report), markup=False)


@app.command("list")
def list_(
    label: Annotated[str | None, typer.Option(help="Only items with this label.")] = None,
) -> None:
    """Print id and label of every item that is searched, one a line, separated by a tab."""
    with opened() as retriever:
        for item in retriever.gallery.snapshot().items:
            if label in (None, item.label):
                print(f"{item.id}\t{item.label}")


@app.command("export")
def export(
    archive: Annotated[Path, typer.Argument(help="The file to write.", dir_okay=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write the whole gallery to one file: a backup, also while a server is running.

    Items that are damaged are named and left out, so that the rest can be restored; then the status is 1.
    """
    from index import export_gallery

    with gallery_store(made=True) as store:
        done = export_gallery(store, archive, overwrite=overwrite)
    console.print(f"{archive}: {done.items} items", markup=False)
    if done.damaged_vectors:
        console.print(
            f"without {done.damaged_vectors} damaged vectors: a start after an import embeds them anew"
        )
    for left_out in (*done.damaged, *(f"gallery {name}" for name in done.damaged_names)):
        console.print(streams.readable(f"left out, it is damaged: {left_out}"), style="red", markup=False)
    if done.damaged or done.damaged_names:
        raise typer.Exit(1)


@app.command("vectors")
def vectors(
    file: Annotated[Path, typer.Argument(help="The file to write.", dir_okay=False)],
) -> None:
    """Write the gallery's vectors to a file that can ship with the model.

    As gallery.safetensors beside the weights it spares every machine the embedding of these pictures.
    """
    preflight.check_output(file, "FILE")
    settings = checked_settings()

    from service.gallery.vectors import to_ship

    with opened(settings) as retriever:
        shipped = to_ship(retriever.gallery, retriever.vectors, retriever.decode)
    shipped.write(file)
    console.print(f"{file}: {len(shipped):,} vectors of {shipped.samples} samples each", markup=False)


@app.command("import")
def import_(
    archive: Annotated[Path, typer.Argument(help="A file that `gallery export` wrote.", exists=True)],
) -> None:
    """Read an export into an empty gallery: all of it, or nothing."""
    from index import import_gallery

    with gallery_store(made=False) as store:
        count = import_gallery(store, archive)
    console.print(f"{store.place}: {count} items", markup=False)


@app.command("delete")
def delete(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids as `gallery list` prints them.")] = None,
    label: Annotated[str | None, typer.Option(help="All items with this label.")] = None,
    prefix: Annotated[str | None, typer.Option(help="All items whose id begins so.")] = None,
) -> None:
    """Delete items, all of them or, if one is not there, none; or all with a label, a prefix or both."""
    from index import delete_where

    if bool(ids) == bool(label or prefix):
        raise typer.BadParameter("give ids, or --label, --prefix or both")
    with gallery_store(made=True) as store:
        if ids:
            store.delete(ids)
        else:
            _, count = delete_where(store, label=label or None, prefix=prefix or None)
            console.print(f"{count} items deleted")
        console.print(f"the gallery has {len(store.ids())} items")


@app.command("relabel")
def relabel(
    id_: Annotated[str, typer.Argument(metavar="ID", help="An id as `gallery list` prints it.")],
    label: Annotated[str, typer.Argument(help="Its new label.")],
) -> None:
    """Give an item another label: nothing is embedded anew."""
    from index import revise
    from service.gallery.check import ItemRefused, ItemRules

    settings = checked_settings()
    try:
        item = ItemRules(settings.max_name_length, settings.max_metadata_bytes).item(id_, label, {})
    except ItemRefused as error:
        raise preflight.CheckError(str(error)) from error
    with gallery_store(made=True) as store:
        revise(store, item.id, label=item.label)


@app.command("snapshot")
def snapshot(
    name: Annotated[str | None, typer.Argument(help="What to call it; default: the time.")] = None,
) -> None:
    """Keep the gallery as it is now in the data folder, also while a server is running."""
    with opened() as retriever:
        made, held = retriever.snapshots.create(name)
    console.print(f"{made.name}: {held.items} items", markup=False)
    for damaged in held.damaged:
        console.print(streams.readable(f"left out, it is damaged: {damaged}"), style="red", markup=False)


@app.command("snapshots")
def snapshots() -> None:
    """Print name, time and bytes of every snapshot, one a line, separated by tabs."""
    with opened() as retriever:
        for one in retriever.snapshots.all():
            print(f"{one.name}\t{one.created:%Y-%m-%dT%H:%M:%SZ}\t{one.size}")


@app.command("restore")
def restore(
    name: Annotated[str, typer.Argument(help="A name as `gallery snapshots` prints it.")],
    embed: Annotated[
        bool, typer.Option("--embed", help="Embed items that this model has not embedded, else refuse.")
    ] = False,
) -> None:
    """Put a snapshot in the place of the gallery; a server answers from the old one meanwhile."""
    with opened() as retriever:
        _, count = retriever.snapshots.restore(name, embed=embed)
    console.print(f"the gallery has {count} items")


@app.command("name")
def name_(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    wanted: Annotated[
        str, typer.Argument(metavar="FILTER", help="What its items match: JSON, as of `retrieve --filter`.")
    ],
) -> None:
    """Name a part of the gallery, for `retrieve --gallery NAME`. A name that is there gets this filter."""
    document = read_filter(wanted)
    with gallery_store(made=False) as store:
        new = _named(store).put(name, document)
    console.print(f"{name}: {'added' if new else 'replaced'}", markup=False)


@app.command("names")
def names() -> None:
    """Print name and filter of every named gallery, one a line, separated by a tab."""
    with gallery_store(made=True) as store:
        for name, document in _named(store).all().items():
            print(f"{name}\t{json.dumps(document, ensure_ascii=False)}")


@app.command("unname")
def unname(
    name: Annotated[str, typer.Argument(help="A name as `gallery names` prints it.")],
) -> None:
    """Take a name away; the items stay."""
    with gallery_store(made=True) as store:
        _named(store).delete(name)


def _named(store: "GalleryStore") -> "NamedGalleries":
    from service.gallery.named import FilterLimits, NamedGalleries

    settings = checked_settings()
    limits = FilterLimits(settings.max_filter_conditions, settings.max_filter_values)
    return NamedGalleries(store, limits, settings.max_galleries)

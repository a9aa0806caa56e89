"""What `retrievalguard gallery add` can read: a folder per label, a table of paths, or a data set by name.

And what experiments read besides: data sets in their published layouts.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from index import Item
from models.datasets import DATASETS, PUBLISHED, ImageSet, ListedImage, Part
from service.gallery.check import ItemRules
from service.gallery.findings import NO_BOUNDS, Bounds, Collector, Entry, Findings, ImportFailure
from service.gallery.folders import read_folder
from service.gallery.tables import read_csv, read_jsonl
from service.images import png


def sources(
    *origins: str, rules: ItemRules | None = None, prefix: str = "", bounds: Bounds = NO_BOUNDS
) -> Findings:
    """Everything that `origins` name, within `bounds`, in a fixed order; `prefix` is put before each id.

    A data set's name: its gallery part. A folder: every image in a sub-folder, which is its label; the id
    is the path inside the folder. A .csv or .jsonl file: columns `path` (relative to the file; or
    `file_name`) and `label`; `id` (default: the path, without a slash in front) and `metadata` (JSON) are
    optional, further columns become metadata.

    Raises `ImportFailure` if one of them cannot be read as a whole, holds no image, or if one id stands for
    different items; `Stopped`.
    """
    collector = Collector(rules or ItemRules(), prefix, bounds)
    for origin in origins:
        _read(origin, collector)
    findings = collector.findings()
    if not findings.sources and not findings.refused:
        skipped = "; ".join(f"{count} {reason}" for reason, count in findings.skipped.items())
        raise ImportFailure(
            f"{', '.join(origins)} holds no images{f' ({skipped})' if skipped else ''}: expected"
            " LABEL/IMAGE.png (or .jpg, .webp), or a table of path,label"
        )
    return findings


def published(name: str, root: Path, part: Part) -> Findings:
    """The images of a `part` of the published data set `name`, whose folder is `root`; files are read later.

    A warning tells that they are not as many as published. Raises `ImportFailure` if one id stands for
    different items, `DataSetError` if something is missing or damaged.
    """
    data, collector = PUBLISHED[name], Collector(ItemRules())
    for image in data.images(root, part):
        collector.add(str(image.path), partial(_entry, image))
    findings = collector.findings()
    shortage = data.shortage(part, len(findings.sources))
    return replace(findings, warnings=(*findings.warnings, shortage)) if shortage else findings


def _entry(image: ListedImage) -> Entry:
    return image.id, image.label, {}, image.path


def files(data: ImageSet) -> Iterator[tuple[Item, bytes]]:
    """The images of a data set as items, and as PNG files."""
    metadata = data.metadata or tuple({} for _ in data.ids)
    for pixels, label, id_, more in zip(data.pixels, data.labels, data.ids, metadata, strict=True):
        yield Item(id_, label, dict(more)), png(pixels)


def _read(origin: str, collector: Collector) -> None:
    path = Path(origin)
    table = {".csv": read_csv, ".tsv": read_csv, ".jsonl": read_jsonl}.get(path.suffix.lower())
    if path.is_dir():
        read_folder(path, collector)
    elif table and path.is_file():
        table(path, collector)
    elif origin in PUBLISHED:
        raise ImportFailure(
            f"{origin} is read by evaluate, attack and train, from your own copy (--root DIR); for a gallery,"
            " name a folder or a table of its images"
        )
    elif origin in DATASETS:
        for item, content in files(DATASETS[origin]("gallery")):
            collector.give(item, content)
    else:
        raise ImportFailure(
            f"{origin} is neither a folder with a sub-folder for each label, nor a .csv, .tsv or .jsonl file,"
            f" nor a data set ({', '.join(DATASETS)})"
        )

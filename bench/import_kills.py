"""SIGKILL in the middle of an import: is what it told to be stored there, and does the next one go on?

A part of `make bench BENCH=kills`. An import adds a folder of pictures, a few in a transaction, and is killed
at a random moment; then all that it told of has to be there, with the images of the folder and vectors, no
transaction half, and the version never goes back. The next import adds the rest; when all is there, all is
deleted, and it begins again.
"""

import multiprocessing
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path

from certify import prepare
from index import GalleryStore
from models.datasets import digits
from models.noise import KeyedNoise
from service.gallery.check import ItemRules
from service.gallery.sources import sources
from service.images import png
from service.process import own_process
from service.retriever import Retriever
from service.settings import Settings

# Pictures in the folder, and how many of them a transaction stores.
PICTURES, BATCH = 120, 4
# After the first transaction, the import lives up to so many seconds.
LIFE_SECONDS = 0.5
START_SECONDS = 300


def imports_killed(kills: int, seed: int, data: Path) -> dict[str, object]:
    """Kill imports into the folder `data` so many times; raises `AssertionError` if anything was lost."""
    chance, folder, told, whole, version = random.Random(seed), data / "pictures", 0, 0, 0
    images = _pictures(folder)
    settings = Settings(data_dir=data, gallery_samples=128, variant="folded", redis_url=None)
    compiled()
    there = 0
    for _ in range(kills):
        stored = _killed(settings, folder, chance)
        told += stored
        store = GalleryStore(settings.data_dir / "gallery.sqlite3")
        try:
            found = store.ids()
            # In the order of the folder, and in whole transactions; the last may be smaller.
            assert found == list(images)[: len(found)], "what is there is not how the folder begins"
            assert len(found) % BATCH == 0 or len(found) == PICTURES, "half of a transaction is there"
            assert len(found) >= there + stored, "what was told to be stored is not there"
            for id_ in found:
                assert store.image(id_)[0] == images[id_], id_
            loaded = _models(store)
            assert len(loaded) == len(found), "an item has no vector"
            assert store.version() >= version, "the version went back"
            there = len(found)
            if there == PICTURES:
                store.delete(found)
                there, whole = 0, whole + 1
            version = store.version()
        finally:
            store.close()
    return {"kills": kills, "seed": seed, "items_told": told, "imports_ended": whole, "lost": 0}


def _killed(settings: Settings, folder: Path, chance: random.Random) -> int:
    """Begin an import, kill it, and return how many items it told to be stored."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_import, args=(settings, folder, there), daemon=True)
    process.start()
    there.close()
    stored = 0
    try:
        assert here.poll(START_SECONDS), "the import did not begin"
        time.sleep(chance.uniform(0, LIFE_SECONDS))
        process.kill()
        process.join()
        while here.poll():
            stored = here.recv()
    except EOFError:  # that was all
        pass
    finally:
        process.kill()
        process.join()
        here.close()
    return stored


def _import(settings: Settings, folder: Path, told: Connection) -> None:
    """In a process of its own, until it is killed, or has stored all."""
    own_process()
    rules = ItemRules(settings.max_name_length, settings.max_metadata_bytes)
    retriever = Retriever.open(settings)
    retriever.intake.add(
        sources(str(folder), rules=rules), batch=BATCH,
        stored=lambda report: told.send(report.added),
    )  # fmt: skip
    retriever.close()


def compiled() -> None:
    """Have noise and certificates compiled, which forks of this process begin with. No thread is started."""
    KeyedNoise(bytes(32), "", 1.0)
    prepare()


def _pictures(folder: Path) -> dict[str, bytes]:
    """A folder for each label: the images by id, in the order of the folder."""
    queries, images = digits("query"), dict[str, bytes]()
    for number in range(PICTURES):
        label = f"label {number // 10:02}"
        images[f"{label}/{number:03}.png"] = png(queries.pixels[number])
    for id_, content in images.items():
        (folder / id_).parent.mkdir(parents=True, exist_ok=True)
        (folder / id_).write_bytes(content)
    return images


def _models(store: GalleryStore) -> list[str]:
    """The ids of the items with a sound vector by any model."""
    with store.reading() as db:
        return [row[0].decode() for row in db.execute("SELECT id FROM items JOIN vectors USING (row)")]

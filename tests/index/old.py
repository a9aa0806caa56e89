"""A gallery file as an older version wrote it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from tests.index.items import MODEL

# As version 0.1 wrote it.
OLD = """
CREATE TABLE IF NOT EXISTS gallery (version INTEGER NOT NULL);
INSERT INTO gallery SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM gallery);
CREATE TABLE IF NOT EXISTS items (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, label TEXT NOT NULL,
    metadata TEXT NOT NULL, image BLOB NOT NULL, media_type TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (
    row INTEGER NOT NULL REFERENCES items (row) ON DELETE CASCADE, model TEXT NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (row, model)) WITHOUT ROWID;
"""
VECTOR = np.array([0.6, 0.8], "<f4")


def old_file(path: Path, count: int = 3) -> Path:
    """`count` items with vectors by MODEL; returns `path`."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(OLD)
        for number in range(count):
            row = db.execute(
                "INSERT INTO items (id, label, metadata, image, media_type) VALUES (?, ?, ?, ?, ?)",
                (f"é{number}", "猫", '{"n": 1}', b"an image", "image/png"),
            ).lastrowid
            db.execute("INSERT INTO vectors VALUES (?, ?, ?)", (row, MODEL, VECTOR.tobytes()))
            db.execute("UPDATE gallery SET version = version + 1")
        db.commit()
    return path

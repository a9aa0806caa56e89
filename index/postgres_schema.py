"""The layout of a gallery in PostgreSQL, and the numbered steps to it.

It has a schema of its own in the database. All text is BYTEA: TEXT holds no NUL, and what is no UTF-8 must
not keep the rest from being read. So ids and labels are in the order of their bytes, as in SQLite.
"""

from collections.abc import Callable

from index.failures import NotAGallery
from index.history import begin_anew
from index.postgres_session import PostgresConnection, PostgresSession

SCHEMA = "retrievalguard"
# Of the lock that replicas which start at once wait for: "RGgl", as in the header of a gallery file.
_LOCK = 0x5247676C

Step = Callable[[PostgresConnection], None]


def upgrade(db: PostgresConnection) -> None:
    """Bring the database to the newest layout. Raises `NotAGallery`, or `psycopg.Error`."""
    if _steps_taken(db) == len(STEPS):
        return
    with db.transaction():
        db.execute(b"SELECT pg_advisory_xact_lock(%d)" % _LOCK)
        steps = _steps_taken(db)  # another replica may have been faster
        if steps is None:
            if db.execute("SELECT to_regnamespace($1) IS NULL", (SCHEMA,)).fetchone() == (True,):
                db.execute(b"CREATE SCHEMA " + SCHEMA.encode())
            db.execute("CREATE TABLE layout (steps INTEGER NOT NULL)")
            db.execute("INSERT INTO layout VALUES (0)")
        for step in STEPS[steps or 0 :]:
            step(db)
        db.execute("UPDATE layout SET steps = $1", (len(STEPS),))


def _steps_taken(db: PostgresConnection) -> int | None:
    """How many steps were taken; None if nothing is there yet. Raises `NotAGallery`."""
    found = [
        name for (name,) in db.execute("SELECT tablename FROM pg_tables WHERE schemaname = $1", (SCHEMA,))
    ]
    if not found:
        return None
    if "layout" not in found:
        raise NotAGallery(f"has a schema {SCHEMA} of another program: choose another database")
    steps = [row[0] for row in db.execute("SELECT steps FROM layout")]
    if len(steps) != 1 or steps[0] > len(STEPS):
        raise NotAGallery(f"was written by a newer version of this program (layout {steps}): upgrade it")
    return int(steps[0])


def _first(db: PostgresConnection) -> None:
    for statement in _FIRST.split(";"):
        db.execute(statement.encode())
    begin_anew(PostgresSession(db), 0)


# An index of the usual kind holds no more than 2.7 kB: that of ids is one of hashes, that of labels holds
# their beginnings. Images are compressed already.
_FIRST = """
CREATE TABLE gallery (version BIGINT NOT NULL);
INSERT INTO gallery VALUES (0);
CREATE TABLE items (
    row BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id BYTEA NOT NULL, label BYTEA NOT NULL,
    metadata BYTEA NOT NULL, image BYTEA NOT NULL, media_type BYTEA NOT NULL, EXCLUDE USING hash (id WITH =));
ALTER TABLE items ALTER COLUMN image SET STORAGE EXTERNAL;
CREATE INDEX items_by_label ON items (substr(label, 1, 256), row);
CREATE TABLE checksums (
    row BIGINT PRIMARY KEY REFERENCES items (row) ON DELETE CASCADE,
    image BYTEA NOT NULL, item BYTEA NOT NULL);
CREATE INDEX checksums_by_image ON checksums (image);
CREATE TABLE vectors (
    row BIGINT NOT NULL REFERENCES items (row) ON DELETE CASCADE, model BYTEA NOT NULL, vector BYTEA NOT NULL,
    checksum BYTEA NOT NULL, PRIMARY KEY (row, model));
CREATE TABLE versions (version BIGINT PRIMARY KEY, name BYTEA NOT NULL);
CREATE TABLE changes (version BIGINT NOT NULL, row BIGINT NOT NULL, PRIMARY KEY (version, row));
CREATE TABLE named (name BYTEA PRIMARY KEY, filter BYTEA NOT NULL)
"""

# Never change one that was released: add another.
STEPS: tuple[Step, ...] = (_first,)

"""API keys: who may do what, and how much of it in a minute. One small file, replaced as a whole.

Of a key only a digest is kept. Its secret has 256 random bits, so no slow hash is needed: nothing to guess.
"""

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

log = logging.getLogger("retrievalguard")

Scope = Literal["retrieve", "gallery:read", "gallery:write", "metrics", "admin"]
# What a key of some named galleries may have. Whoever changes items decides in which galleries they are, and
# metrics tell of all of them.
READING: tuple[Scope, ...] = ("retrieve", "gallery:read")
# As `index.names.is_name` has it, which would load the whole index.
_GALLERY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

# How a key begins, so that people and secret scanners know one when they see it.
MARK = "rg"


class KeysUnusable(Exception):
    """The file of keys cannot be read or changed as asked; the message says how to mend it."""


def is_gallery(name: str) -> bool:
    """Whether a key can be for a named gallery of this name: `default` is no part, but all items."""
    return name != "default" and _GALLERY.fullmatch(name) is not None


class Key(BaseModel):
    """What is kept of a key.

    id        public, in logs and lists
    digest    sha256 of the secret, in hex
    scopes    what it may do; `admin` may do everything
    galleries the named galleries that it may do it in, with scopes of `READING` alone; None: all there is
    requests  at most so many a minute, None: no limit; and so many newly drawn `samples`
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    galleries: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    created: datetime
    requests: Annotated[int, Field(ge=1)] | None = None
    samples: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if self.galleries is not None and not set(self.scopes) <= set(READING):
            raise ValueError(f"a key of some galleries has no scopes but {', '.join(READING)}")
        if not all(map(is_gallery, self.galleries or ())):
            raise ValueError("a key is for named galleries, and `default` is none")
        return self

    def may(self, scope: Scope) -> bool:
        """Whether it was made for `scope`."""
        return scope in self.scopes or "admin" in self.scopes


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    keys: tuple[Key, ...] = ()


class Keys:
    """The keys in the file `path`. Where there is no file, no key was ever made.

    A change is seen by a running server with its next request. Once a file was seen, one that is gone or
    damaged takes nothing back: the keys that were read last stay those that count.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._by_id: dict[str, Key] | None = None

    @property
    def required(self) -> bool:
        """Whether a key is needed: whether one was ever made, also if it is revoked by now."""
        self._refresh()
        return self._by_id is not None

    def find(self, token: str) -> Key | None:
        """The key that `token` is, or None."""
        self._refresh()
        mark, _, rest = token.partition("_")
        identity, _, secret = rest.partition("_")
        key = (self._by_id or {}).get(identity)
        digest = _digest(secret)
        return key if key and mark == MARK and hmac.compare_digest(digest, key.digest) else None

    def all(self) -> tuple[Key, ...]:
        """Every key, in the order in which they were made; raises `KeysUnusable`."""
        return self._read().keys if self.path.exists() else ()

    def create(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        galleries: Sequence[str] | None = None,
        requests: int | None = None,
        samples: int | None = None,
    ) -> tuple[Key, str]:
        """A new key, and the token that is told once and kept nowhere.

        Raises `KeysUnusable`, or `ValueError` for what `Key` cannot be.
        """
        secret = secrets.token_urlsafe(32)
        key = Key(
            id=secrets.token_hex(6),
            name=name,
            digest=_digest(secret),
            scopes=tuple(scopes),
            galleries=None if galleries is None else tuple(galleries),
            created=datetime.now(UTC).replace(microsecond=0),
            requests=requests,
            samples=samples,
        )
        with self._changing():
            self._write((*self.all(), key))
        return key, f"{MARK}_{key.id}_{secret}"

    def revoke(self, identity: str) -> Key:
        """Take a key away; raises `KeysUnusable` if there is none with this id."""
        with self._changing():
            known = self.all()
            for key in known:
                if key.id == identity:
                    self._write([other for other in known if other is not key])
                    return key
        raise KeysUnusable(f"there is no key {identity}: see `retrievalguard keys list`")

    def _refresh(self) -> None:
        """Read the file again if it is another one than before; a server goes on with what it knows."""
        try:
            found = self.path.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen != self._seen:
                self._by_id = {key.id: key for key in self._read().keys}
                self._seen = seen
        except FileNotFoundError:
            if self._seen is not None:
                self._seen = None
                log.error("%s is gone: the keys that it held stay in force until the next start", self.path)
        except (OSError, KeysUnusable) as error:
            if self._by_id is None:
                raise
            log.error("the keys that were read before stay in force: %s", error)

    def _read(self) -> _Content:
        try:
            return _Content.model_validate_json(self.path.read_bytes())
        except ValidationError as error:
            raise KeysUnusable(
                f"{self.path} is damaged: restore it, or delete it and make new keys with `retrievalguard"
                " keys create`"
            ) from error

    def _write(self, keys: Sequence[Key]) -> None:
        # Without what is None, so that an older version reads the file unless it holds what that cannot know.
        text = _Content(keys=tuple(keys)).model_dump_json(indent=2, exclude_none=True)
        content = text.encode() + b"\n"
        draft = self.path.with_name(f".{self.path.name}-{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One change at a time, by whichever process."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.with_name(f".{self.path.name}-lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()

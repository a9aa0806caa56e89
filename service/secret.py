"""The secret that keys noise and authenticates the cache."""

import os
import secrets
from pathlib import Path

from pydantic import SecretStr


class SecretError(Exception):
    """The secret in the data folder cannot be used; the message says how to mend it, and holds none of it."""


def noise_secret(given: SecretStr | None, data_dir: Path) -> bytes:
    """The secret that was `given`, or a random one kept in the data folder.

    It is created once, readable by its owner only. Replicas that share a cache need the same one. Raises
    `SecretError` on a file that is cut short.
    """
    if given is not None:
        return given.get_secret_value().encode()
    path = data_dir / "secret"
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".secret-{os.getpid()}")
    if not path.exists():
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(draft, path)  # fails if another process was first: then its secret is the one
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    secret = path.read_bytes()
    if len(secret) < 64:
        raise SecretError(
            f"{path} is cut short: restore it, or delete it to have a new secret made (then cached samples"
            " are drawn again, and answers get other noise)"
        )
    return secret

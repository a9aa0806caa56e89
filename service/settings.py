"""Every limit and choice of an installation, from the environment: `RETRIEVALGUARD_*` and `REDIS_URL`."""

import os
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Positive = Annotated[int, Field(gt=0)]


class Settings(BaseSettings):
    """Documented in docs/operations.md; a test fails on a setting that is not."""

    model_config = SettingsConfigDict(env_prefix="RETRIEVALGUARD_", extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    data_dir: Path = Path("data")
    model: str = "digits-cnn"
    sigma: Annotated[float, Field(gt=0)] | None = None
    secret: Annotated[SecretStr, Field(min_length=16)] | None = None

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.001
    samples: Annotated[int, Field(ge=2)] = 2_000
    samples_limit: Annotated[int, Field(ge=2)] = 100_000
    top_k_limit: Positive = 100
    max_rivals: Positive = 1_024
    gallery_samples: Positive = 1_024

    max_body_bytes: Positive = 10 * 2**20
    max_image_pixels: Positive = 25_000_000
    min_image_side: Positive = 8
    concurrency: Positive = 4
    threads: Positive | None = None
    max_waiting: Annotated[int, Field(ge=0)] = 64
    shutdown_grace_seconds: Positive = 10

    redis_url: SecretStr | None = Field(None, validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    redis_timeout_ms: Positive = 50
    cache_ttl_seconds: Positive = 86_400
    cache_max_bytes: Positive = 256 * 2**20

    @classmethod
    def from_environment(cls) -> "Settings":
        """The settings of this process; raises `pydantic.ValidationError` on a value out of range."""
        return cls.model_validate({})


def noise_secret(settings: Settings) -> bytes:
    """The secret that keys noise and cache: the setting, or a random one kept in the data folder.

    It is created once, readable by its owner only. Replicas that share a cache need the same one.
    """
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    path = settings.data_dir / "secret"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".secret-{os.getpid()}")
    if not path.exists():
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, path)  # fails if another process was first: then its secret is the one
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()

"""Every limit and choice of an installation, from the environment: `RETRIEVALGUARD_*` and `REDIS_URL`."""

import difflib
import os
import secrets
from pathlib import Path
from typing import Annotated, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.connection import parse_url

PREFIX = "RETRIEVALGUARD_"
Positive = Annotated[int, Field(gt=0)]


class SettingsError(Exception):
    """The environment, or the secret in the data folder, cannot be used; the message names what to mend."""


class Settings(BaseSettings):
    """Documented in docs/operations.md; a test fails on a setting that is not."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    data_dir: Path = Path("data")
    model: str = "digits-cnn"
    sigma: Annotated[float, Field(gt=0)] | None = None
    secret: Annotated[SecretStr, Field(min_length=16)] | None = None
    variant: str | None = None

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.001
    samples: Annotated[int, Field(ge=2)] = 10_000
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.05
    samples_limit: Annotated[int, Field(ge=2)] = 100_000
    top_k_limit: Positive = 100
    max_rivals: Positive = 1_024
    label_weight: Annotated[float, Field(ge=0, lt=1)] = 0.5
    gallery_samples: Positive = 1_024

    max_body_bytes: Positive = 10 * 2**20
    max_image_pixels: Positive = 25_000_000
    min_image_side: Positive = 8
    threads: Positive | None = None
    max_queries: Positive = 256
    max_queued_samples: Positive = 4_000_000
    shutdown_grace_seconds: Positive = 10

    redis_url: SecretStr | None = Field(None, validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    redis_timeout_ms: Positive = 10
    cache_ttl_seconds: Positive = 86_400
    cache_max_bytes: Positive = 256 * 2**20

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            # A ValueError that lists the schemes.
            parse_url(url.get_secret_value())  # type: ignore[no-untyped-call]
        return url

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        if self.samples > self.samples_limit:
            raise ValueError(f"SAMPLES ({self.samples}) is over SAMPLES_LIMIT ({self.samples_limit})")
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """The settings of this process; `SettingsError` names a variable that is unknown or out of range."""
        known = {variable(name) for name in cls.model_fields}
        for name in os.environ:
            if name.startswith(PREFIX) and name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f", did you mean {close[0]}?" if close else "; docs/operations.md lists them all"
                raise SettingsError(f"{name} is not a setting{hint}")
        try:
            return cls.model_validate({})
        except ValidationError as error:
            named = [
                f"{variable(str(e['loc'][0])) if e['loc'] else PREFIX}: {e['msg']}" for e in error.errors()
            ]
            raise SettingsError("\n".join(named)) from error


def variable(field: str) -> str:
    """The environment variable of a field of `Settings`."""
    return "REDIS_URL" if field.lower() == "redis_url" else PREFIX + field.upper()


def noise_secret(settings: Settings) -> bytes:
    """The secret that keys noise and cache: the setting, or a random one kept in the data folder.

    It is created once, readable by its owner only. Replicas that share a cache need the same one. Raises
    `SettingsError` on a file that is cut short.
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
        raise SettingsError(
            f"{path} is cut short: restore it, or delete it to have a new secret made (then cached samples"
            " are drawn again, and answers get other noise)"
        )
    return secret

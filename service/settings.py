"""Every limit and choice of an installation, from the environment: `RETRIEVALGUARD_*` and `REDIS_URL`."""

import difflib
import os
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "RETRIEVALGUARD_"
REDIS_SCHEMES = ("redis", "rediss", "unix")
Positive = Annotated[int, Field(gt=0)]


class SettingsError(Exception):
    """The environment cannot be used; the message names the variable to mend."""


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

    max_name_length: Positive = 512
    max_metadata_bytes: Positive = 65_536
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
        if url is not None and urlsplit(url.get_secret_value()).scheme not in REDIS_SCHEMES:
            raise ValueError(f"must begin with one of {', '.join(f'{name}://' for name in REDIS_SCHEMES)}")
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

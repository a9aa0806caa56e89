"""Every limit and choice of an installation, from the environment.

That is `RETRIEVALGUARD_*`, and `REDIS_URL` and `DATABASE_URL`, which platforms set under these names.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service import database_url, redis_url

PREFIX = "RETRIEVALGUARD_"
DEFAULT_PORT = 8000
# Above it the proofs have not looked: rounding in the sums of so many samples is paid for up to here.
MOST_SAMPLES = 10_000_000
LEAST_SECRET = 16

# The names of `models.passes.variants`, which loads torch: a mistake is to be told before.
Variant = Literal[
    "eager",
    "folded",
    "channels-last",
    "torch-bfloat16",
    "openvino-float32",
    "openvino-bfloat16",
    "openvino-int8",
    "cuda-float32",
    "cuda-float16",
    "cuda-bfloat16",
]

# What a file may hold, as orchestrators mount secrets: a setting, and how it may be named in the environment.
_IN_FILES = {
    "secret": ("secret",),
    "redis_url": ("REDIS_URL", "redis_url"),
    "database_url": ("DATABASE_URL", "database_url"),
}

# What Kubernetes and Docker set in every container for a service whose name begins with `retrievalguard`.
_LINK_ADDRESS = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)
_LINK_NAME = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)


def _whole(least: int, most: int) -> FieldInfo:
    """A whole number from `least` to `most`: a limit that is far beyond any use is a slip of the keyboard."""
    bounds: FieldInfo = Field(ge=least, le=most)
    return bounds


def _names(value: object) -> object:
    """The names in comma-separated text."""
    return (
        tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value
    )


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


class SettingsError(Exception):
    """The environment cannot be used; the message names the variable to mend."""


class Settings(BaseSettings):
    """Documented in docs/operations.md; a test fails on a setting that is not."""

    # An empty variable is an unset one. What was given is in no message: it may be a secret.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    port: Annotated[int, _whole(0, 65_535)] = DEFAULT_PORT
    allowed_hosts: Names | None = None
    cors_origins: Names | None = None
    root_path: Annotated[str, Field(pattern=r"^(/[\w.~-]+)+$")] | None = None
    metrics_port: Annotated[int, _whole(1, 65_535)] | None = None
    traces_url: str | None = None
    data_dir: Path = Path("data")
    log_format: Literal["auto", "text", "json"] = "auto"
    keys_file: Path | None = None
    open_to_all: bool = False
    model: str = "digits-cnn"
    sigma: Annotated[float, Field(gt=0, le=100)] | None = None
    secret: SecretStr | None = None
    secret_file: Path | None = None
    variant: Variant | None = None

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.001
    samples: Annotated[int, _whole(2, MOST_SAMPLES)] = 10_000
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.05
    samples_limit: Annotated[int, _whole(2, MOST_SAMPLES)] = 100_000
    top_k_limit: Annotated[int, _whole(1, 100_000)] = 100
    max_comparisons: Annotated[int, _whole(0, 10**12)] = 100_000_000
    label_weight: Annotated[float, Field(ge=0, lt=1)] = 0.5
    gallery_samples: Annotated[int, _whole(1, MOST_SAMPLES)] | None = None
    max_filter_conditions: Annotated[int, _whole(1, 100)] = 32
    max_filter_values: Annotated[int, _whole(1, 100_000)] = 1_000
    max_galleries: Annotated[int, _whole(0, 100_000)] = 100
    attack_seconds: Annotated[float, Field(ge=0, le=600)] = 0
    max_filter_bytes: Annotated[int, _whole(0, 2**44)] = 256 * 2**20
    max_filter_seconds: Annotated[float, Field(ge=0, le=86_400)] = 10
    gallery_gpu_bytes: Annotated[int, _whole(0, 2**44)] = 2**32
    gallery_shards: Annotated[int, _whole(0, 10_000)] = 0
    shard_seconds: Annotated[float, Field(ge=0.01, le=600)] = 2
    shard_missing: Literal["refuse", "abstain"] = "refuse"

    gallery_writes: Literal["off", "loopback", "on"] = "off"
    max_changes: Annotated[int, _whole(1, 10_000)] = 64
    max_snapshots: Annotated[int, _whole(0, 10_000)] = 20
    jobs_root: Path | None = None
    max_jobs: Annotated[int, _whole(1, 1_000)] = 8
    kept_jobs: Annotated[int, _whole(0, 10_000)] = 100
    max_archive_bytes: Annotated[int, _whole(1, 2**44)] = 2**30
    max_unpacked_bytes: Annotated[int, _whole(1, 2**44)] = 2**32
    max_unpacked_files: Annotated[int, _whole(1, 10_000_000)] = 100_000
    batch_limit: Annotated[int, _whole(1, 10_000)] = 64
    page_limit: Annotated[int, _whole(1, 100_000)] = 1_000
    max_name_length: Annotated[int, _whole(1, 10_000)] = 512
    max_metadata_bytes: Annotated[int, _whole(2, 2**24)] = 65_536
    max_connections: Annotated[int, _whole(1, 100_000)] = 1_024
    idle_timeout_seconds: Annotated[int, _whole(1, 86_400)] = 15
    max_body_bytes: Annotated[int, _whole(1, 2**31)] = 10 * 2**20
    max_bodies_bytes: Annotated[int, _whole(1, 2**40)] = 256 * 2**20
    body_timeout_seconds: Annotated[int, _whole(1, 86_400)] = 30
    parsing_threads: Annotated[int, _whole(1, 64)] = 1
    max_image_pixels: Annotated[int, _whole(1, 1_000_000_000)] = 25_000_000
    min_image_side: Annotated[int, _whole(1, 65_535)] = 8
    shrink_warning: Annotated[float, Field(ge=1, le=1e6)] = 10
    threads: Annotated[int, _whole(1, 4_096)] | None = None
    max_queries: Annotated[int, _whole(1, 100_000)] = 256
    max_backlog_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 10
    short_share: Annotated[float, Field(ge=0.05, le=0.85)] = 0.45
    short_query_seconds: Annotated[float, Field(ge=0.001, le=86_400)] = 1
    shutdown_grace_seconds: Annotated[int, _whole(1, 86_400)] = 10
    sampler_timeout_seconds: Annotated[int, _whole(1, 3_600)] = 60

    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "database_url")
    )
    database_url_file: Path | None = None
    redis_url: SecretStr | None = Field(None, validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    redis_url_file: Path | None = None
    redis_timeout_ms: Annotated[int, _whole(1, 60_000)] = 10
    cache_ttl_seconds: Annotated[int, _whole(1, 10 * 365 * 86_400)] = 86_400
    known_answers_bytes: Annotated[int, _whole(0, 2**44)] = 32 * 2**20
    cache_max_bytes: Annotated[int, _whole(1, 2**44)] = 256 * 2**20

    @model_validator(mode="before")
    @classmethod
    def _with_what_files_hold(cls, given: dict[str, Any]) -> dict[str, Any]:
        for field, names in _IN_FILES.items():
            file = given.get(f"{field}_file")
            if file is None:
                continue
            name = f"{field}_file".upper()
            if any(given.get(other) is not None for other in names):
                raise ValueError(f"{name} and {names[0].upper()} are both set: set one of them")
            try:
                held = Path(file).read_text().strip()
            except (OSError, UnicodeDecodeError):
                held = ""
            if not held:
                raise ValueError(f"{name} names no file with text that this user can read")
            given = {**given, field: held}
        return given

    @field_validator("port", mode="before")
    @classmethod
    def _is_no_service_link(cls, port: object) -> object:
        return DEFAULT_PORT if isinstance(port, str) and _LINK_ADDRESS.match(port) else port

    @field_validator("secret")
    @classmethod
    def _is_long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret) < LEAST_SECRET:
            raise ValueError(f"must have at least {LEAST_SECRET} characters")
        return secret

    @field_validator("traces_url")
    @classmethod
    def _is_a_collector(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^\s/@?#]+/[^\s?#]*", url):
            raise ValueError("must be like http://collector:4318/v1/traces, without a user or a password")
        return url

    @field_validator("redis_url")
    @classmethod
    def _connects_as_meant(cls, url: SecretStr | None) -> SecretStr | None:
        found = None if url is None else redis_url.fault(url.get_secret_value())
        if found is not None:
            raise ValueError(found)
        return url

    @field_validator("database_url")
    @classmethod
    def _names_a_database(cls, url: SecretStr | None) -> SecretStr | None:
        found = None if url is None else database_url.fault(url.get_secret_value())
        if found is not None:
            raise ValueError(found)
        return url

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        if self.database_url is not None and self.secret is None:
            raise ValueError(
                "DATABASE_URL needs SECRET or SECRET_FILE, the same for all replicas: with others they give"
                " other answers"
            )
        if self.samples > self.samples_limit:
            raise ValueError(f"SAMPLES ({self.samples}) is over SAMPLES_LIMIT ({self.samples_limit})")
        if self.metrics_port == self.port:
            raise ValueError(f"METRICS_PORT ({self.metrics_port}) must be another than PORT")
        if self.max_body_bytes > self.max_bodies_bytes:
            raise ValueError(
                f"MAX_BODY_BYTES ({self.max_body_bytes}) is over MAX_BODIES_BYTES ({self.max_bodies_bytes})"
            )
        return self

    @property
    def keys(self) -> Path:
        """The file of API keys."""
        return self.keys_file or self.data_dir / "keys.json"

    @classmethod
    def from_environment(cls) -> Self:
        """The settings of this process; `SettingsError` names a variable that is unknown or out of range.

        Neither its message nor what it was raised from holds a value.
        """
        _check_names(os.environ)
        try:
            return cls.model_validate({})
        except ValidationError as error:
            named = []
            for wrong in error.errors(include_input=False, include_url=False):
                where = variable(str(wrong["loc"][0])) if wrong["loc"] else PREFIX
                named.append(f"{where}: {wrong['msg'].removeprefix('Value error, ')}")
        raise SettingsError("\n".join(named))  # out here, so that it has no context that holds the values


def service_links(environment: Mapping[str, str]) -> list[str]:
    """The variables that look like settings and are an orchestrator's: addresses of a service of our name."""
    return sorted(name for name, value in environment.items() if _is_service_link(name, value))


def _is_service_link(name: str, value: str) -> bool:
    if not name.startswith(PREFIX):
        return False
    return bool(_LINK_NAME.fullmatch(name) or (name.endswith("_PORT") and _LINK_ADDRESS.match(value)))


def _check_names(environment: Mapping[str, str]) -> None:
    """`SettingsError` on a name that begins as a setting's and is none; an empty one is not there."""
    known = {variable(name) for name in Settings.model_fields}
    for name, value in environment.items():
        if not name.upper().startswith(PREFIX) or name in known or not value:
            continue
        if not _is_service_link(name, value):
            close = difflib.get_close_matches(name.upper(), known, 1)
            hint = f", did you mean {close[0]}?" if close else "; docs/operations.md lists them all"
            raise SettingsError(f"{name} is not a setting{hint}")


def variable(field: str) -> str:
    """The environment variable of a field of `Settings`."""
    name = field.upper()
    return name if name in ("REDIS_URL", "DATABASE_URL") else PREFIX + name

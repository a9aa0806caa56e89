"""Settings: the secret that is created once, and documentation that knows every name."""

import os
import re
import stat
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from certify import LARGEST_HORIZON
from models.passes.variants import VARIANTS, Variant
from service.errors import Problem, Unavailable
from service.metrics import Metrics
from service.retrieval.options import RetrieveOptions
from service.secret import noise_secret
from service.settings import MOST_SAMPLES, Settings, SettingsError, service_links
from tests.service.processes import Server

DOCS = "\n".join(path.read_text() for path in sorted(Path(__file__).parents[2].glob("docs/*.md")))
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def settings(**given: Any) -> Settings:
    return Settings(**given)


def variable(field: str) -> str:
    return field.upper() if field in ("redis_url", "database_url") else f"RETRIEVALGUARD_{field.upper()}"


def test_the_secret_is_created_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    fresh = settings(data_dir=tmp_path / "new" / "folder")
    secret = noise_secret(None, fresh.data_dir)
    path = fresh.data_dir / "secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(secret) >= 32
    assert noise_secret(None, fresh.data_dir) == secret == path.read_bytes()
    assert [file.name for file in fresh.data_dir.iterdir()] == ["secret"]
    assert noise_secret(None, tmp_path / "another") != secret


def test_a_secret_in_the_environment_is_used_and_none_is_written(tmp_path: Path) -> None:
    given = settings(data_dir=tmp_path, secret=SecretStr("0123456789abcdef"))
    assert noise_secret(given.secret, given.data_dir) == b"0123456789abcdef"
    assert list(tmp_path.iterdir()) == []
    assert "0123456789abcdef" not in repr(given)


RACE = """
import hashlib, sys, time
from pathlib import Path
from service.secret import noise_secret
from service.settings import Settings
root, me, other = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
(root / me).touch()
while not (root / other).exists():
    time.sleep(0.001)
for number in range(50):
    print(noise_secret(None, root / str(number)).decode())
"""


def test_two_processes_that_start_together_agree_on_the_secret(tmp_path: Path) -> None:
    names = ("first", "second")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path), *order], stdout=subprocess.PIPE, text=True
        )
        for order in (names, names[::-1])
    ]
    first, second = (racer.communicate(timeout=60)[0].split() for racer in racers)
    assert [racer.returncode for racer in racers] == [0, 0]
    assert len(set(first)) == 50
    assert first == second


WRONG: list[dict[str, object]] = [
    {"alpha": 0},
    {"alpha": 1},
    {"alpha": float("nan")},
    {"sigma": 0},
    {"port": 70_000},
    {"secret": "short"},
    {"sigma": float("inf")},
    {"sigma": float("nan")},
    {"alpha": float("inf")},
    {"samples_limit": 10_000_001},
    {"cache_max_bytes": 10**30},
    {"variant": "fastest"},
    {"log_format": "xml"},
    {"samples": 1},
    {"samples": 200_000, "samples_limit": 100_000},
    {"label_weight": 1},
    {"label_weight": -0.1},
    {"label_weight": float("nan")},
    {"max_queries": 0},
    {"max_backlog_seconds": 0},
    {"short_share": 0.9},
    {"short_query_seconds": 0},
    {"min_gain": -0.1},
    {"min_gain": 1},
    {"min_gain": float("nan")},
    {"concurrency": 1},
    {"max_waiting": 1},
    {"no_such_setting": 1},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_setting_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVALGUARD_TOP_K_LIMIT", "7")
    monkeypatch.setenv("REDIS_URL", "redis://:password@cache:6379/0")
    read = Settings.from_environment()
    assert read.top_k_limit == 7
    assert read.redis_url is not None
    assert read.redis_url.get_secret_value() == "redis://:password@cache:6379/0"
    assert "password" not in repr(read)


# --- what orchestrators put into the environment


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.setenv(variable(field), "")
    monkeypatch.setenv("RETRIEVALGUARD_NO_SUCH_SETTING", "")
    assert Settings.from_environment() == settings()


@pytest.mark.parametrize("service", ["", "API_"])
def test_the_links_of_a_service_of_our_name_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    links = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "8000",
        "SERVICE_PORT_HTTP": "8000",
        "PORT": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP_ADDR": "10.0.0.1",
        "PORT_8000_TCP_PORT": "8000",
        "PORT_8000_TCP_PROTO": "tcp",
    }
    named = {f"RETRIEVALGUARD_{service}{name}": value for name, value in links.items()}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment() == settings()
    assert service_links(os.environ) == sorted(named)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETRIEVALGUARD_ALHPA", "0.1"),
        ("RETRIEVALGUARD_API_PORT", "8000"),
        ("RETRIEVALGUARD_SERVICE", "10.0.0.1"),
        ("retrievalguard_alpha", "0.1"),
    ],
)
def test_a_name_that_is_neither_a_setting_nor_a_link_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment()
    assert service_links(os.environ) == []


def schema(field: str) -> list[dict[str, Any]]:
    """The JSON schemas that a value of `field` may fit."""
    found = Settings.model_json_schema(by_alias=False)["properties"][field]
    return list(found.get("anyOf", [found]))


NUMBERS = [
    field
    for field in Settings.model_fields
    if any(option.get("type") in ("integer", "number") for option in schema(field))
]


def test_every_number_has_bounds() -> None:
    assert len(NUMBERS) > 15
    for field in NUMBERS:
        (number,) = (option for option in schema(field) if option["type"] != "null")
        assert number.keys() & {"minimum", "exclusiveMinimum"}, field
        assert number.keys() & {"maximum", "exclusiveMaximum"}, field


def test_no_more_samples_may_be_set_than_the_proofs_hold_for() -> None:
    assert MOST_SAMPLES == LARGEST_HORIZON


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_settings_know_every_way_to_run_the_network(variant: Variant) -> None:
    assert settings(variant=variant.name).variant == variant.name


# --- no message holds a secret

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETRIEVALGUARD_SECRET", SECRET),
        ("REDIS_URL", f"redis://:{SECRET}#x@host:6379/0"),
        ("REDIS_URL", f"redis://:x/{SECRET}@host:6379/0"),
        ("REDIS_URL", f"redis://:{SECRET}\u2100@host:6379/0"),
        ("REDIS_URL", f"redis://user:{SECRET}@host:{SECRET}/0"),
        ("REDIS_URL", f"redis://host/0?{SECRET}={SECRET}"),
        ("REDIS_URL", SECRET),
        ("RETRIEVALGUARD_PORT", SECRET),
    ],
)
def test_an_error_holds_nothing_of_a_value_however_it_is_printed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.from_environment()
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error) + repr(error) + "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__
    with pytest.raises(ValidationError) as plain:
        settings()
    assert SECRET not in str(plain.value) + repr(plain.value)


# --- what is not documented is not there


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(field: str) -> None:
    row = re.search(rf"^\| `{variable(field)}` \| (.+?) \| .{{10,}} \|$", OPERATIONS.read_text(), re.M)
    assert row, f"docs/operations.md has no row for {variable(field)}"
    default = Settings.model_fields[field].default
    if default is not None:
        assert row[1] == f"`{default}`"


def test_the_documentation_names_no_setting_that_is_not_there() -> None:
    assert set(re.findall(r"RETRIEVALGUARD_[A-Z_]+[A-Z]", DOCS)) <= {
        variable(f) for f in Settings.model_fields
    }


def metric_names() -> list[str]:
    """As they are exposed: a counter ends in _total, what says something in _info."""
    endings = {"counter": "_total", "info": "_info"}
    return [found.name + endings.get(found.type, "") for found in Metrics().registry.collect()]


@pytest.mark.parametrize("name", metric_names())
def test_every_metric_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCS


def test_the_documentation_names_no_metric_that_is_not_there() -> None:
    assert set(re.findall(r"`(retrievalguard_[a-z_]+)`", DOCS)) <= set(metric_names())


def test_every_route_is_documented(demo_server: Server) -> None:
    for path, methods in demo_server.client.get("/openapi.json").json()["paths"].items():
        written = re.escape(re.sub(r"\{\w+_id\}", "{id}", path))
        for method in methods:
            assert re.search(rf"(`|{method.upper()} ){written}(`|$)", DOCS, re.M), f"{method.upper()} {path}"


@pytest.mark.parametrize("option", RetrieveOptions.model_fields)
def test_every_option_is_documented(option: str) -> None:
    assert f"`{option}`" in DOCS


PROBLEMS = [*Problem.__subclasses__(), *Unavailable.__subclasses__()]


@pytest.mark.parametrize("problem", sorted({kind.slug for kind in PROBLEMS} - {Problem.slug}))
def test_every_problem_is_documented(problem: str) -> None:
    assert f"`{problem}`" in DOCS

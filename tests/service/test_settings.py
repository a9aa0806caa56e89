"""Settings: the secret that is created once, and documentation that knows every name."""

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from service.errors import Problem, Unavailable
from service.metrics import Metrics
from service.retrieval.options import RetrieveOptions
from service.secret import noise_secret
from service.settings import Settings
from tests.service.processes import Server

DOCS = "\n".join(path.read_text() for path in sorted(Path(__file__).parents[2].glob("docs/*.md")))
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def settings(**given: Any) -> Settings:
    return Settings(**given)


def variable(field: str) -> str:
    return "REDIS_URL" if field == "redis_url" else f"RETRIEVALGUARD_{field.upper()}"


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
    {"samples": 1},
    {"samples": 200_000, "samples_limit": 100_000},
    {"label_weight": 1},
    {"label_weight": -0.1},
    {"label_weight": float("nan")},
    {"max_queries": 0},
    {"max_queued_samples": 0},
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
    """As they are exposed: a counter ends in _total."""
    metrics = Metrics().registry.collect()
    return [metric.name + ("_total" if metric.type == "counter" else "") for metric in metrics]


@pytest.mark.parametrize("name", metric_names())
def test_every_metric_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCS


def test_the_documentation_names_no_metric_that_is_not_there() -> None:
    assert set(re.findall(r"`(retrievalguard_[a-z_]+)`", DOCS)) <= set(metric_names())


def test_every_route_is_documented(demo_server: Server) -> None:
    for path, methods in demo_server.client.get("/openapi.json").json()["paths"].items():
        written = re.escape(path.replace("{item_id}", "{id}"))
        for method in methods:
            assert re.search(rf"(`|{method.upper()} ){written}(`|$)", DOCS, re.M), f"{method.upper()} {path}"


@pytest.mark.parametrize("option", RetrieveOptions.model_fields)
def test_every_option_is_documented(option: str) -> None:
    assert f"`{option}`" in DOCS


PROBLEMS = [*Problem.__subclasses__(), *Unavailable.__subclasses__()]


@pytest.mark.parametrize("problem", sorted({kind.slug for kind in PROBLEMS} - {Problem.slug}))
def test_every_problem_is_documented(problem: str) -> None:
    assert f"`{problem}`" in DOCS

"""What is wrong with a cluster that was asked for is told before Ray is started."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from retrievalguard.cluster import surroundings
from retrievalguard.cluster.command import wait
from retrievalguard.cluster.plan import ClusterPlan, Replicas, check_gallery, replicas, shared
from retrievalguard.preflight import CheckError
from service.settings import Settings
from tests.service.processes import run_cli


def test_how_many_replicas_there_are_to_be() -> None:
    assert replicas("2", "--api") == Replicas(2, 2)
    assert replicas("1:4", "--api") == Replicas(1, 4)
    for wrong in ("", "0", "4:1", "two", "1:2:3", ":3", "-1:2", "1.5"):
        with pytest.raises(CheckError, match="--samplers: "):
            replicas(wrong, "--samplers")


def test_api_replicas_on_several_machines_need_a_shared_gallery(tmp_path: Path) -> None:
    alone = Settings(data_dir=tmp_path, redis_url=None)
    together = alone.model_copy(update={"database_url": SecretStr("postgresql://a:b@c/d")})
    one, several = (
        ClusterPlan(Replicas(1, 1), Replicas(1, 4), False),
        ClusterPlan(Replicas(1, 2), Replicas(1, 4), False),
    )
    check_gallery(alone, one, 3)
    check_gallery(alone, several, 1)
    check_gallery(together, several, 3)
    with pytest.raises(CheckError, match="set DATABASE_URL"):
        check_gallery(alone, several, 2)


def test_places_mean_the_same_wherever_a_replica_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own-model").mkdir()
    given = Settings(
        data_dir=Path("data"), keys_file=Path("keys.json"), model="own-model", redis_url=None,
        secret=SecretStr("a secret of this test"),
    )  # fmt: skip
    found = shared(given)
    assert (found.data_dir, found.keys_file) == (tmp_path / "data", tmp_path / "keys.json")
    assert (found.model, found.jobs_root) == (str(tmp_path / "own-model"), None)
    assert shared(given.model_copy(update={"model": "digits-cnn"})).model == "digits-cnn"
    assert "a secret" not in repr(found)


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    ended = run_cli(tmp_path, "cluster", "--samplers", "many")
    assert ended.returncode == 1
    assert ended.stderr.strip() == "--samplers: many is neither a number, like 2, nor two, like 1:4"
    open_to_others = run_cli(tmp_path, "cluster", HOST="0.0.0.0", PORT="0")
    assert open_to_others.returncode == 1
    assert "there is no key yet" in open_to_others.stderr
    nowhere = {"DATABASE_URL": "postgresql://tests@127.0.0.1:1/gallery", "SECRET": "5" * 64, "PORT": "0"}
    away = run_cli(tmp_path, "cluster", **nowhere)
    assert away.returncode == 1
    assert "PostgreSQL at 127.0.0.1:1/gallery" in away.stderr


def test_the_token_of_a_ray_is_its_owners_and_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", *surroundings.EVERYWHERE, *surroundings.WHOLE_LOG):
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    token = tmp_path / "ray-token"
    token.write_text("of a start that was killed")
    with surroundings.for_own_ray(tmp_path):
        assert token.stat().st_mode & 0o777 == 0o600
        assert len(token.read_text()) == 64
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(token)
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.delenv(name)
        with surroundings.for_joined_ray(tmp_path):
            assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(token)
    assert not token.exists()
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    with surroundings.for_joined_ray(tmp_path):
        assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_a_ray_of_shards_alone_has_a_token_unless_it_was_started_by_somebody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process of its own that has none is refused: docs/log.md; Ray reads it when it is imported."""
    names = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", *surroundings.OURS)
    for name in names:
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    with monkeypatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        surroundings.for_shards()
        assert "RAY_AUTH_MODE" not in os.environ
    with monkeypatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", "theirs")
        surroundings.for_shards()
        assert "RAY_AUTH_TOKEN" not in os.environ
    surroundings.for_shards()
    first = os.environ["RAY_AUTH_TOKEN"]
    assert (os.environ["RAY_AUTH_MODE"], len(first)) == ("token", 64)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    surroundings.for_shards()
    assert os.environ["RAY_AUTH_TOKEN"] == first


def test_the_command_ends_with_an_error_when_its_ray_does() -> None:
    ray_here = pytest.importorskip("retrievalguard.cluster.ray_here", reason="the extra is not installed")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    running, ended = ray_here.Running("127.0.0.1:1", process), threading.Event()
    assert running.alive
    threading.Timer(0.2, process.kill).start()
    with pytest.raises(CheckError, match="Ray has ended"):
        wait(ended, lambda: running.alive)
    ended.set()
    wait(ended, lambda: True)  # somebody ended it: no error
    assert process.stdin is not None
    process.stdin.close()

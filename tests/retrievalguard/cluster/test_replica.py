"""A replica on a machine with another model or secret does not start: it would certify wrongly."""

import os
import shutil
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from index import ShardMissing, StoreUnreachable
from models import Calibration, EmbeddingModel
from models.manifest import MANIFEST
from models.model import model_folder
from retrievalguard.cluster.members import Member, Unfit
from retrievalguard.cluster.priority import NICER, give_way, giving_way
from retrievalguard.cluster.version import ClusterVersion
from service.metrics import Metrics
from service.retriever import Retriever
from service.settings import Settings
from tests.postgres import PostgresServer
from tests.service.processes import run_as

SECRET = "a secret of this file alone"


def settings(data: Path, model: str = "digits-cnn", secret: str = SECRET) -> Settings:
    return Settings.model_validate({"data_dir": data, "model": model, "secret": secret})


def version(secret: str = SECRET) -> ClusterVersion:
    """That of a cluster that serves the digits."""
    model = EmbeddingModel.load("digits-cnn")
    return Member(model, model.manifest.sigma, secret.encode(), Calibration.fixed(model)).version


def test_a_replica_with_another_model_does_not_start(tmp_path: Path) -> None:
    """Also where what differs is no part of the digest that samples have."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder("digits-cnn"), folder)
    manifest = EmbeddingModel.load("digits-cnn").manifest
    changed = manifest.model_copy(update={"sigma": manifest.sigma * 2})
    (folder / MANIFEST).write_text(changed.model_dump_json())
    with pytest.raises(Unfit, match="give all machines the same"):
        Member.of(settings(tmp_path, str(folder)), version())


def test_a_replica_with_another_secret_or_sigma_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="RETRIEVALGUARD_SECRET") as refused:
        Member.of(settings(tmp_path), version("that of the cluster"))
    assert SECRET not in str(refused.value)
    other = settings(tmp_path).model_copy(update={"sigma": 0.5})
    with pytest.raises(Unfit, match="the secret of this replica"):
        Member.of(other, version())


def test_a_replica_that_is_alike_is_of_that_version(tmp_path: Path) -> None:
    assert Member.of(settings(tmp_path), version()).version == version()


def test_versions_are_named_after_all_that_decides_samples() -> None:
    assert version().name == version().name
    assert version().name != version("another secret").name
    assert SECRET not in repr(version())


def test_work_that_gives_way_leaves_all_others_as_they_were() -> None:
    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = nice()
    assert giving_way(nice) == before + NICER
    assert nice() == before
    with pytest.raises(Unfit, match="as it was raised"):
        giving_way(fails)
    thread = threading.Thread(target=give_way)
    thread.start()
    thread.join()
    assert nice() == before


def fails() -> None:
    raise Unfit("as it was raised")


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_replica_that_starts_waits_for_a_gallery_that_is_away(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from retrievalguard.cluster.replica import patient

    given = settings(run_as("folded", tmp_path)).model_copy(
        update={"database_url": SecretStr(postgres_server.database()), "variant": "folded", "redis_url": None}
    )
    opened = partial(Retriever.open, given, metrics=Metrics())  # one for all tries
    opened().close()
    postgres_server.kill()
    try:
        threads = threading.active_count()
        with pytest.raises(StoreUnreachable):
            patient(opened, away=0.5, tried=0.1)
        assert threading.active_count() == threads  # nothing is left of those that failed
    finally:
        again = threading.Timer(1.5, postgres_server.start)
        again.start()
    with closing(patient(opened, away=20, tried=0.1)) as retriever:
        assert len(retriever.snapshot()) == 0
    again.join()


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_replica_that_starts_waits_for_a_shard_and_reading_takes_none_of_its_time() -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from retrievalguard.cluster.replica import patient

    tries = list[int]()

    def opened() -> Retriever:
        tries.append(len(tries))
        if len(tries) == 1:
            time.sleep(0.6)  # it reads, longer than a server may be away
        if len(tries) < 4:
            raise ShardMissing(1, ["no copy took a segment"])
        return ready

    ready = Retriever.__new__(Retriever)
    assert patient(opened, away=0.5, tried=0.01) is ready
    assert len(tries) == 4

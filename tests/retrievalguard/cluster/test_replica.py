"""An API replica on a machine with another model or secret does not start: it would certify wrongly."""

import shutil
from pathlib import Path

import pytest

from models import Calibration, EmbeddingModel
from models.manifest import MANIFEST
from models.model import model_folder
from retrievalguard.cluster.wire import Seals
from service.settings import Settings

replica = pytest.importorskip("retrievalguard.cluster.replica", reason="the extra `cluster` is not installed")

SECRET = "a secret of this file alone"


def settings(data: Path, model: str = "digits-cnn") -> Settings:
    return Settings.model_validate({"data_dir": data, "model": model, "secret": SECRET})


def opened(given: Settings, cluster_secret: str = SECRET) -> None:
    """As a replica of a cluster that serves the digits."""
    model = EmbeddingModel.load("digits-cnn")
    calibration = Calibration.fixed(model)
    statement = Seals(cluster_secret.encode(), calibration.digest, model.manifest.sigma).statement
    replica.application(given, calibration, statement, replica.model_here(model), "samplers-none", 1)


def test_a_replica_with_another_model_does_not_start(tmp_path: Path) -> None:
    """Also where what differs is no part of the digest that samples have."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder("digits-cnn"), folder)
    manifest = EmbeddingModel.load("digits-cnn").manifest
    changed = manifest.model_copy(update={"sigma": manifest.sigma * 2})
    (folder / MANIFEST).write_text(changed.model_dump_json())
    with pytest.raises(replica.UnfitReplica, match="give all machines the same"):
        opened(settings(tmp_path, str(folder)))


def test_a_replica_with_another_secret_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(replica.UnfitReplica, match="RETRIEVALGUARD_SECRET") as refused:
        opened(settings(tmp_path), "that of the cluster")
    assert SECRET not in str(refused.value)


def test_a_replica_that_is_alike_goes_on_to_its_samplers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reached(Exception):
        """The samplers are looked for."""

    def ask(samplers: str, seconds: float) -> None:
        raise Reached(samplers)

    monkeypatch.setattr(replica, "Ask", ask)
    with pytest.raises(Reached, match="samplers-none"):
        opened(settings(tmp_path))

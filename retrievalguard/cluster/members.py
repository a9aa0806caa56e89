"""A replica as a member of one version of a cluster: the same model, secret and σ, or it does not start."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from models import Calibration, EmbeddingModel, calibrated
from models.code import embedding_code
from retrievalguard.cluster.version import ClusterVersion
from retrievalguard.cluster.wire import Seals
from service.secret import noise_secret
from service.settings import Settings


class Unfit(Exception):
    """This machine is not as its cluster is, so that it does nothing; the message says what differs."""


@dataclass(frozen=True)
class Member:
    """What a machine computes samples with, or takes those of others for."""

    model: EmbeddingModel
    sigma: float
    secret: bytes
    calibration: Calibration

    @cached_property
    def seals(self) -> Seals:
        """Statements and seals of its version."""
        return Seals(self.secret, self.calibration.digest, self.sigma)

    @property
    def version(self) -> ClusterVersion:
        """The version that it is of."""
        return ClusterVersion(
            self.calibration.model_dump_json(), self.seals.statement, model_here(self.model)
        )

    @classmethod
    def first(cls, settings: Settings) -> Self:
        """The member that decides how the network is run: measured here, unless that is known."""
        model = EmbeddingModel.load(settings.model)
        sigma = settings.sigma or model.manifest.sigma
        found = calibrated(model, sigma, settings.variant, settings.data_dir / "calibration.json")
        return cls(model, sigma, noise_secret(settings.secret, settings.data_dir), found)

    @classmethod
    def of(cls, settings: Settings, version: ClusterVersion) -> Self:
        """A member of this version.

        Raises `Unfit` unless this machine has its model, under the same secret and σ: else samples of one
        network would be certified, decoded for and searched with what is known of another.
        """
        model = EmbeddingModel.load(settings.model)
        if model_here(model) != version.model:
            raise Unfit(
                f"the model folder {settings.model} or the program of this machine is not that of the cluster"
                ": give all machines the same. This replica does nothing"
            )
        member = cls(
            model,
            settings.sigma or model.manifest.sigma,
            noise_secret(settings.secret, settings.data_dir),
            Calibration.model_validate_json(version.calibration),
        )
        refusal = member.seals.refusal(version.statement)
        if refusal is not None:
            raise Unfit(
                f"the {refusal} of this replica is not that of the cluster: give all machines the same"
                " RETRIEVALGUARD_SECRET or RETRIEVALGUARD_SECRET_FILE. This replica does nothing"
            )
        return member


def model_here(model: EmbeddingModel) -> str:
    """What names `model` on every machine: its manifest, with the digest of its weights, and our code."""
    named = f"{model.manifest.model_dump_json()} code {embedding_code()}"
    return "sha256:" + hashlib.sha256(named.encode()).hexdigest()

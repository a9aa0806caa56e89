"""What all replicas of one version of a cluster are built of, as it is told without loading a network."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """Whose samples these are: the digest of h as it is computed, and a proof of secret and σ."""

    digest: str
    proof: bytes


@dataclass(frozen=True)
class ClusterVersion:
    """One version of a cluster.

    calibration  how samplers run the network, as JSON
    statement    what they state, under the secret of the cluster
    model        what names the model that replicas are to have (`members.model_here`)
    """

    calibration: str
    statement: Statement
    model: str

    @property
    def name(self) -> str:
        """Of its samplers: another model, way to run it, σ or secret has another."""
        return hashlib.sha256(self.statement.digest.encode() + self.statement.proof).hexdigest()[:12]

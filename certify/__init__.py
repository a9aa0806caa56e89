"""Statistics only: from samples of a noisy embedding and the gallery's vectors to a certified radius.

Belongs here: pure functions on numpy arrays, and their proofs in docs/certificate.md. Does not: torch, files,
networks, HTTP.
"""

from certify.certificate import Certificate, void
from certify.certifier import Certifier, certify
from certify.kernels import prepare
from certify.ledger import AlphaLedger
from certify.rivals import Rivals
from certify.rounding import round_down
from certify.rounds import DECISIVE, DOUBLING, QUARTER, horizon_for, rounds, settled
from certify.selection import selection_size
from certify.space import EmbeddingSpace
from certify.stacked import Stacked
from certify.terms import (
    ANYTIME,
    CLAIMS,
    GUARANTEES,
    LARGEST_HORIZON,
    METHODS,
    Claim,
    Guarantee,
    Method,
    Rule,
    Terms,
)
from certify.vectors import Vectors
from certify.votes import certify_votes

__all__ = [
    "ANYTIME",
    "CLAIMS",
    "DECISIVE",
    "DOUBLING",
    "GUARANTEES",
    "LARGEST_HORIZON",
    "METHODS",
    "QUARTER",
    "AlphaLedger",
    "Certificate",
    "Certifier",
    "Claim",
    "EmbeddingSpace",
    "Guarantee",
    "Method",
    "Rivals",
    "Rule",
    "Stacked",
    "Terms",
    "Vectors",
    "certify",
    "certify_votes",
    "horizon_for",
    "prepare",
    "round_down",
    "rounds",
    "selection_size",
    "settled",
    "void",
]

"""Statistics only: from samples of a noisy embedding and the gallery's vectors to a certified radius.

Pure functions on numpy arrays. Nothing here knows of torch, files, networks or HTTP.
"""

from certify.certificate import (
    GUARANTEES,
    METHODS,
    Certificate,
    Guarantee,
    Method,
    Terms,
    certify,
    certify_votes,
    selection_size,
)
from certify.ledger import AlphaLedger
from certify.listing import Listing
from certify.rounding import round_down
from certify.rounds import TARGET_HORIZON, rounds, settled
from certify.space import EmbeddingSpace

__all__ = [
    "GUARANTEES",
    "METHODS",
    "TARGET_HORIZON",
    "AlphaLedger",
    "Certificate",
    "EmbeddingSpace",
    "Guarantee",
    "Listing",
    "Method",
    "Terms",
    "certify",
    "certify_votes",
    "round_down",
    "rounds",
    "selection_size",
    "settled",
]

"""Statistics only: from samples of a noisy embedding and the gallery's vectors to a certified radius.

Pure functions on numpy arrays. Nothing here knows of torch, files, networks or HTTP.
"""

from certify.certificate import GUARANTEES, METHODS, Certificate, Guarantee, Method, certify, selection_size
from certify.ledger import AlphaLedger
from certify.listing import Listing
from certify.rounding import round_down
from certify.space import EmbeddingSpace

__all__ = [
    "GUARANTEES",
    "METHODS",
    "AlphaLedger",
    "Certificate",
    "EmbeddingSpace",
    "Guarantee",
    "Listing",
    "Method",
    "certify",
    "round_down",
    "selection_size",
]

"""Certified image retrieval: the nearest neighbour of an image, and the radius within which it cannot change.

    from retrievalguard import Retriever, Settings

    retriever = Retriever.open(Settings(data_dir="data"))
    answer = retriever.retrieve(open("query.png", "rb").read())
    print(answer.neighbor.id, answer.certificate.radius)

The public names are imported when they are first used: `import retrievalguard` itself loads neither torch nor
FAISS, and changes nothing in the program that imports it.

Belongs here: the public names, the command line, the commands of research, and clusters. Does not: logic.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certify import (
        AlphaLedger,
        Certificate,
        Certifier,
        EmbeddingSpace,
        Rivals,
        Terms,
        Vectors,
        certify,
        certify_votes,
        selection_size,
    )
    from models import EmbeddingModel, SmoothedModel, Stop
    from service.errors import Problem
    from service.retrieval.answer import RetrieveResponse
    from service.retrieval.options import RetrieveOptions
    from service.retriever import Retriever
    from service.settings import Settings

__version__ = version("retrievalguard")

# Where each public name lives.
_HOMES = {
    "AlphaLedger": "certify",
    "Certificate": "certify",
    "Certifier": "certify",
    "EmbeddingModel": "models",
    "EmbeddingSpace": "certify",
    "Problem": "service.errors",
    "RetrieveOptions": "service.retrieval.options",
    "RetrieveResponse": "service.retrieval.answer",
    "Retriever": "service.retriever",
    "Rivals": "certify",
    "Settings": "service.settings",
    "SmoothedModel": "models",
    "Stop": "models",
    "Terms": "certify",
    "Vectors": "certify",
    "certify": "certify",
    "certify_votes": "certify",
    "selection_size": "certify",
}

__all__ = [
    "AlphaLedger",
    "Certificate",
    "Certifier",
    "EmbeddingModel",
    "EmbeddingSpace",
    "Problem",
    "RetrieveOptions",
    "RetrieveResponse",
    "Retriever",
    "Rivals",
    "Settings",
    "SmoothedModel",
    "Stop",
    "Terms",
    "Vectors",
    "__version__",
    "certify",
    "certify_votes",
    "selection_size",
]


def __getattr__(name: str) -> Any:
    """A public name, from its home, at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return __all__

"""The service: HTTP, settings, cache and the `Retriever` that ties models, index and certify together.

`Retriever` knows nothing of HTTP: `Retriever.open(settings).retrieve(image)` works in-process.
"""

from service.decode import decode_image
from service.options import RetrieveOptions
from service.retriever import Retriever
from service.schemas import RetrieveResponse
from service.settings import Settings

__all__ = ["RetrieveOptions", "RetrieveResponse", "Retriever", "Settings", "decode_image"]

"""The client of a RetrievalGuard service, installable alone: extra `client`.

    from retrievalguard.client import Client

    answer = Client("http://127.0.0.1:8000").retrieve("picture.png")

`AsyncClient` is the same with `await`. Belongs here: what a program needs that asks a service over HTTP.
Does not: anything that imports another room of ours, or needs more than httpx.
"""

from retrievalguard.client.answers import (
    Answer,
    AnswerAttack,
    AnswerCertificate,
    AnswerExplanation,
    AnswerFileSteps,
    AnswerGallery,
    AnswerItem,
    AnswerModel,
    AnswerRound,
    AnswerTiming,
    AnswerWithin,
    GalleryItem,
    GalleryJob,
    GallerySummary,
    ItemChange,
    ItemPage,
    RefusedFile,
    RoundItem,
)
from retrievalguard.client.asynchronous import AsyncClient
from retrievalguard.client.blocking import Client
from retrievalguard.client.calls import Archive, Image, Options
from retrievalguard.client.refusals import (
    BadInput,
    ClientError,
    ConflictingChange,
    Forbidden,
    MissingItem,
    NoConnection,
    NotNow,
    ServiceBroken,
    ServiceProblem,
)

__all__ = [
    "Answer",
    "AnswerAttack",
    "AnswerCertificate",
    "AnswerExplanation",
    "AnswerFileSteps",
    "AnswerGallery",
    "AnswerItem",
    "AnswerModel",
    "AnswerRound",
    "AnswerTiming",
    "AnswerWithin",
    "Archive",
    "AsyncClient",
    "BadInput",
    "Client",
    "ClientError",
    "ConflictingChange",
    "Forbidden",
    "GalleryItem",
    "GalleryJob",
    "GallerySummary",
    "Image",
    "ItemChange",
    "ItemPage",
    "MissingItem",
    "NoConnection",
    "NotNow",
    "Options",
    "RefusedFile",
    "RoundItem",
    "ServiceBroken",
    "ServiceProblem",
]

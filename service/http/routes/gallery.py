"""The gallery as a whole."""

import numpy as np
from fastapi import APIRouter

from index import Snapshot
from service.http.dependencies import Service
from service.http.schemas import GalleryBody

router = APIRouter()


@router.get("/gallery")
def gallery(retriever: Service) -> GalleryBody:
    """Size, version and labels of the gallery."""
    snapshot = retriever.snapshot()
    return GalleryBody(
        version=snapshot.version,
        size=len(snapshot),
        damaged=len(retriever.gallery.damaged),
        labels=labels_of(snapshot),
    )


def labels_of(snapshot: Snapshot) -> dict[str, int]:
    """How many items each label has, by name."""
    counts = np.bincount(snapshot.labels, minlength=len(snapshot.label_names))
    found = ((snapshot.label_names[number], int(counts[number])) for number in np.flatnonzero(counts))
    return dict(sorted(found))

"""The gallery as a whole."""

import numpy as np
from fastapi import APIRouter

from service.http.dependencies import Service
from service.http.schemas import GalleryBody

router = APIRouter()


@router.get("/gallery")
def gallery(retriever: Service) -> GalleryBody:
    """Size, version and labels of the gallery."""
    snapshot = retriever.snapshot()
    counts = np.bincount(snapshot.labels, minlength=len(snapshot.label_names))
    found = ((snapshot.label_names[number], int(counts[number])) for number in np.flatnonzero(counts))
    labels, damaged = dict(sorted(found)), len(retriever.gallery.damaged)
    return GalleryBody(version=snapshot.version, size=len(snapshot), damaged=damaged, labels=labels)

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
    labels = {str(name): int(count) for name, count in zip(snapshot.label_names, counts, strict=True)}
    damaged = len(retriever.gallery.damaged)
    return GalleryBody(version=snapshot.version, size=len(snapshot), damaged=damaged, labels=labels)

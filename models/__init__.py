"""Embedding networks, their manifests, keyed noise and the Monte Carlo samples of a smoothed model.

Knows neither the gallery nor certificates nor HTTP: images and keys come in, arrays of embeddings go out.
"""

from models.datasets import DATASETS, ImageSet, digits
from models.manifest import Manifest, ModelError
from models.model import PRETRAINED, EmbeddingModel
from models.noise import CHUNK, KeyedNoise, Purpose
from models.smoothing import SmoothedModel
from models.training import Recipe, train

__all__ = [
    "CHUNK",
    "DATASETS",
    "PRETRAINED",
    "EmbeddingModel",
    "ImageSet",
    "KeyedNoise",
    "Manifest",
    "ModelError",
    "Purpose",
    "Recipe",
    "SmoothedModel",
    "digits",
    "train",
]

"""Embedding networks, their manifests, keyed noise and the Monte Carlo samples of a smoothed model.

Knows neither the gallery nor certificates nor HTTP: images and keys come in, arrays of embeddings go out.
"""

from models.calibration import Calibration, Measured, VariantError, calibrated
from models.datasets import DATASETS, ImageSet, digits
from models.line import LineFull
from models.manifest import Manifest, ModelError
from models.model import PRETRAINED, EmbeddingModel
from models.noise import CHUNK, KeyedNoise, Purpose
from models.smoothing import SmoothedModel
from models.stop import Stop
from models.training import Recipe, train

__all__ = [
    "CHUNK",
    "DATASETS",
    "PRETRAINED",
    "Calibration",
    "EmbeddingModel",
    "ImageSet",
    "KeyedNoise",
    "LineFull",
    "Manifest",
    "Measured",
    "ModelError",
    "Purpose",
    "Recipe",
    "SmoothedModel",
    "Stop",
    "VariantError",
    "calibrated",
    "digits",
    "train",
]

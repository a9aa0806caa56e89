"""Embedding networks, their manifests, keyed noise and the Monte Carlo samples of a smoothed model.

Belongs here: all that turns images and keys into arrays of embeddings. Does not: the gallery, certificates,
HTTP.

networks/  tensor -> embedding, and the space it provably maps into
passes/    the ways to run a network, and which of them is fastest here
sampling/  from pixels and a key to samples: the queue, the engine, the smoothed model
datasets/  labelled images, one file a data set
"""

from models.errors import ModelError
from models.gradients import SmoothedMargin, one_thread
from models.manifest import Domain, Manifest, Preprocessing
from models.model import PRETRAINED, EmbeddingModel, model_folder
from models.noise import CHUNK, KeyedNoise, Purpose, input_digest
from models.passes.calibration import Calibration, Measured, VariantError, calibrated
from models.recall import Recall
from models.sampling.smoothing import SmoothedModel
from models.shipped import ShippedVectors
from models.stop import Stop

__all__ = [
    "CHUNK",
    "PRETRAINED",
    "Calibration",
    "Domain",
    "EmbeddingModel",
    "KeyedNoise",
    "Manifest",
    "Measured",
    "ModelError",
    "Preprocessing",
    "Purpose",
    "Recall",
    "ShippedVectors",
    "SmoothedMargin",
    "SmoothedModel",
    "Stop",
    "VariantError",
    "calibrated",
    "input_digest",
    "model_folder",
    "one_thread",
]

"""Which forward pass is fastest here, measured once for a network and a machine, and remembered.

Chosen once, because each is a function of its own: changing it means another digest, other noise, and a
gallery that has to be embedded again.
"""

import os
import statistics
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from models.model import EmbeddingModel
from models.noise import CHUNK
from models.passes.openvino import VariantUnavailable
from models.passes.processor import processor
from models.passes.variants import BY_NAME, VARIANTS, ForwardPass, Variant

# A variant farther from the textbook has to be faster by this much; a larger batch by the second.
WORTHWHILE, WORTHWHILE_BATCH = 1.05, 1.05
# Mean distance (l2) from the float32 embedding above which a variant is another model rather than this one.
FAR = 0.05
# Chunks in a batch.
Batch = Literal[1, 2, 4, 8]
BATCHES: tuple[Batch, ...] = get_args(Batch)
TRIALS = 15


class VariantError(Exception):
    """The variant that was asked for does not exist, or cannot run here."""


class Measured(BaseModel):
    """One variant: how fast on one thread, and how far (l2) its embeddings are from float32; or why not."""

    model_config = ConfigDict(frozen=True)

    variant: str
    samples_per_second: float | None = None
    mean_distance: float | None = None
    largest_distance: float | None = None
    bias: float | None = None
    unavailable: str | None = None


class Calibration(BaseModel):
    """What was chosen, and why: `batch` in chunks, `digest` of the h that runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    batch: Batch
    digest: str
    reason: str
    measured: tuple[Measured, ...]
    machine: str

    @classmethod
    def fixed(cls, model: EmbeddingModel, variant: str = "eager", batch: Batch = 1) -> "Calibration":
        """This variant in this batch, without measuring anything. Raises `VariantUnavailable`."""
        digest = BY_NAME[variant].digest(model)
        return cls(
            variant=variant, batch=batch, digest=digest, reason="fixed", measured=(), machine=machine()
        )

    def build(self, model: EmbeddingModel) -> ForwardPass:
        """A forward pass for `batch` chunks, on the calling thread."""
        return BY_NAME[self.variant].build(model, self.batch * CHUNK)


def calibrated(model: EmbeddingModel, sigma: float, wanted: str | None, record: Path) -> Calibration:
    """The calibration in `record` if it is of this model and machine and what is `wanted`, else a new one.

    `wanted`: the name of a variant, None for the fastest. Raises `VariantError`.
    """
    if wanted is not None and wanted not in BY_NAME:
        raise VariantError(f"there is no variant {wanted!r}; there is: {', '.join(BY_NAME)}")
    try:
        found = Calibration.model_validate_json(record.read_bytes())
        variant = BY_NAME[found.variant]
        if (
            found.machine == machine()
            and wanted in (None, found.variant)
            and (wanted is not None or len(found.measured) == len(VARIANTS))
            and variant.digest(model) == found.digest
        ):
            return found
    except (OSError, ValidationError, KeyError, VariantUnavailable):
        pass  # none yet, or of another version: measured anew
    made = calibrate(model, sigma, wanted)
    record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Like all in the data folder, its owner's alone.
    with tempfile.NamedTemporaryFile("w", dir=record.parent, prefix=".calibration-", delete=False) as draft:
        draft.write(made.model_dump_json(indent=1) + "\n")
    os.replace(draft.name, record)
    return made


def calibrate(model: EmbeddingModel, sigma: float, wanted: str | None = None) -> Calibration:
    """Measure and choose, on the calling thread alone, on images with noise of `sigma`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images = _noisy_images(model, sigma)
        measured = _measure(model, images, wanted)
        chosen, reason = _choose(measured, wanted)
        batch, why = _batch(model, chosen, images)
    finally:
        torch.set_num_threads(threads)
    return Calibration(
        variant=chosen.name,
        batch=batch,
        digest=chosen.digest(model),
        reason=f"{reason}; {why}",
        measured=tuple(measured),
        machine=machine(),
    )


def machine() -> str:
    """What a measurement depends on besides the model: the processor and the libraries."""
    try:
        compiled = version("openvino")
    except PackageNotFoundError:
        compiled = "none"
    return f"{processor()}, torch {torch.__version__}, openvino {compiled}"


def _noisy_images(model: EmbeddingModel, sigma: float) -> NDArray[np.float32]:
    """As many as the largest batch holds: any pixels, with noise."""
    generator = np.random.default_rng(0)
    shape = (max(BATCHES) * CHUNK, *model.input_shape)
    noise = sigma * generator.standard_normal(shape)
    noisy: NDArray[np.float32] = (generator.random(shape) + noise).astype(np.float32)
    return noisy


def _measure(model: EmbeddingModel, images: NDArray[np.float32], wanted: str | None) -> list[Measured]:
    """In turns, so that whatever else the machine does meets all alike."""
    chunk = images[:CHUNK]
    exact = model(chunk)
    passes: dict[str, ForwardPass] = {}
    refused: dict[str, str] = {}
    for variant in VARIANTS if wanted is None else (BY_NAME[wanted],):
        try:
            variant.arithmetic(model)
            forward = variant.build(model, CHUNK)
            if _same_in_any_place(forward, chunk, forward(chunk)):
                passes[variant.name] = forward
            else:
                refused[variant.name] = "a row comes out otherwise in another place of its batch"
        except (
            VariantUnavailable,
            RuntimeError,
        ) as error:  # of a runtime that does not keep what it promises
            refused[variant.name] = str(error)
    times: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(TRIALS):
        for name, forward in passes.items():
            times[name].append(_seconds(forward, chunk))
    measured = [Measured(variant=name, unavailable=why) for name, why in refused.items()]
    for name, forward in passes.items():
        off = forward(chunk) - exact
        distances = np.linalg.norm(off, axis=1)
        measured.append(
            Measured(
                variant=name,
                samples_per_second=round(CHUNK / statistics.median(times[name]), 1),
                mean_distance=float(f"{distances.mean():.3g}"),
                largest_distance=float(f"{distances.max():.3g}"),
                bias=float(f"{np.linalg.norm(off.mean(axis=0)):.3g}"),
            )
        )
    return sorted(measured, key=lambda one: list(BY_NAME).index(one.variant))


def _choose(measured: list[Measured], wanted: str | None) -> tuple[Variant, str]:
    """The fastest variant that is near enough; among equals the one nearest to the textbook.

    Raises `VariantError` if there is none.
    """
    if wanted is not None:
        if measured[0].unavailable is not None:
            raise VariantError(f"variant {wanted} cannot run here: {measured[0].unavailable}")
        return BY_NAME[wanted], "asked for by RETRIEVALGUARD_VARIANT"
    best, fastest = None, 0.0
    for one in measured:
        if one.samples_per_second is None or one.mean_distance is None or not one.mean_distance <= FAR:
            continue
        if one.samples_per_second > fastest * WORTHWHILE:
            best, fastest = BY_NAME[one.variant], one.samples_per_second
    if best is None:
        why = "; ".join(f"{one.variant}: {one.unavailable or 'too far from float32'}" for one in measured)
        raise VariantError(f"no way to run the network can be used on this machine: {why}")
    eager = next(one for one in measured if one.variant == VARIANTS[0].name)
    ratio = fastest / (eager.samples_per_second or fastest)
    return best, f"the fastest of {len(measured)} measured here, {ratio:.2f}x eager float32"


def _batch(model: EmbeddingModel, variant: Variant, images: NDArray[np.float32]) -> tuple[Batch, str]:
    """The smallest batch about as fast as the best, of those in which each row comes out bit for bit.

    In a batch of one chunk it does: `_measure` takes no other variant.
    """
    alone = variant.build(model, CHUNK)
    rows = np.concatenate([alone(part) for part in np.split(images, max(BATCHES))])
    passes: dict[Batch, ForwardPass] = {1: alone}
    for batch in BATCHES[1:]:
        forward = variant.build(model, batch * CHUNK)
        some, expected = images[-batch * CHUNK :], rows[-batch * CHUNK :]
        if np.array_equal(forward(some), expected) and _same_in_any_place(forward, some, expected):
            passes[batch] = forward
    times: dict[Batch, list[float]] = {batch: [] for batch in passes}
    for _ in range(TRIALS):
        for batch, forward in passes.items():
            times[batch].append(_seconds(forward, images[: batch * CHUNK]) / batch)
    spent = {batch: statistics.median(found) for batch, found in times.items()}
    chosen: Batch = min(batch for batch in spent if spent[batch] <= min(spent.values()) * WORTHWHILE_BATCH)
    return chosen, f"batches of {chosen * CHUNK}, the smallest that are as fast as the best of {len(spent)}"


def _same_in_any_place(forward: ForwardPass, images: NDArray[np.float32], rows: NDArray[np.float32]) -> bool:
    """Whether the embeddings `rows` (B, d) of `images` are the same, bit for bit, with the images shuffled.

    Kernels work on rows in groups, with other instructions for what is left over: so every row changes its
    place, and not only from chunk to chunk.
    """
    cycle = np.random.default_rng(0).permutation(len(images))
    order = np.empty_like(cycle)
    order[cycle] = np.roll(cycle, 1)  # one cycle through all places: no row keeps its own
    return np.array_equal(forward(images[order]), rows[order])


def _seconds(forward: ForwardPass, images: NDArray[np.float32]) -> float:
    started = time.perf_counter()
    forward(images)
    return time.perf_counter() - started

"""Which forward pass is fastest here, measured once for a network and a machine, and remembered.

Chosen once, because each is a function of its own: changing it means another digest, other noise, and a
gallery that has to be embedded again.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from models.model import EmbeddingModel
from models.noise import chunk_size
from models.passes.cuda import Batch, DevicePass
from models.passes.gpu import gpu
from models.passes.openvino import Ranges, in_a_line
from models.passes.pictures import noisy, pictures
from models.passes.processor import processor
from models.passes.unavailable import VariantUnavailable
from models.passes.variants import BY_NAME, INT8, VARIANTS, ForwardPass, Variant, with_ranges

# A variant farther from the textbook has to be faster by this much; a larger batch by the second.
WORTHWHILE, WORTHWHILE_BATCH = 1.05, 1.05
# The share of float32's certified radius that a variant has to keep. How far its embeddings are from those of
# float32 tells little: a backbone whose embeddings moved by .07 in int8 certified as much as before.
KEPT = 0.9
# Chunks in a batch on a CPU.
BATCHES: tuple[Batch, ...] = (1, 2, 4, 8)
# Pictures that are told apart to see what a variant keeps, and the least number of noisy copies of each: all
# variants see the same noise, so that a few do, and a large network takes seconds for each.
ITEMS, COPIES = max(BATCHES), 4
# Timed runs of each variant: so many, or, once there are a few, for so long altogether.
TRIALS, FEW_TRIALS, TRIAL_SECONDS = 15, 2, 5.0
# A chunk that takes longer fills a core: larger batches are not tried.
LONG_SECONDS = 0.1


# What passes are told apart by.
Key = TypeVar("Key")


class VariantError(Exception):
    """The variant that was asked for does not exist, or cannot run here."""


class Measured(BaseModel):
    """One variant: how fast on one thread, and how far (l2) its embeddings are from float32; or why not.

    `radius_kept`: its certified radius, about, over that of float32.
    """

    model_config = ConfigDict(frozen=True)

    variant: str
    samples_per_second: float | None = None
    mean_distance: float | None = None
    largest_distance: float | None = None
    bias: float | None = None
    radius_kept: float | None = None
    unavailable: str | None = None


class Calibration(BaseModel):
    """What was chosen, and why: `batch` in chunks, `digest` of the h that runs, `ranges` of its int8.

    `probe`: what the pass gives for some pictures, on a GPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    batch: Batch
    digest: str
    reason: str
    measured: tuple[Measured, ...]
    machine: str
    ranges: Ranges | None = None
    probe: str | None = None

    @property
    def samples_per_second(self) -> float | None:
        """Of what was chosen, on one thread or GPU; None if it was not measured."""
        return next((one.samples_per_second for one in self.measured if one.variant == self.variant), None)

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on GPUs."""
        return BY_NAME[self.variant].on_gpu

    @classmethod
    def fixed(cls, model: EmbeddingModel, variant: str = "eager", batch: Batch = 1) -> "Calibration":
        """This variant, on a CPU in this batch, without measuring anything. Raises `VariantUnavailable`."""
        if variant == INT8:
            model = with_ranges(model, model.manifest.sigma)
        runs = BY_NAME[variant]
        if runs.on_gpu:
            batch = runs.least_batch(model.input_shape)
        return cls(
            variant=variant, batch=batch, digest=runs.digest(model), reason="fixed", measured=(),
            machine=machine(), ranges=model.ranges,
        )  # fmt: skip

    def build(self, model: EmbeddingModel, batch: int | None = None) -> ForwardPass:
        """A forward pass for `batch` chunks (default: as chosen), on the calling thread.

        Each row comes out the same, bit for bit, in a batch of one chunk and in the one that was chosen: on a
        GPU, because these are the same batch, filled up. Raises `VariantError` if the GPU does not compute as
        when it was measured.
        """
        batch = self.batch if batch is None or self.on_gpu else batch
        forward = BY_NAME[self.variant].build(self._ranged(model), batch * chunk_size(model.input_shape))
        if self.probe is not None and _probe(forward) != self.probe:
            raise VariantError(
                "the GPU computes otherwise than when it was calibrated, perhaps for want of memory: free"
                " some and start again, or delete calibration.json, after which the gallery is embedded anew"
            )
        return forward

    def fits(self, model: EmbeddingModel) -> bool:
        """Whether this is of `model`, as this version of the program runs it. Raises `VariantUnavailable`."""
        runs = BY_NAME[self.variant]
        known = not runs.on_gpu or self.batch == runs.least_batch(model.input_shape)
        return known and runs.digest(self._ranged(model), self.probe) == self.digest

    def _ranged(self, model: EmbeddingModel) -> EmbeddingModel:
        return EmbeddingModel(model.manifest, model.network, self.ranges)


def calibrated(model: EmbeddingModel, sigma: float, wanted: str | None, record: Path) -> Calibration:
    """The calibration in `record` if it is of this model and machine and what is `wanted`, else a new one.

    `wanted`: the name of a variant, None for the fastest. Raises `VariantError`.
    """
    if wanted is not None and wanted not in BY_NAME:
        raise VariantError(f"there is no variant {wanted!r}; there is: {', '.join(BY_NAME)}")
    try:
        found = Calibration.model_validate_json(record.read_bytes())
        if (
            found.machine == machine()
            and wanted in (None, found.variant)
            and (wanted is not None or len(found.measured) == len(VARIANTS))
            and found.fits(model)
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
    # Only what is measured anyway: converting a large network takes a while.
    if wanted in (None, INT8):
        with suppress(VariantUnavailable):  # then int8 is unavailable, and says so
            model = with_ranges(model, sigma)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images = _noisy_images(model, sigma)
        measured = _measure(model, sigma, images, wanted)
        chosen, reason = _choose(measured, wanted)
        chunk = chunk_size(model.input_shape)
        speed = next(one.samples_per_second for one in measured if one.variant == chosen.name)
        batch = chosen.least_batch(model.input_shape)
        why = f"batches of {batch * chunk}, which fill a {'GPU' if chosen.on_gpu else 'core'}"
        if not chosen.on_gpu and (speed is None or chunk / speed <= LONG_SECONDS):
            batch, why = _batch(model, chosen, images)
        probe = _probe(chosen.build(model, batch * chunk)) if chosen.on_gpu else None
    finally:
        torch.set_num_threads(threads)
    return Calibration(
        variant=chosen.name,
        batch=batch,
        digest=chosen.digest(model, probe),
        reason=f"{reason}; {why}",
        measured=tuple(measured),
        machine=machine(),
        ranges=model.ranges if chosen.name == INT8 else None,
        probe=probe,
    )


def machine() -> str:
    """What a measurement depends on besides the model: the processor, the GPU and the libraries."""
    try:
        compiled = version("openvino")
    except PackageNotFoundError:
        compiled = "none"
    return f"{processor()}, {gpu()}, torch {torch.__version__}, openvino {compiled}"


def _probe(forward: ForwardPass) -> str | None:
    return forward.probe() if isinstance(forward, DevicePass) else None


def _noisy_images(model: EmbeddingModel, sigma: float) -> NDArray[np.float32]:
    """As many as the largest batch holds: `ITEMS` pictures, again and again, with noise."""
    return noisy(pictures(model.input_shape, ITEMS), chunk_size(model.input_shape), sigma)


def _measure(
    model: EmbeddingModel, sigma: float, images: NDArray[np.float32], wanted: str | None
) -> list[Measured]:
    """In turns, so that whatever else the machine does meets all alike.

    Raises `VariantError` if the network tells nothing apart.
    """
    chunk = chunk_size(model.input_shape)
    images = images[: max(chunk, ITEMS * COPIES)]
    exact = _rows(model, images, chunk)
    radius = _radius(exact, sigma)
    if not radius > 0:
        raise VariantError(
            "the network gives all pictures the same embedding, so that it tells nothing apart: train it, or"
            " import another"
        )
    passes: dict[str, tuple[ForwardPass, NDArray[np.float32]]] = {}
    rows: dict[str, NDArray[np.float32]] = {}
    refused: dict[str, str] = {}
    for variant in VARIANTS if wanted is None else (BY_NAME[wanted],):
        try:
            variant.arithmetic(model)
            batch = chunk * variant.least_batch(model.input_shape)
            forward = variant.build(model, batch)
            rows[variant.name] = exact if forward is model else _rows(forward, images, chunk)
            filled = np.arange(batch) % len(images)
            if _same_in_any_place(forward, images[filled], rows[variant.name][filled]):
                passes[variant.name] = forward, images[filled]
            else:
                refused[variant.name] = "a row comes out otherwise in another place of its batch"
        except (
            VariantUnavailable,
            RuntimeError,
        ) as error:  # of a runtime that does not keep what it promises
            refused[variant.name] = in_a_line(error)
    times = _timed(passes)
    measured = [Measured(variant=name, unavailable=why) for name, why in refused.items()]
    for name, (forward, batch_images) in passes.items():
        off = rows[name] - exact
        distances = np.linalg.norm(off, axis=1)
        measured.append(
            Measured(
                variant=name,
                samples_per_second=float(f"{len(batch_images) / times[name]:.4g}"),
                mean_distance=float(f"{distances.mean():.3g}"),
                largest_distance=float(f"{distances.max():.3g}"),
                bias=float(f"{np.linalg.norm(off.mean(axis=0)):.3g}"),
                radius_kept=1.0 if forward is model else float(f"{_radius(rows[name], sigma) / radius:.3g}"),
            )
        )
    return sorted(measured, key=lambda one: list(BY_NAME).index(one.variant))


def _rows(forward: ForwardPass, images: NDArray[np.float32], chunk: int) -> NDArray[np.float32]:
    return np.concatenate([forward(part) for part in np.split(images, len(images) // chunk)])


def _radius(rows: NDArray[np.float32], sigma: float) -> float:
    """About what radius a picture has against the one nearest to it, in the mean over all pictures.

    `rows` (copies * ITEMS, d) as `_noisy_images` orders them. A margin, how much nearer a sample is to its
    own picture than to the other, is about normal under the noise; its mean over its deviation, times σ, is
    the radius of a certificate from samples without end.
    """
    copies = rows.reshape(-1, ITEMS, rows.shape[1]).astype(np.float64)
    means = copies.mean(axis=0)
    apart = means[:, None] - means[None]
    distances = np.linalg.norm(apart, axis=2)
    np.fill_diagonal(distances, np.inf)
    rivals = distances.argmin(axis=1)
    margins = np.einsum("cid,id->ci", copies - means, apart[np.arange(ITEMS), rivals])
    deviations = np.maximum(margins.std(axis=0), np.finfo(np.float64).tiny)
    return float(np.mean(sigma * distances.min(axis=1) ** 2 / 2 / deviations))


def _timed(passes: Mapping[Key, tuple[ForwardPass, NDArray[np.float32]]]) -> dict[Key, float]:
    """The median of the seconds that each pass takes for its images, in turns."""
    times: dict[Key, list[float]] = {key: [] for key in passes}
    started = time.perf_counter()
    for trial in range(TRIALS):
        if trial >= FEW_TRIALS and time.perf_counter() - started > TRIAL_SECONDS:
            break
        for key, (forward, images) in passes.items():
            times[key].append(_seconds(forward, images))
    return {key: statistics.median(found) for key, found in times.items()}


def _choose(measured: list[Measured], wanted: str | None) -> tuple[Variant, str]:
    """The fastest variant that certifies about as much; among equals the one nearest to the textbook.

    Raises `VariantError` if there is none.
    """
    if wanted is not None:
        if measured[0].unavailable is not None:
            raise VariantError(f"variant {wanted} cannot run here: {measured[0].unavailable}")
        return BY_NAME[wanted], "asked for by RETRIEVALGUARD_VARIANT"
    best, fastest = None, 0.0
    for one in measured:
        if one.samples_per_second is None or one.radius_kept is None or not one.radius_kept >= KEPT:
            continue
        if one.samples_per_second > fastest * WORTHWHILE:
            best, fastest = BY_NAME[one.variant], one.samples_per_second
    if best is None:
        why = "; ".join(
            f"{one.variant}: {one.unavailable or 'its certificates are smaller'}" for one in measured
        )
        raise VariantError(f"no way to run the network can be used on this machine: {why}")
    eager = next((one.samples_per_second for one in measured if one.variant == VARIANTS[0].name), None)
    ratio = f", {fastest / eager:.2f}x eager float32" if eager else ""
    return best, f"the fastest of {len(measured)} measured here{ratio}"


def _batch(model: EmbeddingModel, variant: Variant, images: NDArray[np.float32]) -> tuple[Batch, str]:
    """The smallest batch about as fast as the best, of those in which each row comes out bit for bit.

    In a batch of one chunk it does: `_measure` takes no other variant.
    """
    chunk = chunk_size(model.input_shape)
    alone = variant.build(model, chunk)
    rows = _rows(alone, images, chunk)
    passes: dict[Batch, ForwardPass] = {1: alone}
    for batch in BATCHES[1:]:
        forward = variant.build(model, batch * chunk)
        some, expected = images[-batch * chunk :], rows[-batch * chunk :]
        if np.array_equal(forward(some), expected) and _same_in_any_place(forward, some, expected):
            passes[batch] = forward
    times = _timed({batch: (forward, images[: batch * chunk]) for batch, forward in passes.items()})
    spent = {batch: seconds / batch for batch, seconds in times.items()}
    chosen: Batch = min(batch for batch in spent if spent[batch] <= min(spent.values()) * WORTHWHILE_BATCH)
    return chosen, f"batches of {chosen * chunk}, the smallest that are as fast as the best of {len(spent)}"


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
    if isinstance(forward, DevicePass):
        forward.again()  # samplers make their images where the pass is
    else:
        forward(images)
    return time.perf_counter() - started

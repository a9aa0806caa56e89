"""A checked query: what was asked, with the defaults and limits of the installation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certify import ANYTIME, Terms, horizon_for
from index import Filter, FilterError, read_filter
from models import SmoothedModel
from models.noise import on_grid
from service.errors import InvalidOption
from service.images import input_tensor
from service.retrieval.options import RetrieveOptions
from service.settings import Settings

# Among how many items the answer has to stay, if a client does not say.
WITHIN_K = 5
# The noise may take half of alpha.
MOST_FOR_NOISE = 2


@dataclass(frozen=True)
class Query:
    """The input tensor (C, H, W) on the grid, what was asked of it, and the most samples it may cost.

    `min_gain`: a share by which many more samples have to be expected to raise the radius. `filter`: which
    items answer, None for all.
    """

    image: NDArray[np.float32]
    options: RetrieveOptions
    terms: Terms
    samples: int
    min_gain: float
    filter: Filter | None


def checked(
    image: NDArray[np.floating], options: RetrieveOptions, settings: Settings, smoothed: SmoothedModel
) -> Query:
    """The query; `image` (C, H, W) in float32 or float64, as it was given.

    Raises `PixelsInvalid`, or `InvalidOption`: it names an option over its limit, or two that do not go
    together.
    """
    pixels = input_tensor(image, smoothed.model.input_shape)
    samples = options.max_samples or settings.samples
    within = options.guarantee == "within"
    within_k = (options.within_k or min(WITHIN_K, settings.top_k_limit)) if within else 1
    for option, value, limit in (
        ("max_samples", samples, settings.samples_limit),
        ("top_k", options.top_k, settings.top_k_limit),
        ("within_k", within_k, settings.top_k_limit),
    ):
        if value > limit:
            raise InvalidOption((option, f"must be at most {limit} here"))
    if options.rule == "vote" and options.method != "cdf":
        raise InvalidOption(("method", f"rule vote has the method cdf only, got {options.method}"))
    if options.rule == "vote" and within:
        raise InvalidOption(("guarantee", "rule vote has the guarantees label and item, got within"))
    if (options.within_k or 1) > 1 and not within:
        raise InvalidOption(("within_k", f"goes with guarantee within, got {options.guarantee}"))
    if options.rule == "vote" and options.explain:
        raise InvalidOption(("explain", "rule vote has no rival by distance: leave it out"))
    for option in ("target_radius", "deadline_ms"):
        if getattr(options, option) is not None and options.method not in ANYTIME:
            raise InvalidOption(
                (option, f"method {options.method} holds for one number of samples: ask for cdf")
            )
    wanted = _filter(options, settings)
    # Queries that differ in max_samples are readings of one test: each pays for the noise of all of it.
    alpha, noise = options.alpha or settings.alpha, smoothed.noise_distance(settings.samples_limit)
    if noise * MOST_FOR_NOISE > alpha:
        least = f"must be at least {least_alpha(settings, smoothed):g} here"
        why = f"the noise of {settings.samples_limit} samples is Gaussian but for {noise:.2g}"
        raise InvalidOption(("alpha", f"{least}: {why}"))
    terms = Terms(
        sigma=smoothed.sigma,
        alpha=alpha,
        guarantee=options.guarantee,
        method=options.method,
        horizon=horizon_for(samples, options.target_radius),
        target=options.target_radius,
        blur=smoothed.blur,
        within_k=within_k,
        comparisons=settings.max_comparisons,
        noise=noise,
    )
    min_gain = settings.min_gain if options.min_gain is None else options.min_gain
    # One point of the grid, one query: its noise, its samples and its answers.
    return Query(on_grid(pixels, smoothed.sigma), options, terms, samples, min_gain, wanted)


def least_alpha(settings: Settings, smoothed: SmoothedModel) -> float:
    """The smallest alpha that is answered, to three digits, or a little more."""
    return float(f"{smoothed.noise_distance(settings.samples_limit) * MOST_FOR_NOISE * 1.01:.3g}")


def _filter(options: RetrieveOptions, settings: Settings) -> Filter | None:
    if options.filter is None:
        return None
    try:
        return read_filter(
            options.filter,
            most_conditions=settings.max_filter_conditions,
            most_values=settings.max_filter_values,
        )
    except FilterError as error:
        raise InvalidOption(("filter", str(error))) from error

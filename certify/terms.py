"""What a certificate is asked for."""

from dataclasses import dataclass
from typing import Literal, get_args

# About half a second of one core.
COMPARISONS = 100_000_000

# What a rival may not take from the answer: its label, or its place. Each has a test of its own.
Claim = Literal["label", "item"]
Guarantee = Literal["label", "item", "within"]
Method = Literal["cdf", "mean", "bisector", "paper"]
Rule = Literal["embedding", "vote"]
CLAIMS: tuple[Claim, ...] = get_args(Claim)
GUARANTEES: tuple[Guarantee, ...] = get_args(Guarantee)
METHODS: tuple[Method, ...] = get_args(Method)
# Methods that bet: their certificates hold together, at every number of samples at which they are read.
ANYTIME: tuple[Method, ...] = ("cdf", "mean")
# The most samples that a certificate may be planned for, or read from: the rounding that is taken off what is
# won is proven for so many (docs/certificate.md, Numbers).
LARGEST_HORIZON = 10_000_000


@dataclass(frozen=True)
class Terms:
    """What a certificate is asked for.

    sigma      standard deviation of the noise, in pixels
    alpha      probability that the claim may be wrong
    noise      how far the noise of all samples that may be drawn is from Gaussian, in total variation: a
               part of alpha that is spent on it
    guarantee  what was asked for: the answer keeps its label, stays the nearest item, or stays among the
               `within_k` nearest; its claim gets most of alpha
    method     the bound
    horizon    number of samples at which the radius should be best; None: none is fixed, the radius is about
               as good as it can be whenever it is read (`certify.blocks`)
    target     the only radius that matters, in pixels; None: the largest possible
    blur       what the query may differ in l2 norm from the one that was posted, which all radii are
               reduced by
    within_k   k, how many items are near enough for guarantee `within`; 1 for all others
    comparisons  how many times a rival may be compared with a sample, beyond the nearest rivals and the
               clusters of all others; with more the radius may be larger
    """

    sigma: float
    alpha: float
    guarantee: Guarantee = "label"
    method: Method = "cdf"
    horizon: int | None = None
    target: float | None = None
    blur: float = 0.0
    within_k: int = 1
    comparisons: int = COMPARISONS
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"sigma must be positive and finite, got {self.sigma}")
        if self.noise and not 0 <= self.noise < self.alpha:
            raise ValueError(f"the noise takes {self.noise:g} of alpha = {self.alpha:g}: raise alpha")
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; there is: {', '.join(METHODS)}")
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"the horizon must be at least 1 sample, got {self.horizon}")
        if self.horizon is not None and self.horizon > LARGEST_HORIZON:
            raise ValueError(f"the horizon must be at most {LARGEST_HORIZON} samples, got {self.horizon}")
        if not 0 <= self.blur < float("inf"):
            raise ValueError(f"blur must be finite and not negative, got {self.blur}")
        if self.target is not None and not 0 < self.target < float("inf"):
            raise ValueError(f"the target radius must be positive and finite, got {self.target}")
        if self.within_k < 1 or (self.within_k > 1 and self.guarantee != "within"):
            raise ValueError(f"within_k must be 1, or more with guarantee within, got {self.within_k}")

    @property
    def claim(self) -> Claim:
        """The claim that the guarantee is about."""
        return "label" if self.guarantee == "label" else "item"

    @property
    def anytime(self) -> bool:
        """Whether the certificate may be read after every round of samples."""
        return self.method in ANYTIME

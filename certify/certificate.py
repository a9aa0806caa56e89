"""What is claimed of one answer: `Certificate`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from certify.rounding import round_down
from certify.selection import SELECTION, selection_size
from certify.terms import LARGEST_HORIZON, Claim, Terms


@dataclass(frozen=True)
class Certificate:
    """What is claimed of one answer, with probability >= 1 - alpha over the Monte Carlo samples.

    For every perturbation of the query of l2 norm < `label_radius` (`item_radius`), in pixels of the model
    input, the answer keeps its label (stays the same item). For every one of l2 norm < `within_radius`
    (`label_within_radius`) the item (some item of its label) stays among the `terms.within_k` nearest. A
    radius of 0 claims nothing; infinity says that the gallery holds too few rivals. `reason` says why the
    radius of the guarantee that was asked for is 0, or less than the target; else it is None. `expected` is
    the radius that the samples let one expect after `horizon` of them, or without one after about four times
    as many as these; it claims nothing.
    """

    terms: Terms
    label_radius: float
    item_radius: float
    label_within_radius: float
    within_radius: float
    expected: float
    samples: int
    ledger: dict[str, float]
    reason: str | None

    @property
    def radius(self) -> float:
        """The radius of the guarantee that was asked for."""
        return {
            "label": self.label_radius,
            "item": self.item_radius,
            "within": self.within_radius,
        }[self.terms.guarantee]


@dataclass(frozen=True)
class Radii:
    """Those of one claim, in pixels: no rival gets ahead within `first`, and fewer than k within `within`."""

    first: float
    within: float


def void(terms: Terms, n: int, reason: str) -> Certificate:
    """A certificate that claims nothing."""
    return Certificate(terms, 0.0, 0.0, 0.0, 0.0, 0.0, n, {}, reason)


def too_many(n: int) -> str | None:
    """Why nothing can be certified with `n` samples, if there are too many."""
    if n <= LARGEST_HORIZON:
        return None
    return f"{n} samples are more than the {LARGEST_HORIZON} for which rounding is bounded: lower max_samples"


def issued(
    terms: Terms,
    n: int,
    radii: Mapping[Claim, Radii],
    expected: Mapping[Claim, float],
    ledger: Mapping[str, float],
) -> Certificate:
    """The certificate of `radii` that hold and some that are `expected`, before `blur` and rounding.

    A claim that has none is one that the first samples and all disagree on. The same item is the same label.
    """
    nothing = Radii(0.0, 0.0)
    of_item, of_label = radii.get("item", nothing), radii.get("label", nothing)
    item, within = round_down(of_item.first - terms.blur), round_down(of_item.within - terms.blur)
    certificate = Certificate(
        terms,
        label_radius=max(round_down(of_label.first - terms.blur), item),
        item_radius=item,
        label_within_radius=max(round_down(of_label.within - terms.blur), within),
        within_radius=within,
        expected=max(expected.get(terms.claim, 0.0) - terms.blur, 0.0),
        samples=n,
        ledger=dict(ledger),
        reason=None,
    )
    return replace(certificate, reason=_reason(terms, n, certificate.radius, claimed=terms.claim in radii))


def _reason(terms: Terms, n: int, radius: float, *, claimed: bool) -> str | None:
    """Why the `radius` of the guarantee that was asked for is 0, or below the target."""
    if radius == 0 and not claimed:
        first = f"the first {selection_size(n)} samples"
        return f"{first} and all {n} disagree on the {terms.claim} of the answer"
    if radius == 0 and terms.anytime and n <= SELECTION:
        return (
            f"the first {SELECTION} samples only choose what to certify: raise max_samples, to 256 at least"
        )
    if terms.target is not None and radius < terms.target:
        return (
            f"the target radius {terms.target:g} was not certified from {n} samples, and bets for a target"
            " win little below it: ask without target_radius for the largest radius"
        )
    if radius == 0:
        return f"a rival is too close to tell at alpha = {terms.alpha:g} from {n} samples: raise max_samples"
    return None

"""From samples and rivals to one answer's certificate: `certify`, and `Certifier` for several looks."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from certify.ball import mean_ball
from certify.bisector import bisector_radius
from certify.certificate import Certificate, Radii, issued, too_many, void
from certify.claims import claimed, sequential_test
from certify.ledger import AlphaLedger
from certify.paper import lipschitz, paper_radius
from certify.points import Points
from certify.rivals import Rivals
from certify.selection import selection_size
from certify.sequential import SequentialTest
from certify.space import EmbeddingSpace
from certify.terms import CLAIMS, Claim, Terms

Array = NDArray[np.float64]
Field = Mapping[Claim, Rivals]


class Certifier:
    """The certificates of one answer by rule `embedding`, method `cdf` or `mean`, look after look.

    Each look reuses what earlier ones computed, and gives the certificate that it would give alone, to the
    last bit. All certificates of one sequence of samples by the same terms hold together with probability
    1 - alpha, with a horizon and without: bets are chosen from earlier samples and positions alone. So it
    does not matter which looks are taken, nor how many samples there are in the end. The first SELECTION
    samples choose; at a look at no more than these nothing is certified.

    field  the winners and rivals of each claim, centred on the mean of the first `selection_size(n)`
           samples and chosen with these alone. A claim without any gets radius 0.
    """

    def __init__(self, field: Field, space: EmbeddingSpace, terms: Terms) -> None:
        if not terms.anytime:
            raise ValueError(f"method {terms.method} holds for one number of samples only: use certify")
        self.field, self.space, self.terms = field, space, terms
        self._ledger = AlphaLedger(terms.alpha, terms.noise)
        self._tests: dict[Claim, SequentialTest] = {}
        # Samples looked at before, all of them in the space.
        self._known = 0

    def certificate(self, samples: NDArray[np.floating], claims: Collection[Claim] = CLAIMS) -> Certificate:
        """Certify with `samples` (n, d), n >= 2, which begin with those of all earlier looks.

        claims  what may be claimed now. Any other claim gets radius 0 at this look, and is as if it had no
                rivals given: the answer that is served is not the one that the selection chose.

        Raises `ValueError` on fewer samples than before, or than 2, or if rivals are not centred on the
        selection mean.
        """
        selected, n = _selected(samples), len(samples)
        if n < self._known:
            raise ValueError(f"a look at {n} samples after one at {self._known}: looks only grow")
        fault = too_many(n) or _fault(samples[self._known :], self.field, self.space)
        if fault is not None:
            return void(self.terms, n, fault)
        exact = np.ascontiguousarray(samples, dtype=np.float64)
        _check_centres(exact[:selected], self.field)
        self._known = n
        reached = {}
        points = Points.of(exact, exact[:selected].mean(axis=0))
        for claim, rivals in self.field.items():
            if claim not in claims:
                continue
            if claim not in self._tests:
                pairs, crowd, selection = rivals.divided(exact[:selected], self.space)
                self._tests[claim] = sequential_test(
                    claim, pairs, selection, self.terms, self._ledger, crowd=crowd
                )
            reached[claim] = self._tests[claim].reached(points)
        return claimed(self.terms, n, reached, self._ledger)


def certify(samples: NDArray[np.floating], field: Field, space: EmbeddingSpace, terms: Terms) -> Certificate:
    """Certify rule `embedding`: that the item nearest to g(x) keeps its label, and stays the same item.

    samples   (n, d): h(x + σz_i), n >= 2 independent draws, in the order in which they were drawn
    field     the winners and rivals of each claim, centred on the mean of the first `selection_size(n)`
              samples and chosen with these alone. A claim that is missing gets radius 0: the answer
              that is served is not the one that the selection chose.

    Methods `mean` and `cdf` bet on margins of pairs that the first samples chose, and may be read after
    every round of samples: this is a `Certifier` with a single look. `paper` and `bisector` bound g in a ball
    around the mean of all samples, for one n that is fixed beforehand. The claim on the label sets the best
    same-label item against each rival; as the same item is the same label, the label radius is never below
    the item radius. Raises `ValueError` on fewer than 2 samples, or rivals that are not centred on the
    selection mean.
    """
    if terms.anytime:
        return Certifier(field, space, terms).certificate(samples)
    selected = _selected(samples)
    fault = too_many(len(samples)) or _fault(samples, field, space)
    if fault is not None:
        return void(terms, len(samples), fault)
    exact = samples.astype(np.float64)
    _check_centres(exact[:selected], field)
    ledger = AlphaLedger(terms.alpha, terms.noise)
    radii = _in_the_ball(exact, field, space, terms, ledger)
    expected = {claim: found.within for claim, found in radii.items()}
    return issued(terms, len(samples), radii, expected, ledger.entries)


def _selected(samples: NDArray[np.floating]) -> int:
    if len(samples) < 2:
        raise ValueError(f"a certificate needs at least 2 samples, got {len(samples)}: raise max_samples")
    return selection_size(len(samples))


def _fault(samples: NDArray[np.floating], field: Field, space: EmbeddingSpace) -> str | None:
    """Why nothing can be certified with these samples and rivals, if so."""
    if not space.holds(samples):
        return "the model returned a value that is not finite or out of range"
    if not all(rivals.finite for rivals in field.values()):
        return "the gallery holds a vector that is not finite"
    return None


def _check_centres(selection: Array, field: Field) -> None:
    centre = selection.mean(axis=0)
    if not all(np.array_equal(rivals.centre, centre) for rivals in field.values()):
        raise ValueError("rivals must be centred on the mean of the selection samples")


def _in_the_ball(
    samples: Array, field: Field, space: EmbeddingSpace, terms: Terms, ledger: AlphaLedger
) -> dict[Claim, Radii]:
    share = ledger.spend("ball around the mean embedding", 1)
    epsilon = mean_ball(len(samples), share, space.norm_bound) + space.slack
    slope = lipschitz(terms.sigma, space.norm_bound)
    rule = paper_radius if terms.method == "paper" else bisector_radius
    mean = samples.mean(axis=0)
    radii = {}
    for claim, rivals in field.items():
        first = within = rule(mean, rivals, epsilon=epsilon, lipschitz=slope)
        if terms.within_k > 1:
            within = rule(mean, rivals, epsilon=epsilon, lipschitz=slope, lost=terms.within_k - 1)
        radii[claim] = Radii(first, within)
    return radii

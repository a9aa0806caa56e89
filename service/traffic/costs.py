"""What work costs: seconds of a core, a running mean for each kind of work."""

from collections.abc import Hashable

# The latest so many of a kind decide, about.
REMEMBERED = 16


class Costs:
    """Running means by kind. As many are kept as there are kinds: callers see to it that these are few."""

    def __init__(self) -> None:
        self._means: dict[Hashable, tuple[float, int]] = {}

    def forecast(self, kind: Hashable, guess: float = 0.0) -> float:
        """What work of this kind took lately; `guess` if there was none."""
        return self._means.get(kind, (guess, 0))[0]

    def learn(self, kind: Hashable, seconds: float) -> None:
        """Work of this kind took so many seconds of a core."""
        mean, count = self._means.get(kind, (0.0, 0))
        count = min(count + 1, REMEMBERED)
        self._means[kind] = (mean + (seconds - mean) / count, count)

"""The α ledger: every place that spends failure probability is written down, and the sum is checked."""

from dataclasses import dataclass, field


@dataclass
class AlphaLedger:
    """How one answer spends its failure probability `total`.

    noise  how far the noise is from Gaussian, in total variation: with that probability at most something
           happens that Gaussian noise would not do, so it is spent before anything else

    By the union bound the answer's certificate fails with probability at most the sum of the entries.
    `spend` refuses to go over `total`, so a bound that was forgotten in the budget raises instead of
    weakening the claim.
    """

    total: float
    noise: float = 0.0
    entries: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.total < 1:
            raise ValueError(f"alpha must lie strictly between 0 and 1, got {self.total}")
        if not 0 <= self.noise < self.total:
            raise ValueError(f"the noise takes {self.noise} of alpha = {self.total}: nothing is left")
        if self.noise > 0:
            self.entries["noise"] = self.noise

    @property
    def spent(self) -> float:
        """The sum of the entries; at most `total`."""
        return sum(self.entries.values())

    def spend(self, purpose: str, share: float) -> float:
        """Write down `share`, a part in (0, 1] of what the noise leaves, and return what it stands for.

        Raises `ValueError` when a purpose is charged twice or the ledger would be overdrawn.
        """
        if purpose in self.entries:
            raise ValueError(f"{purpose!r} is on the ledger already: one entry for each use of alpha")
        amount = share * (self.total - self.noise)
        # A relative 1e-12 forgives the rounding of shares that sum to one, nothing more.
        if not amount > 0 or self.spent + amount > self.total * (1 + 1e-12):
            raise ValueError(f"{purpose!r} would spend {amount} of {self.total - self.spent} that is left")
        self.entries[purpose] = amount
        return amount

"""Numbers for labels: what thousands of items share is kept once."""

from collections.abc import Iterable


class Labels:
    """The labels of one gallery, each with a number that it keeps. Labels are only ever added.

    Whoever adds holds the gallery's lock; whoever reads needs none.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = list(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        """The number of `name`, which gets one if it has none."""
        number = self._numbers.get(name)
        if number is None:
            number = len(self.names)
            self.names.append(name)
            self._numbers[name] = number
        return number

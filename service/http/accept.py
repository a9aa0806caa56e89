"""Which form of an answer a client prefers (RFC 9110, 12.5.1)."""

from collections.abc import Iterable


def prefers_stream(accepted: Iterable[str]) -> bool:
    """Whether the `Accept` headers of a request want an event stream rather than JSON.

    On a tie JSON wins, and where neither is wanted too: an answer in JSON is better than none.
    """
    ranges = [_range(text) for header in accepted for text in header.split(",")]
    stream, document = (_quality(ranges, kind) for kind in ("text/event-stream", "application/json"))
    return stream > document


def _range(text: str) -> tuple[str, float]:
    """A media range and its weight; one whose weight cannot be read weighs nothing."""
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            weight = float(value) if value.strip().replace(".", "", 1).isdecimal() else 0.0
    return kind, min(weight, 1.0)


def _quality(ranges: list[tuple[str, float]], kind: str) -> float:
    """The weight of the most specific range that `kind` is in; 0 if it is in none."""
    for pattern in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        weights = [weight for name, weight in ranges if name == pattern]
        if weights:
            return max(weights)
    return 0.0

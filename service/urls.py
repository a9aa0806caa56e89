"""What may be wrong with any URL of a setting, told without a part of it: it may hold a password."""

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit


def slips(url: str, escape: str) -> Iterator[str]:
    """What cannot stand in a URL and does; `escape` says how to write it."""
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        yield f"holds a space or a line break: take it out, or escape it ({escape})"
    if re.search(r"%(?![0-9A-Fa-f]{2})", url):
        yield f"holds a % that begins no escape: {escape}"


def parts_of(url: str) -> SplitResult | None:
    """The parts of `url`, or None where it has none."""
    try:
        return urlsplit(url)
    except ValueError:  # whose message holds a part of the URL
        return None

"""Images inside text: base64 as people and libraries write it, and data URIs."""

import base64
import binascii
from typing import Any
from urllib.parse import unquote_to_bytes

from service.errors import MalformedBody

_WHAT = "`image` must be a base64 string or a data URI of a PNG, JPEG or WebP file"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def image_bytes(text: Any) -> bytes:
    """The bytes of base64 text, or of a data URI of whatever media type (RFC 2397).

    Either alphabet, padded or not, in one line or wrapped. Raises `MalformedBody`.
    """
    if not isinstance(text, str) or not text.isascii():
        raise MalformedBody(_WHAT)
    data, is_base64 = text.strip(), True
    if data[:5].lower() == "data:":
        header, comma, data = data[5:].partition(",")
        if not comma:
            raise MalformedBody(f"{_WHAT}: this data URI has no comma before its data")
        is_base64 = header.rpartition(";")[2].strip().lower() == "base64"
    # No base64 holds a %: who sends one has escaped what would not pass a URI.
    raw = unquote_to_bytes(data)
    return _base64(raw) if is_base64 else raw


def _base64(text: bytes) -> bytes:
    text = text.strip().translate(_URL_SAFE, b"\r\n")
    if b" " in text:
        # Dropping it would change the image in silence: a JPEG has no checksum.
        raise MalformedBody(f"{_WHAT}: it holds a space, as when a + was decoded as one on the way")
    if b"=" not in text:
        text += b"=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MalformedBody(f"{_WHAT}: {error}") from error

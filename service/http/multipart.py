"""multipart/form-data that has been read whole, as its parts."""

import base64
import binascii
import quopri
import re
from collections.abc import Callable
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from service.errors import MalformedBody

# A part needs its name and its type; the name of its file may be a long one.
MAX_HEADER_BYTES = 8_192
_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64decode,
    "quoted-printable": quopri.decodestring,
}
_PLAIN = ("", "binary", "8bit", "7bit", "identity")


@dataclass(frozen=True)
class FormPart:
    """A part: whether it came with a file name or not says nothing about what it is."""

    name: str
    content: bytes


def parts(content_type: str, body: bytes, most: int) -> list[FormPart]:
    """The parts of `body`, at most `most` of them, in the order in which they were sent.

    A Content-Transfer-Encoding is undone; a charset is not looked at, for names and options are ASCII.
    Parsers of streams look at each byte in turn; this one searches: a hundred times faster where boundaries
    nearly match. Raises `MalformedBody`.
    """
    boundary = _parameter(content_type.encode("latin-1"), b"boundary")
    if not boundary:
        raise MalformedBody("multipart/form-data needs its boundary in the Content-Type")
    whole = b"\r\n" + body
    delimiter = re.compile(b"\r\n--" + re.escape(boundary) + rb"(--|[ \t]*\r\n)")
    found: list[FormPart] = []
    start: int | None = None
    for match in delimiter.finditer(whole):
        if start is not None:
            found.append(_part(whole[start : match.start()]))
        if match[1] == b"--":
            return found
        if len(found) == most:
            raise MalformedBody(f"the multipart body has more than {most} parts: send `image` and options")
        start = match.end()
    raise MalformedBody("the multipart body is cut off, or its boundary is not that of the Content-Type")


def _part(text: bytes) -> FormPart:
    end = text.find(b"\r\n\r\n", 0, MAX_HEADER_BYTES)
    if end < 0:
        raise MalformedBody(f"a part of the multipart body has no header of up to {MAX_HEADER_BYTES} bytes")
    lines = re.sub(rb"\r\n[ \t]+", b" ", text[:end]).split(b"\r\n")
    fields = (line.partition(b":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    name = _parameter(headers.get(b"content-disposition", b""), b"name")
    if name is None:
        raise MalformedBody("a part of the multipart body has no name in its Content-Disposition")
    encoding = headers.get(b"content-transfer-encoding", b"").decode("latin-1").lower()
    return FormPart(name.decode("utf-8", "replace"), _decoded(text[end + 4 :], encoding))


def _parameter(header: bytes, name: bytes) -> bytes | None:
    return parse_options_header(header)[1].get(name)


def _decoded(content: bytes, encoding: str) -> bytes:
    if encoding in _PLAIN:
        return content
    if encoding not in _DECODERS:
        raise MalformedBody("a part has a Content-Transfer-Encoding that is not read here: send it as it is")
    try:
        return _DECODERS[encoding](content)
    except binascii.Error as error:
        raise MalformedBody(f"a part of the multipart body is no {encoding}: {error}") from error

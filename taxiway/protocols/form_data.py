"""Content types and forms: multipart/form-data (RFC 7578), as curl and browsers send files, and urlencoded."""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from taxiway.errors import MalformedRequest

_NAME = re.compile(rb'(?im)^content-disposition:[^\r\n]*?[;\s]name=(?:"([^"\r\n]*)"|([^";\s]+))')
_LONGEST_BOUNDARY = 70
_MOST_FIELDS = 1000


def content_type(header: bytes) -> tuple[str, dict[str, str]]:
    """The media type in lower case, and its parameters."""
    kind, *rest = header.decode("latin-1").split(";")
    pairs = (part.partition("=") for part in rest)
    return kind.strip().lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def multipart_fields(body: bytes, boundary: str) -> list[tuple[str, bytes]]:
    """The fields' names and contents, bytes as they are.

    Raises:
        MalformedRequest: no such boundary, a field without a name, too many of them, or an end that is missing.
    """
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise MalformedRequest("the content type multipart/form-data needs a boundary of 1 to 70 characters")
    line = b"\r\n--" + re.escape(boundary.encode("latin-1")) + rb"(?=--|[ \t]*\r\n)"
    _, *parts = re.split(line, b"\r\n" + body, maxsplit=_MOST_FIELDS)
    if not parts or not parts[-1].startswith(b"--"):
        raise MalformedRequest("the form has no end: its last boundary is missing, or is not the header's")
    return [_field(part) for part in parts[:-1]]


def urlencoded_fields(body: bytes) -> list[tuple[str, bytes]]:
    """The fields of application/x-www-form-urlencoded; none where it is something else under curl's default type."""
    parts = [part.partition(b"=") for part in body.split(b"&", _MOST_FIELDS)]
    if len(parts) > _MOST_FIELDS:
        return []
    plain = [(name.replace(b"+", b" "), value.replace(b"+", b" ")) for name, found, value in parts if found]
    return [(unquote_to_bytes(name).decode(errors="replace"), unquote_to_bytes(value)) for name, value in plain]


def by_name(fields: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """
    Raises:
        MalformedRequest: a field is there twice.
    """
    found: dict[str, bytes] = {}
    for name, value in fields:
        if name in found:
            raise MalformedRequest(f"the form has the field {name[:80]!r} twice; send several rows as JSON")
        found[name] = value
    return found


def _field(part: bytes) -> tuple[str, bytes]:
    head, separator, content = part.partition(b"\r\n\r\n")
    named = _NAME.search(head)
    if not separator or named is None:
        raise MalformedRequest("a field of the form has no Content-Disposition header with a name")
    return (named[1] or named[2] or b"").decode(errors="replace"), content

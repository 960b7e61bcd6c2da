"""Content types and multipart/form-data (RFC 7578), as curl and browsers send files."""

import re

from taxiway.errors import MalformedRequest

_NAME = re.compile(rb'(?im)^content-disposition:[^\r\n]*?[;\s]name=(?:"([^"\r\n]*)"|([^";\s]+))')
_LONGEST_BOUNDARY = 70


def content_type(header: bytes) -> tuple[str, dict[str, str]]:
    """The media type in lower case, and its parameters."""
    kind, *rest = header.decode("latin-1").split(";")
    pairs = (part.partition("=") for part in rest)
    return kind.strip().lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def multipart_fields(body: bytes, boundary: str) -> dict[str, bytes]:
    """The fields' contents by name, bytes as they are.

    Raises:
        MalformedRequest: no such boundary, a field without a name, or an end that is missing.
    """
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise MalformedRequest("the content type multipart/form-data needs a boundary of 1 to 70 characters")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1"))
    if not parts or not parts[-1].startswith(b"--"):
        raise MalformedRequest("the form has no end: its last boundary is missing, or is not the header's")
    return dict(map(_field, parts[:-1]))


def _field(part: bytes) -> tuple[str, bytes]:
    head, separator, content = part.partition(b"\r\n\r\n")
    named = _NAME.search(head)
    if not separator or named is None:
        raise MalformedRequest("a field of the form has no Content-Disposition header with a name")
    return (named[1] or named[2] or b"").decode(errors="replace"), content

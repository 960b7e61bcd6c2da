"""Many names of registered models in one question to a registry."""

import re
from collections.abc import Iterable, Iterator

PLAIN = re.compile(r"[\w.~-]+", re.ASCII)
"""A name that needs no quoting in a filter, nor in a URL."""
_QUOTES_BYTES = 10
"""Two quotes, a comma and a blank in a URL."""
_LINE_BYTES = 3_000
"""Of servers that are in use, gunicorn takes the shortest ones: 4,094."""


def pieces(names: Iterable[str]) -> Iterator[list[str]]:
    """As many names as fit into the line of one HTTP request."""
    piece: list[str] = []
    for name in sorted(names):
        if piece and sum(len(it) + _QUOTES_BYTES for it in [*piece, name]) > _LINE_BYTES:
            yield piece
            piece = []
        piece.append(name)
    if piece:
        yield piece

"""Ports for servers of tests."""

import random
import socket

_FIRST, _LAST = 20_000, 32_000


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections.

    Those may be taken again at any moment, by one of Ray's many processes or by another worker of pytest.
    """
    while True:
        port = random.randrange(_FIRST, _LAST)  # noqa: S311 - nobody has to guess it
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

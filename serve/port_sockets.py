"""The sockets that a library has opened on a port of this process, when it has no call for what must be done to them.

Linux only: they are found in /proc/self/fd.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def listening(port: int) -> set[int]:
    """The descriptors that listen on a port."""
    return {descriptor for descriptor, found in _on(port) if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)}


def connections(port: int) -> int:
    """How many connections the port has accepted that are still open."""
    return sum(_has_peer(found) for _, found in _on(port))


def stop_listening(descriptor: int) -> None:
    """New connections go to the other sockets that share the port; whoever owns this one still closes it."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as found:
        found.shutdown(socket.SHUT_RD)


def _on(port: int) -> Iterator[tuple[int, socket.socket]]:
    for path in Path("/proc/self/fd").iterdir():
        # It may be closed meanwhile.
        with suppress(OSError):
            if path.is_socket():
                with socket.socket(fileno=os.dup(int(path.name))) as found:
                    if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
                        yield int(path.name), found


def _has_peer(found: socket.socket) -> bool:
    with suppress(OSError):
        return bool(found.getpeername())
    return False

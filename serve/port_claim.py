"""A port belongs to one application of one cluster: its replicas share it, and whoever else wants it is told.

SO_REUSEPORT alone would let any two programs of a user share a port, and half of the requests go astray.
"""

import errno
import fcntl
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taxiway.errors import ConfigError

_log = logging.getLogger(__name__)


class PortClaim:
    """Held from `claim` to `release`; the kernel releases it when the process dies."""

    def __init__(self, port: int, descriptor: int | None) -> None:
        self._port = port
        self._descriptor = descriptor

    def release_unless_last(self) -> bool:
        """Releases it where others hold it too; whether it is released. Of several that leave at once one holds on."""
        if self._descriptor is None:
            return False
        try:
            with _file(f"{self._port}.mutex") as mutex:
                fcntl.flock(mutex, fcntl.LOCK_EX)
                if _try_lock(self._descriptor):
                    fcntl.flock(self._descriptor, fcntl.LOCK_SH)
                    return False
                self.release()
        except OSError as error:
            _log.warning("can't see who else listens on port %d: %s", self._port, error)
            return False
        return True

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def claim(setting: str, host: str, port: int, owner: str) -> PortClaim:
    """Before a port is listened on.

    Args:
        setting: what to name in errors, as `listener.port`.
        owner: the same for all who may share the port.

    Raises:
        ConfigError: another application or program has the port.
    """
    try:
        with _file(f"{port}.mutex") as mutex:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            return _claim(setting, host, port, owner)
    except OSError as error:
        _log.warning("can't see who else listens on port %d: %s", port, error)
        return PortClaim(port, None)


def _claim(setting: str, host: str, port: int, owner: str) -> PortClaim:
    path = _folder() / f"{port}.owner"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if _try_lock(descriptor):
            if not _is_free(host, port):
                raise ConfigError(f"{setting}: {port} is taken by another program; end it or set another port")
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, owner.encode(), 0)
        elif (other := path.read_text()) != owner:
            raise ConfigError(f"{setting}: {port} is taken by {other}; end it or set another port for {owner}")
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except BaseException:
        os.close(descriptor)
        raise
    return PortClaim(port, descriptor)


def _try_lock(descriptor: int) -> bool:
    """Whether nobody holds the claim."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(host: str, port: int) -> bool:
    """Whether nobody listens: a socket that does not share its port says so."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            # Every other reason is for the listener to tell.
            return error.errno != errno.EADDRINUSE
    return True


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"taxiway-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def _file(name: str) -> Iterator[int]:
    descriptor = os.open(_folder() / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

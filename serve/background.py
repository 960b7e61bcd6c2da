"""A thread that does something every so often until it is stopped, once more then, and survives failures."""

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)
_PATIENCE_S = 10.0


class Background:
    """
    Args:
        name: the thread's, in logs.
        work: called every `every_s` seconds.
    """

    def __init__(self, name: str, work: Callable[[], None], every_s: float) -> None:
        self._name, self._work, self._every_s = name, work, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does what is left; may be called without a start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)
        self._do()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._do()

    def _do(self) -> None:
        try:
            self._work()
        except Exception:  # noqa: BLE001 - nothing here may end the replica, nor the thread
            _log.exception("%s failed", self._name)

"""What to do while somebody is known to be dead: one asks whether they are back, and nobody else waits for long."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from taxiway.errors import VariantUnavailable

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Absence:
    since: float
    over: threading.Event


class Away:
    """Lets every call pass until `lost`, and again when `back` has returned. For any thread.

    Args:
        back: returns when calls are answered again; when it raises, the next call finds out.
        patience_s: how long after the loss a call may wait for that; later ones are refused at once.
    """

    def __init__(self, back: Callable[[], object], patience_s: float) -> None:
        self._back = back
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._absence: _Absence | None = None

    def check(self) -> None:
        """
        Raises:
            VariantUnavailable: they are not back yet.
        """
        absence = self._absence
        if absence is None or absence.over.is_set():
            return
        if not absence.over.wait(max(absence.since + self._patience_s - time.monotonic(), 0.0)):
            raise VariantUnavailable("the replicas of this variant have died and are not back yet; try again")

    def lost(self) -> None:
        """A call has found them dead."""
        with self._lock:
            if self._absence is not None and not self._absence.over.is_set():
                return
            self._absence = _Absence(time.monotonic(), threading.Event())
        threading.Thread(target=self._wait_until_back, args=(self._absence,), name="away", daemon=True).start()

    def _wait_until_back(self, absence: _Absence) -> None:
        try:
            self._back()
        except Exception:  # noqa: BLE001 - whoever calls next is told
            _log.warning("a dedicated variant is not back yet", exc_info=True)
        finally:
            absence.over.set()

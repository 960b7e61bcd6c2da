"""Behind Ray Serve's proxies: the event loop that Serve runs a replica's code on, in the place of our listener's."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_log = logging.getLogger(__name__)

_FLUSH_EVERY_S = 0.1
_STOP_TIMEOUT_S = 5.0


class ServeLoop:
    """Does there what a listener of ours does beside listening. Constructed on the loop.

    Serve calls everything of a deployment on one loop: the ASGI application, the RPCs, `reconfigure`, and
    `check_health`, which therefore fails by itself when the loop hangs.

    Args:
        flush: called ten times a second and at the end.
    """

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._flushing = self._loop.create_task(self._flush_repeatedly())

    def call_soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Calls a function on the loop, from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody is served any more
            self._loop.call_soon_threadsafe(function, *arguments)

    def drain(self) -> None:
        """From another thread. Serve has waited for the requests before it calls a deployment's `__del__`."""
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_STOP_TIMEOUT_S)

    async def _stop(self) -> None:
        self._flushing.cancel()
        self._safe_flush()

    async def _flush_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_EVERY_S)
            self._safe_flush()

    def _safe_flush(self) -> None:
        """Telemetry that fails is logged; it never fails a prediction."""
        try:
            self._flush()
        except Exception:  # noqa: BLE001
            _log.exception("handing over metrics failed")

"""A replica's own HTTP server: uvicorn on a thread and an event loop of its own, on a port that replicas share."""

import asyncio
import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
import uvloop

from serve.protocol import BoundedHttpProtocol
from serve.settings import ListenerSettings
from taxiway.errors import ConfigError, TaxiwayError

_log = logging.getLogger(__name__)

_BACKLOG = 2048
_START_TIMEOUT_S = 10.0
_LAST_ANSWERS_S = 1
_STUCK_AFTER_S = 60.0
_POLL_S = 0.05
_FLUSH_EVERY_S = 1.0


class Listener:
    """Listens from `start` to `drain`. The kernel spreads connections over all listeners of the port.

    Args:
        application: an ASGI application; everything it does runs on the listener's loop.
        flush: called every second and at the end, on that loop.
    """

    def __init__(self, application: Any, settings: ListenerSettings, flush: Callable[[], None]) -> None:
        self._settings = settings
        self._flush = flush
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                http=BoundedHttpProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_LAST_ANSWERS_S,
            )
        )
        self._turned_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Returns when connections are accepted.

        Raises:
            ConfigError: the port is taken by something that does not share it, or is not ours to take.
        """
        self._socket = _bind(self._settings.host, self._settings.port)
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise TaxiwayError("the listener did not start; its log says why")
            time.sleep(_POLL_S)

    @property
    def alive(self) -> bool:
        """Whether the loop runs and has turned lately: a model that hangs is not alive."""
        return self._thread.is_alive() and time.monotonic() - self._turned_at < _STUCK_AFTER_S

    def stop_accepting(self) -> None:
        """Returns when new connections go to the other listeners of the port."""
        if self._thread.is_alive():
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._close_sockets(), self._loop).result(_START_TIMEOUT_S)

    def drain(self) -> None:
        """Lets open connections finish for `drain_s` seconds, then closes what is left and ends the thread.

        The application must answer `Connection: close` from before this is called.
        """
        deadline = time.monotonic() + self._settings.drain_s
        while self.alive and self._server.server_state.connections and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self._server.should_exit = True
        self._thread.join()

    async def _close_sockets(self) -> None:
        for server in self._server.servers:
            server.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            flushing = tasks.create_task(self._flush_forever())
            await self._server.serve(sockets=[self._socket])
            flushing.cancel()
        self._safe_flush()

    async def _flush_forever(self) -> None:
        while True:
            self._turned_at = time.monotonic()
            await asyncio.sleep(_FLUSH_EVERY_S)
            self._safe_flush()

    def _safe_flush(self) -> None:
        """Telemetry that fails is logged; it never fails a prediction."""
        try:
            self._flush()
        except Exception:  # noqa: BLE001
            _log.exception("handing over metrics failed")


def _bind(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            message = f"listener.port: {port} is taken by another program; end it or set another port"
            raise ConfigError(message) from error
        raise ConfigError(f"listener: can't listen on {host}:{port}: {error.strerror}") from error
    listening.listen(_BACKLOG)
    listening.setblocking(False)
    return listening

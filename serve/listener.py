"""A replica's own server: a thread with an event loop of its own, on a port that replicas share."""

import asyncio
import errno
import logging
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

import uvloop

from serve.http_protocol import Connections, HttpProtocol
from serve.settings import ListenerSettings
from taxiway.errors import ConfigError, TaxiwayError

_log = logging.getLogger(__name__)

_BACKLOG = 2048
_START_TIMEOUT_S = 10.0
_LAST_ANSWERS_S = 1.0
_STUCK_AFTER_S = 60.0
_POLL_S = 0.05
_FLUSH_EVERY_S = 0.1
_SWEEP_EVERY_S = 1.0


class Companion(Protocol):
    """What listens beside HTTP on the same loop."""

    async def start(self) -> None: ...

    async def drain(self, grace_s: float) -> None: ...


class Listener:
    """Listens from `start` to `drain`. The kernel spreads connections over all listeners of the port.

    Args:
        connections: the application and the bounds of a connection.
        flush: called ten times a second and at the end, on the loop.
        companions: start after HTTP, and drain with it.
        longest_s: of a request; one that is being answered when clients should have left is waited for so long.
    """

    def __init__(
        self,
        connections: Connections,
        settings: ListenerSettings,
        flush: Callable[[], None],
        companions: tuple[Companion, ...] = (),
        longest_s: float = 0.0,
    ) -> None:
        self._connections = connections
        self._settings = settings
        self._flush = flush
        self._companions = companions
        self._draining_s = settings.drain_s + longest_s
        self._turned_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._opening: set[asyncio.Task[Any]] = set()
        self._draining: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Returns when connections are accepted.

        Raises:
            ConfigError: a port is taken by something that does not share it, or is not ours to take.
        """
        self._socket = bind(self._settings.host, self._settings.port)
        self._thread.start()
        if not self._started.wait(_START_TIMEOUT_S) or self._failure is not None:
            if isinstance(self._failure, TaxiwayError):
                raise self._failure
            raise TaxiwayError("the listener did not start; its log says why") from self._failure

    @property
    def alive(self) -> bool:
        """Whether the loop runs and has turned lately: a model that hangs is not alive."""
        return self._thread.is_alive() and time.monotonic() - self._turned_at < _STUCK_AFTER_S

    def call_soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Calls a function on the loop, from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody is served any more
            self._loop.call_soon_threadsafe(function, *arguments)

    def stop_accepting(self) -> None:
        """Returns when new connections go to the other listeners of the port."""
        self._ask(self._close_socket())

    def drain(self) -> None:
        """Waits `drain_s` seconds until clients have left, and longer for requests that are being answered; then
        closes what is left and ends the thread.

        `connections.draining` must be set before: answers then say `Connection: close`.
        """
        began = time.monotonic()
        self.call_soon(self._drain_companions)
        while self.alive and self._connections.open and time.monotonic() < began + self._settings.drain_s:
            time.sleep(_POLL_S)
        self.call_soon(self._close_idle)
        while self.alive and self._connections.open and time.monotonic() < began + self._draining_s:
            time.sleep(_POLL_S)
        self._ask(self._stop())
        self._thread.join()

    def _ask(self, work: Coroutine[Any, Any, None]) -> None:
        if not self._thread.is_alive():
            work.close()
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_TIMEOUT_S + self._draining_s)

    async def _close_socket(self) -> None:
        """What the kernel has accepted already is served; the rest goes to the other listeners."""
        self._loop.remove_reader(self._socket)
        self._accept()
        self._socket.close()

    def _accept(self) -> None:
        """Takes all that wait: libuv's own server takes one a turn, which starves new clients of a busy loop."""
        with suppress(BlockingIOError, OSError):
            for _ in range(_BACKLOG):
                connection, _ = self._socket.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                opening = self._loop.connect_accepted_socket(lambda: HttpProtocol(self._connections), connection)
                task = self._loop.create_task(opening)
                self._opening.add(task)
                task.add_done_callback(self._opened)

    def _opened(self, task: "asyncio.Task[Any]") -> None:
        self._opening.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.debug("a connection was gone before it was opened", exc_info=task.exception())

    def _drain_companions(self) -> None:
        grace_s = max(self._draining_s, _LAST_ANSWERS_S)
        self._draining = [self._loop.create_task(companion.drain(grace_s)) for companion in self._companions]

    def _close_idle(self) -> None:
        for connection in list(self._connections.open):
            if not connection.busy:
                connection.abandon()

    async def _stop(self) -> None:
        await asyncio.gather(*self._draining)
        for connection in list(self._connections.open):
            connection.abandon()
        self._stopping.set()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001
            _log.exception("the listener has stopped")
            self._failure = error
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._connections.sweep()
        self._loop.add_reader(self._socket, self._accept)
        for companion in self._companions:
            await companion.start()
        self._started.set()
        async with asyncio.TaskGroup() as tasks:
            repeated = [
                tasks.create_task(self._repeat(self._safe_flush, _FLUSH_EVERY_S)),
                tasks.create_task(self._repeat(self._connections.sweep, _SWEEP_EVERY_S)),
            ]
            await self._stopping.wait()
            for task in repeated:
                task.cancel()
        if self._socket.fileno() != -1:
            await self._close_socket()
        self._safe_flush()

    async def _repeat(self, function: Callable[[], None], every_s: float) -> None:
        while True:
            self._turned_at = time.monotonic()
            await asyncio.sleep(every_s)
            function()

    def _safe_flush(self) -> None:
        """Telemetry that fails is logged; it never fails a prediction."""
        try:
            self._flush()
        except Exception:  # noqa: BLE001
            _log.exception("handing over metrics failed")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket that shares its port with the other replicas.

    Raises:
        ConfigError: the port is taken by something else, or not ours to take.
    """
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

"""HTTP/1.1 on a connection: httptools parses, requests are answered in order, and everything has a bound.

Only as much HTTP as a model server needs, without a task or a coroutine for each request: this is the hot path.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import httptools

from taxiway.errors import (
    MalformedRequest,
    MethodNotAllowed,
    Overloaded,
    PayloadTooLarge,
    RequestError,
    RequestTimeout,
    TaxiwayError,
)
from taxiway.protocols.error_form import encode_error

Header = tuple[bytes, bytes]

MAX_HEAD_BYTES = 65_536
"""Request line and headers."""
_PIPELINED = 16
_LINGER_S = 2.0
_HIGH_WATER_BYTES = 1_048_576
_STATUS_LINE = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
    if status.value >= 200
}
_OFFER = (b"connection", b"upgrade", b"http2-settings")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class HttpRequest:
    """One complete request. `path` is decoded, `headers` have lower-case names, `arrived` is monotonic time."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes
    client: str
    arrived: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body and its headers; length, date and connection are the protocol's."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ((b"content-type", b"application/json"),)


Cancel = Callable[[], None]
Respond = Callable[[Answer], None]
Application = Callable[[HttpRequest, Respond], "Cancel | None"]
"""Calls `respond` once, now or later, on the loop; what it returns is called when the client goes away first."""


@dataclass(frozen=True)
class Bounds:
    """What one connection may take, and how many there are."""

    body_bytes: int
    connections: int
    idle_s: float
    receive_s: float
    connection_age_s: float


@dataclass
class Connections:
    """What the connections of one listener share."""

    application: Application
    bounds: Bounds
    refused: Callable[[RequestError], None]
    open: "set[HttpProtocol]" = field(default_factory=set)
    draining: bool = False
    date: bytes = b""

    def sweep(self) -> None:
        """Once a second: closes what takes too long. No timer for each request."""
        self.date = b"date: " + formatdate(usegmt=True).encode() + b"\r\n"
        now = time.monotonic()
        for connection in list(self.open):
            connection.check_time(now)


class HttpProtocol(asyncio.Protocol):
    """One connection. The parser calls the `on_…` methods."""

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._bounds = shared.bounds
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._waiting: deque[tuple[HttpRequest, bool]] = deque()
        self._answering: HttpRequest | None = None
        self._last: Answer | None = None
        self._keep_alive = True
        self._half_closed = False
        self._deaf = False  # what arrives is not read any more
        self._cancel: Cancel | None = None
        self._closing_at: float | None = None
        self._head_bytes = 0
        self._receiving = False
        self._writable = True
        self._reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_HIGH_WATER_BYTES)
        peer = transport.get_extra_info("peername")
        self._client = peer[0] if peer else ""
        self._since = self._opened = time.monotonic()
        full = len(self._shared.open) >= self._bounds.connections
        self._shared.open.add(self)
        if full:
            error = Overloaded("too many connections")
            self._write(Answer(503, encode_error("", error), (*_coded(error), _RETRY)), close=True, head_only=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.open.discard(self)
        self._waiting.clear()
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._head_bytes += len(data)
        if not self._receiving and self._answering is None:
            self._receiving, self._since = True, time.monotonic()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(RequestError("this is not an HTTP request"))
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(RequestError(f"request line and headers have more than {MAX_HEAD_BYTES} bytes"), 431)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._parser.get_method() == b"CONNECT":
                self._refuse(MethodNotAllowed("this is no proxy: it does not take CONNECT"))
                return
            # An offer (h2c, websocket) that is not taken up: the same request without it, its body included.
            head = self._head_without_offer()
            self._parser = httptools.HttpRequestParser(self)
            self._feed(head + data[upgrade.args[0] :])

    def _head_without_offer(self) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self._parser.get_method(), self._url)]
        lines += [b"%b: %b" % header for header in self._headers.items() if header[0] not in _OFFER]
        return b"\r\n".join([*lines, b"\r\n"])

    def eof_received(self) -> bool:
        """A client that has sent everything and closed its side still reads."""
        self._half_closed = True
        return self._answering is not None or bool(self._waiting)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._next()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._fields = self._headers
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name, fields = name.lower(), self._fields
        # A header that comes twice is a list.
        fields[name] = fields[name] + b", " + value if name in fields else value

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        headers = self._headers
        length = headers.get(b"content-length")
        if length is None:
            self._begin_chunked(headers.get(b"transfer-encoding"))
        elif int(length) > self._bounds.body_bytes:
            found = f"the body has {int(length)} bytes"
            self._refuse(PayloadTooLarge(f"{found}, at most {self._bounds.body_bytes} are taken"))
        if b"expect" in headers:
            self._let_continue(headers[b"expect"])

    def _begin_chunked(self, coding: bytes | None) -> None:
        # What follows a chunked body is no header: whoever stands in front of us has not looked at it.
        self._fields = {}
        if coding is not None and coding.lower() != b"chunked":
            shown = coding.decode("latin-1")[:40]
            self._refuse(MalformedRequest(f"transfer-encoding {shown!r} is not supported; send chunked or a length"))

    def _let_continue(self, expected: bytes) -> None:
        if expected.lower() == b"100-continue" and not self._deaf and self._parser.get_http_version() != "1.0":
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        self._body_bytes += len(body)
        if self._body_bytes <= self._bounds.body_bytes:
            self._body.append(body)
        else:
            self._refuse(PayloadTooLarge(f"the body has more than {self._bounds.body_bytes} bytes"))

    def on_message_complete(self) -> None:
        if self._deaf or self._parser.should_upgrade():
            return
        self._head_bytes = 0
        self._receiving = False
        path, _, query = self._url.partition(b"?")
        request = HttpRequest(
            self._parser.get_method().decode("latin-1"),
            _decoded(path),
            query,
            self._headers,
            self._body[0] if len(self._body) == 1 else b"".join(self._body),
            self._client,
            time.monotonic(),
        )
        keep_alive = self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0"
        self._waiting.append((request, keep_alive))
        if len(self._waiting) > _PIPELINED and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._next()

    # Answers, one after the other.

    def _next(self) -> None:
        if self._answering is not None or not self._waiting or not self._writable:
            return
        self._answering, self._keep_alive = self._waiting.popleft()
        if not self._reading and len(self._waiting) < _PIPELINED // 2:
            self._reading = True
            self._transport.resume_reading()
        answering = self._answering

        def respond(answer: Answer) -> None:
            self._respond(answering, answer)

        cancel = self._shared.application(answering, respond)
        if self._answering is answering:
            self._cancel = cancel

    def _respond(self, answering: HttpRequest, answer: Answer) -> None:
        if self._answering is not answering or self._transport.is_closing():
            return
        self._answering = self._cancel = None
        now = time.monotonic()
        close = not self._keep_alive or self._shared.draining or now - self._opened > self._bounds.connection_age_s
        if self._half_closed:
            close = close or (not self._waiting and self._last is None)
        self._since = now
        self._write(answer, close, answering.method == "HEAD")
        if self._waiting:
            # In a turn of its own: a long row of pipelined requests must not become a deep stack.
            asyncio.get_running_loop().call_soon(self._next)
        elif self._last is not None and not close:
            self._write(self._last, close=True, head_only=False)

    def _write(self, answer: Answer, close: bool, head_only: bool) -> None:
        head = [_STATUS_LINE[answer.status], b"content-length: %d\r\n" % len(answer.body), self._shared.date]
        for name, value in answer.headers:
            head.append(b"%b: %b\r\n" % (name, value))
        head.append(b"connection: close\r\n\r\n" if close else b"\r\n")
        if not head_only:
            head.append(answer.body)
        self._transport.write(b"".join(head))
        if close:
            self._close_gently()

    def _close_gently(self) -> None:
        """Closing while bytes still arrive would reset the connection, and the client would never read the answer."""
        self._closing_at = time.monotonic() + _LINGER_S
        self._deaf = True
        self._waiting.clear()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        if not self._receiving:
            self._transport.close()

    def _refuse(self, error: RequestError, status: int | None = None) -> None:
        """The connection's last answer, behind those that are still due; what arrives from now on is not read."""
        if self._deaf or self._transport.is_closing():
            return
        self._shared.refused(error)
        self._deaf = self._receiving = True
        self._last = Answer(status or error.status, encode_error(_decoded(self._url), error), _coded(error))
        if self._answering is None and not self._waiting:
            self._write(self._last, close=True, head_only=False)

    @property
    def busy(self) -> bool:
        """Whether a request that has arrived is not answered yet, or its client still reads the last answer."""
        return self._answering is not None or bool(self._waiting) or self._closing_at is not None

    def abandon(self) -> None:
        """Closes the connection now; what was answered is still sent."""
        self._transport.close()

    def check_time(self, now: float) -> None:
        """Called once a second."""
        if self._closing_at is not None:
            if now > self._closing_at:
                self._transport.close()
        elif self._answering is not None:
            if self._half_closed and self._parser.get_http_version() == "1.1":
                # Who has gone altogether resets the connection at this; who still reads waits on.
                self._transport.write(_PROCESSING)
        elif self._receiving and now - self._since > self._bounds.receive_s:
            if self._last is not None:
                self._transport.close()
            self._refuse(RequestTimeout(f"the request did not arrive within {self._bounds.receive_s:g} s"))
        elif not self._receiving and now - self._since > self._bounds.idle_s:
            self._transport.close()


_PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
_RETRY: Header = (b"retry-after", b"1")


def _decoded(path: bytes) -> str:
    """The path of a request line; a client that takes us for a proxy sends scheme and host in front of it."""
    if not path.startswith(b"/") and b"://" in path:
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    return unquote(path.decode("latin-1")) if b"%" in path else path.decode("latin-1")


def _coded(error: TaxiwayError) -> tuple[Header, ...]:
    return ((b"content-type", b"application/json"), (b"taxiway-error", error.code.encode()))

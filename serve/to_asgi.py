"""An application of ours as ASGI, for a server that has one: the counterpart of `serve.asgi`."""

import asyncio
import time
from collections.abc import Callable

from serve.asgi import Message, Receive, Scope, Send
from serve.http import error_answer
from serve.http_protocol import Answer, Application, HttpRequest
from taxiway.errors import PayloadTooLarge, RequestError, RequestTimeout


class ToAsgi:
    """Whoever runs it cancels the call when the client goes away, as Ray Serve does; the work is cancelled then.

    Args:
        body_bytes: of one request; a larger one is refused while it arrives.
        receive_s: for the body of one request to arrive.
        refused: counts what the application does not see.
    """

    def __init__(
        self,
        application: Application,
        body_bytes: int,
        receive_s: float,
        refused: Callable[[RequestError], None],
    ) -> None:
        self._application = application
        self._body_bytes = body_bytes
        self._receive_s = receive_s
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        try:
            body = await self._body(headers, receive)
        except RequestError as error:
            self._refused(error)
            await _send(error_answer(error, _path(scope)), scope, send)
        else:
            if body is not None:
                await _send(await self._answer(_request(scope, headers, body)), scope, send)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """None when the client went away before it had sent everything."""
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._body_bytes:
            raise PayloadTooLarge(f"the body has {int(length)} bytes, at most {self._body_bytes} are taken")
        try:
            async with asyncio.timeout(self._receive_s):
                return await self._pieces(receive)
        except TimeoutError:
            raise RequestTimeout(f"the request did not arrive within {self._receive_s:g} s") from None

    async def _pieces(self, receive: Receive) -> bytes | None:
        pieces: list[bytes] = []
        more, size_bytes = True, 0
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            pieces.append(message.get("body", b""))
            size_bytes += len(pieces[-1])
            if size_bytes > self._body_bytes:
                raise PayloadTooLarge(f"the body has more than {self._body_bytes} bytes")
            more = message.get("more_body", False)
        return b"".join(pieces)

    async def _answer(self, request: HttpRequest) -> Answer:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def respond(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        cancel = self._application(request, respond)
        try:
            return await answered
        except asyncio.CancelledError:
            if cancel is not None:
                cancel()
            raise


async def _live(receive: Receive, send: Send) -> None:
    """Nothing to start or to end: the replica does both."""
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return


def _headers(scope: Scope) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        # A header that comes twice is a list.
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _path(scope: Scope) -> str:
    """As the application knows it, without the prefix that it is mounted at."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _request(scope: Scope, headers: dict[bytes, bytes], body: bytes) -> HttpRequest:
    client = scope.get("client")
    address = client[0] if client else ""
    return HttpRequest(scope["method"], _path(scope), scope["query_string"], headers, body, address, time.monotonic())


async def _send(answer: Answer, scope: Scope, send: Send) -> None:
    start: Message = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [*answer.headers, (b"content-length", b"%d" % len(answer.body))],
    }
    await send(start)
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

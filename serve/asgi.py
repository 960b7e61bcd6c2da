"""ASGI in both directions: an ASGI application as a route of ours, and our application behind Serve's proxies."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serve.http import error_answer
from serve.http_protocol import Answer, Application, Cancel, HttpRequest, Respond
from taxiway.errors import MalformedRequest, PayloadTooLarge, TaxiwayError

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


class FromAsgi:
    """A handler that asks an ASGI application: for pages that people look at, not for inference."""

    def __init__(self, application: AsgiApplication) -> None:
        self._application = application
        self._running: set[asyncio.Task[None]] = set()

    def __call__(self, request: HttpRequest, respond: Respond) -> Cancel:
        task = asyncio.get_running_loop().create_task(self._answer(request, respond))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return lambda: _cancel(task)

    async def _answer(self, request: HttpRequest, respond: Respond) -> None:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        try:
            await self._application(_scope(request), receive, send)
        except Exception:  # noqa: BLE001
            _log.exception("answering %s failed", request.path)
            respond(error_answer(TaxiwayError("internal error")))
            return
        body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
        headers = tuple(header for header in sent[0]["headers"] if header[0] != b"content-length")
        respond(Answer(sent[0]["status"], body, headers))


def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()


def _scope(request: HttpRequest) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": request.query,
        "root_path": "",
        "headers": list(request.headers.items()),
        "client": (request.client, 0),
        "server": None,
    }


class ToAsgi:
    """Our application as ASGI."""

    def __init__(self, application: Application, body_bytes: int) -> None:
        self._application = application
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            answer = await self._ask(scope, receive)
        except TaxiwayError as error:
            answer = error_answer(error)
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _ask(self, scope: Scope, receive: Receive) -> Answer:
        arrived = time.monotonic()
        request = HttpRequest(
            scope["method"],
            scope["path"].removeprefix(scope.get("root_path", "")) or "/",
            scope["query_string"],
            dict(scope["headers"]),
            await self._body(receive),
            (scope.get("client") or ("",))[0],
            arrived,
        )
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        cancel = self._application(request, lambda answer: None if answered.done() else answered.set_result(answer))
        try:
            return await answered
        finally:
            if cancel is not None:
                cancel()

    async def _body(self, receive: Receive) -> bytes:
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise MalformedRequest("the client went away before the body was complete")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._body_bytes:
                raise PayloadTooLarge(f"the body has more than {self._body_bytes} bytes")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

"""An ASGI application as a route of ours."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serve.http_protocol import Answer, Cancel, HttpRequest, Respond
from serve.later import Later

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


class FromAsgi:
    """A handler that asks an ASGI application: for pages that people look at, not for inference."""

    def __init__(self, application: AsgiApplication) -> None:
        self._application = application
        self._later = Later()

    def __call__(self, request: HttpRequest, respond: Respond) -> Cancel:
        return self._later(self._answer(request), request.path, respond)

    async def _answer(self, request: HttpRequest) -> Answer:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._application(_scope(request), receive, send)
        body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
        headers = tuple(header for header in sent[0]["headers"] if header[0] != b"content-length")
        return Answer(sent[0]["status"], body, headers)


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

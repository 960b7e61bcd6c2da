"""The HTTP application of a replica as ASGI, called as Ray Serve calls it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from serve.http_protocol import Answer, HttpRequest, Respond
from serve.to_asgi import ToAsgi
from taxiway.errors import RequestError

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/flights/v2/models/parcel",
    "root_path": "/flights",
    "query_string": b"a=1",
    "headers": [(b"accept", b"a"), (b"accept", b"b"), (b"host", b"x")],
    "client": ("10.0.0.7", 4711),
}


class Echo:
    """Answers with the body; `hold` keeps it from answering."""

    def __init__(self, hold: bool = False) -> None:
        self.hold = hold
        self.requests: list[HttpRequest] = []
        self.cancelled = 0
        self.refused: list[RequestError] = []

    def __call__(self, request: HttpRequest, respond: Respond) -> Callable[[], None]:
        self.requests.append(request)
        if not self.hold:
            respond(Answer(200, b"<" + request.body + b">"))
        return self._cancel

    def _cancel(self) -> None:
        self.cancelled += 1


def ask(echo: Echo, *pieces: bytes | None, receive_s: float = 5.0, **scope: Any) -> list[dict[str, Any]]:
    """What the application sends to a client that sends these pieces; None: it goes away, or says nothing more."""
    return asyncio.run(_ask(echo, list(pieces or (b"",)), receive_s, SCOPE | scope))


async def _ask(echo: Echo, pieces: list[bytes | None], receive_s: float, scope: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.Event().wait()
        piece = pieces.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(pieces) or piece == b"more"}

    async def send(message: Any) -> None:
        sent.append(message)

    await ToAsgi(echo, 10, receive_s, echo.refused.append)(scope, receive, send)
    return sent


def test_a_request_comes_whole_and_its_answer_has_a_length() -> None:
    echo = Echo()
    start, body = ask(echo, b"one", b"two")
    assert (start["status"], body["body"]) == (200, b"<onetwo>")
    assert (b"content-length", b"8") in start["headers"]
    (request,) = echo.requests
    assert (request.method, request.body, request.query, request.client) == ("POST", b"onetwo", b"a=1", "10.0.0.7")
    assert request.headers == {b"accept": b"a, b", b"host": b"x"}


@pytest.mark.parametrize(
    ("path", "root_path", "seen"),
    [("/v2", "", "/v2"), ("/flights/v2", "/flights", "/v2"), ("/a/b/v2", "/a/b", "/v2"), ("/a", "/a", "")],
)
def test_the_application_sees_its_own_path_below_any_prefix(path: str, root_path: str, seen: str) -> None:
    echo = Echo()
    ask(echo, path=path, root_path=root_path)
    assert echo.requests[0].path == seen


def test_head_gets_the_length_and_no_body() -> None:
    start, body = ask(Echo(), b"one", method="HEAD")
    assert (b"content-length", b"5") in start["headers"]
    assert body["body"] == b""


@pytest.mark.parametrize(
    ("pieces", "headers", "complaint"),
    [
        ((b"x" * 11,), [(b"content-length", b"11")], "the body has 11 bytes, at most 10 are taken"),
        ((b"x" * 6, b"x" * 5, b"x" * 100), [], "the body has more than 10 bytes"),
    ],
)
def test_a_large_body_is_refused_before_it_has_arrived(
    pieces: tuple[bytes, ...], headers: list[Any], complaint: str
) -> None:
    echo = Echo()
    start, body = ask(echo, *pieces, headers=headers)
    assert start["status"] == 413
    assert complaint in body["body"].decode()
    assert [error.code for error in echo.refused] == ["payload_too_large"]
    assert echo.requests == []


def test_a_refusal_has_the_form_of_the_paths_protocol() -> None:
    _, body = ask(Echo(), b"x" * 11, path="/flights/v2/models/parcel/infer")
    assert body["body"] == b'{"error":"the body has more than 10 bytes"}'
    _, body = ask(Echo(), b"x" * 11, path="/flights/models/parcel/invocations")
    assert b'"error_code"' in body["body"]


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    echo = Echo()
    start, _ = ask(echo, b"more", receive_s=0.05)
    assert (start["status"], (b"taxiway-error", b"request_timeout") in start["headers"]) == (408, True)
    assert [error.code for error in echo.refused] == ["request_timeout"]


def test_a_client_that_goes_away_while_it_sends_is_not_answered() -> None:
    echo = Echo()
    assert ask(echo, b"more", None) == []
    assert (echo.requests, echo.refused) == ([], [])


def test_cancelling_the_call_cancels_the_work_once() -> None:
    echo = Echo(hold=True)

    async def cancelled() -> None:
        call = asyncio.create_task(_ask(echo, [b"one"], 5.0, SCOPE))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(cancelled())
    assert (len(echo.requests), echo.cancelled) == (1, 1)


def test_an_answered_request_is_not_cancelled() -> None:
    echo = Echo()
    ask(echo)
    assert echo.cancelled == 0


def test_start_and_end_of_the_application_are_acknowledged_and_websockets_refused() -> None:
    async def run(scope: str, *received: str) -> list[str]:
        messages, sent = list(received), []

        async def receive() -> dict[str, Any]:
            return {"type": messages.pop(0)}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await ToAsgi(Echo(), 10, 5.0, lambda _: None)({"type": scope}, receive, send)
        return sent

    started = asyncio.run(run("lifespan", "lifespan.startup", "lifespan.shutdown"))
    assert started == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert asyncio.run(run("websocket", "websocket.connect")) == ["websocket.close"]

"""The listener with small applications of its own: connections, their bounds, and what must not end the server."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import httpx
import pytest

from serve import listener
from serve.http_protocol import Answer, Application, Bounds, Cancel, Connections, HttpRequest, Respond
from serve.listener import Listener
from serve.settings import ListenerSettings
from taxiway.errors import RequestError

BOUNDS = Bounds(body_bytes=1_000, connections=50, idle_s=60, receive_s=60, connection_age_s=600)
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"


@dataclass
class Running:
    listener: Listener
    port: int
    refused: list[RequestError]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(application: Application, flush: Callable[[], None] = lambda: None, **bounds: float) -> Running:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        refused: list[RequestError] = []
        connections = Connections(application, replace(BOUNDS, **bounds), refused.append)
        running = Listener(connections, ListenerSettings(host="127.0.0.1", port=port, drain_s=0.5), flush)
        running.start()
        started.append(Running(running, port, refused))
        return started[-1]

    yield start
    for running in started:
        running.listener.drain()


def echo(request: HttpRequest, respond: Respond) -> None:
    respond(Answer(200, b"%b %b" % (request.method.encode(), request.body)))


def received(connection: socket.socket, until: Callable[[bytes], bool] = lambda _: False) -> bytes:
    """Everything until the server closes, or until it is enough."""
    data = b""
    while not until(data) and (piece := connection.recv(65_536)):
        data += piece
    return data


def test_pipelined_requests_are_answered_in_order(start: Callable[..., Running]) -> None:
    with start(echo).connect() as connection:
        connection.sendall(b"".join(POST % (2, b"%02d" % number) for number in range(60)))
        answers = received(connection, lambda data: b"POST 59" in data)
    assert [int(part[:2]) for part in answers.split(b"POST ")[1:]] == list(range(60))


def test_a_request_in_single_bytes_is_a_request(start: Callable[..., Running]) -> None:
    with start(echo).connect() as connection:
        for byte in POST % (3, b"abc"):
            connection.sendall(bytes([byte]))
        assert received(connection, lambda data: b"POST abc" in data).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_head_request_gets_the_length_and_no_body(start: Callable[..., Running]) -> None:
    response = httpx.head(start(echo).url)
    assert (response.headers["content-length"], response.content) == ("5", b"")


def test_an_offer_of_another_protocol_is_not_taken_up(start: Callable[..., Running]) -> None:
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAAQAAP__"}
    with httpx.Client(base_url=start(echo).url) as client:
        for _ in range(2):
            assert client.post("/", content=b"x", headers=headers).text == "POST x"


def test_an_old_client_gets_its_connection_closed(start: Callable[..., Running]) -> None:
    with start(echo).connect() as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        assert b"connection: close" in received(connection)


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(start: Callable[..., Running]) -> None:
    with start(echo).connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert b"POST ab" in received(connection, lambda data: b"POST" in data)


def test_a_refused_body_does_not_reset_the_connection_before_the_answer_is_read(start: Callable[..., Running]) -> None:
    running = start(echo)
    with running.connect() as connection:
        connection.sendall(POST % (500_000, b"x" * 500_000))
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the body has 500000 bytes, at most 1000 are taken" in answer
    assert [error.code for error in running.refused] == ["payload_too_large"]


def test_a_request_that_does_not_arrive_in_time_gets_408(start: Callable[..., Running]) -> None:
    with start(echo, receive_s=0.5).connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
        assert received(connection).startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed(start: Callable[..., Running]) -> None:
    with start(echo, idle_s=0.5).connect() as connection:
        assert received(connection) == b""


def test_an_old_connection_is_closed_with_an_answer(start: Callable[..., Running]) -> None:
    with start(echo, connection_age_s=0.3).connect() as connection:
        connection.sendall(POST % (1, b"a"))
        assert b"connection: close" not in received(connection, lambda data: b"POST a" in data)
        time.sleep(0.4)
        connection.sendall(POST % (1, b"b"))
        answer = received(connection)
    assert b"connection: close" in answer
    assert answer.endswith(b"POST b")


def test_over_the_limit_of_connections_a_new_one_is_refused_and_the_others_stay(start: Callable[..., Running]) -> None:
    running = start(echo, connections=2)
    first, second = running.connect(), running.connect()
    with first, second, running.connect() as third:
        assert received(third).startswith(b"HTTP/1.1 503 ")
        for connection in (first, second):
            connection.sendall(POST % (1, b"a"))
            assert b"POST a" in received(connection, lambda data: b"POST a" in data)


def path_of(request: HttpRequest, respond: Respond) -> None:
    respond(Answer(200, request.path.encode()))


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://models.example:8000/v2?a=b", b"/v2"),
        (b"http://models.example", b"/"),
        (b"/v2%2Fmodels", b"/v2/models"),
    ],
)
def test_a_request_for_a_proxy_is_answered_by_its_path(
    start: Callable[..., Running], target: bytes, path: bytes
) -> None:
    with start(path_of).connect() as connection:
        connection.sendall(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % target)
        assert received(connection).endswith(b"\r\n\r\n" + path)


def test_a_tunnel_is_refused_and_the_server_lives_on(start: Callable[..., Running]) -> None:
    running = start(echo)
    with running.connect() as connection:
        connection.sendall(b"CONNECT models.example:443 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert received(connection).startswith(b"HTTP/1.1 405 ")
    assert httpx.get(running.url).text == "GET "


def test_what_follows_a_chunked_body_is_no_header(start: Callable[..., Running]) -> None:
    def names(request: HttpRequest, respond: Respond) -> None:
        respond(Answer(200, b" ".join(sorted(request.headers))))

    with start(names).connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            b"2\r\nab\r\n0\r\nauthorization: Bearer stolen\r\n\r\n"
        )
        assert received(connection).endswith(b"\r\n\r\nconnection host transfer-encoding")


@pytest.mark.parametrize(
    "head",
    [
        b"transfer-encoding: gzip, chunked",
        b"transfer-encoding: xchunked",
        b"transfer-encoding: chunked\r\ncontent-length: 12",
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity",
        b"content-length: 12\r\ncontent-length: 3",
        b"content-length: +12",
        b"content-length: 12, 12",
        b"x-folded: a\r\n b",
        b"x-half\rcontent-length: 12",
        b"transfer-encoding : chunked",
    ],
)
def test_a_body_whose_end_can_be_read_in_two_ways_is_refused(start: Callable[..., Running], head: bytes) -> None:
    with start(echo).connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"
        )
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def later(request: HttpRequest, respond: Respond) -> None:
    """Answers as an inference does: in a later turn of the loop."""
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, echo, request, respond)


@pytest.mark.parametrize(
    ("rest", "last"),
    [
        (b"\0no http", b"HTTP/1.1 400 "),
        (POST % (500_000, b"x"), b"HTTP/1.1 413 "),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 "),
    ],
)
def test_a_refusal_comes_behind_the_answers_that_are_due(
    start: Callable[..., Running], rest: bytes, last: bytes
) -> None:
    with start(later).connect() as connection:
        connection.sendall(POST % (1, b"a") + POST % (1, b"b") + rest)
        answers = received(connection)
    assert [answers.index(part) for part in (b"POST a", b"POST b", last)] == sorted(
        answers.index(part) for part in (b"POST a", b"POST b", last)
    )
    assert answers.count(b"HTTP/1.1 ") == 3


def test_bytes_behind_a_request_that_closes_do_not_take_its_answer(start: Callable[..., Running]) -> None:
    closing = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\nb"
    with start(later).connect() as connection:
        connection.sendall(POST % (1, b"a") + closing + b"and more")
        answers = received(connection)
    assert (answers.count(b"HTTP/1.1 200 "), answers.count(b"HTTP/1.1 ")) == (2, 2)


def test_a_client_that_has_closed_its_side_gets_every_answer(start: Callable[..., Running]) -> None:
    with start(later).connect() as connection:
        connection.sendall(b"".join(POST % (1, letter) for letter in (b"a", b"b", b"c")))
        connection.shutdown(socket.SHUT_WR)
        answers = received(connection)
    assert [answers.count(b"POST " + letter) for letter in (b"a", b"b", b"c")] == [1, 1, 1]


def test_an_old_client_is_not_told_to_continue(start: Callable[..., Running]) -> None:
    with start(echo).connect() as connection:
        connection.sendall(b"POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\na")
        assert received(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("path", "key"), [(b"/v2/models/m/infer", "error"), (b"/invocations", "error_code"), (b"/predictions/m", "type")]
)
def test_a_refused_body_is_refused_in_the_form_of_its_protocol(
    start: Callable[..., Running], path: bytes, key: str
) -> None:
    with start(echo).connect() as connection:
        connection.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n" % path)
        answer = received(connection)
    assert b"taxiway-error: payload_too_large" in answer
    assert key in json.loads(answer.partition(b"\r\n\r\n")[2])


@dataclass
class Never:
    """Does not answer, and remembers who went away."""

    begun: int = 0
    cancelled: list[str] = field(default_factory=list)

    def __call__(self, request: HttpRequest, respond: Respond) -> Cancel:
        self.begun += 1
        return lambda: self.cancelled.append(request.path)


def test_a_client_that_goes_away_cancels_its_request(start: Callable[..., Running]) -> None:
    application = Never()
    with start(application).connect() as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        _until(lambda: application.begun == 1)
        assert application.cancelled == []
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    _until(lambda: application.cancelled == ["/slow"])


def test_a_client_that_closes_its_connection_politely_cancels_its_request(start: Callable[..., Running]) -> None:
    application = Never()
    with start(application).connect() as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        _until(lambda: application.begun == 1)
    _until(lambda: application.cancelled == ["/slow"])


def test_a_client_that_has_closed_its_side_and_reads_on_cancels_nothing(start: Callable[..., Running]) -> None:
    application = Never()
    with start(application).connect() as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        time.sleep(3.5)
        assert application.cancelled == []
        assert set(connection.recv(1000).splitlines()) == {b"HTTP/1.1 102 Processing", b""}


def test_metrics_that_can_not_be_handed_over_do_not_end_the_server(start: Callable[..., Running]) -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise RuntimeError("the metrics agent is away")

    running = start(echo, fail)
    _until(lambda: len(calls) >= 3)
    assert httpx.get(running.url).text == "GET "
    assert running.listener.alive


def test_a_loop_that_hangs_is_not_alive_and_recovers(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(request: HttpRequest, respond: Respond) -> None:
        time.sleep(4)
        respond(Answer(200, b""))

    monkeypatch.setattr(listener, "_STUCK_AFTER_S", 2.0)
    running = start(hang)
    assert running.listener.alive
    asking = threading.Thread(target=lambda: httpx.get(running.url, timeout=10))
    asking.start()
    time.sleep(3.2)
    assert not running.listener.alive
    asking.join()
    _until(lambda: running.listener.alive)


def _until(fact: Callable[[], bool]) -> None:
    begin = time.monotonic()
    while not fact():
        assert time.monotonic() - begin < 10, "it did not happen"
        time.sleep(0.02)

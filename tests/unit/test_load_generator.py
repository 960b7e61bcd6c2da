"""What the benchmarks' figures rest upon: the generator counts what goes wrong and keeps answers to compare."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.load import Load, post, run

REQUESTS = [post(f"/{number}", b"%d" % number) for number in range(5)]


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.answer(200, body)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"content-length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Refusing(Echo):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(503, b"")


class Closing(Echo):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(200, b"", connection="close")


class Vanishing(Echo):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.close_connection = True


@contextmanager
def serving(handler: type[Echo]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def load(handler: type[Echo]) -> Load:
    with serving(handler) as port:
        return run(port, REQUESTS, connections=2, seconds=0.2, warm_up_s=0.1)


def test_kept_answers_are_those_to_their_requests() -> None:
    seen = load(Echo)
    assert seen.errors == 0
    assert seen.requests_per_s > 0
    assert 0 < seen.p50_ms <= seen.p99_ms
    assert {sample.request for sample in seen.samples} > {0}
    assert all(sample.body == b"%d" % sample.request for sample in seen.samples)


def test_an_answer_other_than_200_is_an_error() -> None:
    assert load(Refusing).errors > 0


def test_a_connection_that_the_server_closes_after_an_answer_is_opened_anew() -> None:
    seen = load(Closing)
    assert seen.errors == 0
    assert seen.requests_per_s > 0


def test_a_connection_that_is_lost_before_its_answer_is_an_error() -> None:
    assert load(Vanishing).errors > 0

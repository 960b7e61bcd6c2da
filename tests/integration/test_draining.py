"""A listener that drains: clients get time to leave, and a request that is being answered its own."""

import asyncio
import threading
import time
from dataclasses import dataclass, field

import httpx

from serve.http_protocol import Answer, Bounds, Connections, HttpRequest, Respond
from serve.listener import Listener
from serve.settings import ListenerSettings
from tests.ports import free_port

DRAIN_S, ANSWER_S = 0.3, 1.5
BOUNDS = Bounds(body_bytes=1_000, connections=10, idle_s=60.0, receive_s=60.0, connection_age_s=600.0)


@dataclass
class Drained:
    """A listener with an idle connection and a request on its way, from the beginning of its drain to the end."""

    longest_s: float
    arrived: threading.Event = field(default_factory=threading.Event)
    answers: list[httpx.Response] = field(default_factory=list)
    errors: list[httpx.HTTPError] = field(default_factory=list)
    took_s: float = 0.0

    def run(self) -> "Drained":
        settings = ListenerSettings(host="127.0.0.1", port=free_port(), drain_s=DRAIN_S)
        connections = Connections(self._answer, BOUNDS, lambda _: None)
        listener = Listener(connections, settings, lambda: None, longest_s=self.longest_s)
        listener.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}") as idle:
            idle.get("/")
            asking = threading.Thread(target=self._ask, args=(f"http://127.0.0.1:{settings.port}/late",))
            asking.start()
            assert self.arrived.wait(10)
            began, connections.draining = time.monotonic(), True
            listener.stop_accepting()
            listener.drain()
            self.took_s = time.monotonic() - began
            asking.join()
        return self

    def _answer(self, request: HttpRequest, respond: Respond) -> None:
        """`/late` after a while, everything else at once."""
        late = request.path == "/late"
        asyncio.get_running_loop().call_later(ANSWER_S if late else 0.0, respond, Answer(200, b"answered"))
        if late:
            self.arrived.set()

    def _ask(self, url: str) -> None:
        try:
            self.answers.append(httpx.get(url, timeout=30))
        except httpx.HTTPError as error:
            self.errors.append(error)


def test_a_request_that_is_being_answered_is_waited_for_and_nothing_else() -> None:
    drained = Drained(longest_s=30.0).run()
    (answer,) = drained.answers
    assert (answer.text, answer.headers["connection"]) == ("answered", "close")
    assert DRAIN_S < drained.took_s < ANSWER_S + 2.0


def test_no_longer_than_a_request_may_take() -> None:
    drained = Drained(longest_s=0.2).run()
    assert drained.answers == []
    assert len(drained.errors) == 1
    assert drained.took_s < ANSWER_S

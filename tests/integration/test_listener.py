"""The listener with small applications of its own: what must not end it, and what must be noticed."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from serve import listener
from serve.listener import Listener
from serve.settings import ListenerSettings


def start(application: Any, flush: Callable[[], None]) -> tuple[Listener, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    started = Listener(application, ListenerSettings(host="127.0.0.1", port=port, drain_s=0.5), flush)
    started.start()
    return started, f"http://127.0.0.1:{port}/"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def hang(scope: Any, receive: Any, send: Any) -> None:
    time.sleep(4)  # noqa: ASYNC251 - what a model that hangs does to the loop
    await hello(scope, receive, send)


def test_metrics_that_can_not_be_handed_over_do_not_end_the_server() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise RuntimeError("the metrics agent is away")

    running, url = start(hello, fail)
    time.sleep(2.5)
    assert httpx.get(url).text == "hello"
    assert running.alive
    running.drain()
    assert len(calls) >= 3


def test_a_loop_that_hangs_is_not_alive_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_STUCK_AFTER_S", 2.0)
    running, url = start(hang, lambda: None)
    assert running.alive
    asking = threading.Thread(target=lambda: httpx.get(url, timeout=10))
    asking.start()
    time.sleep(3.2)
    assert not running.alive
    asking.join()
    time.sleep(1.2)
    assert running.alive
    running.drain()

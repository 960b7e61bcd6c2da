"""What people are told of a rollout: the log, Slack's text, and a webhook that is asked again."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from serve.notice import announce, post, slack_text
from taxiway.rollout.progress import moved_to
from taxiway.rollout.state import RolloutState
from tests.rollout_records import after, begun

PAUSE_S = 0.001


class Hook:
    """A little server that answers with the statuses it is told, and then with 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[Any] = []
        self.came = threading.Event()
        self.server = HTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.bodies.append((self.headers["content-type"], json.loads(body)))
                self.send_response(hook.statuses.pop(0) if hook.statuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()
                hook.came.set()

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def failed() -> RolloutState:
    return moved_to(begun(), after(60), "failed", "errors: 3% more", phase="rolling_back", outcome="rolled_back")


def test_an_event_is_posted_as_json_with_a_text_for_slack(hook: Hook) -> None:
    state = failed()
    announce(state, state.events[-1], hook.url)
    assert hook.came.wait(10)
    ((kind, body),) = hook.bodies
    assert kind == "application/json"
    assert body["event"] == "rollout.failed"
    assert (body["endpoint"], body["version"], body["champion"], body["step"]) == ("delay", "4", "3", 1)
    assert (body["told"], body["by"]) == ("errors: 3% more", "controller")
    assert body["text"] == slack_text(state, state.events[-1])


def test_the_text_says_who_what_and_why_in_slacks_markup() -> None:
    state = failed()
    assert slack_text(state, state.events[-1]) == (
        ":x: *delay*: version 4 of flight-delay – *failed* (controller)\nerrors: 3% more"
    )
    assert slack_text(state, state.events[0]).startswith(":airplane: *delay*: version 4")
    back = moved_to(state, after(61), "rolled_back", "done")
    assert "*rolled back*" in slack_text(back, back.events[-1])


def test_a_hook_that_fails_is_asked_again(hook: Hook) -> None:
    hook.statuses = [500, 503, 404]
    assert post(hook.url, b'{"a": 1}', PAUSE_S)
    assert len(hook.bodies) == 4


def test_after_four_tries_it_is_given_up_and_logged(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    hook.statuses = [500] * 9
    assert not post(hook.url, b'{"a": 1}', PAUSE_S)
    assert len(hook.bodies) == 4
    assert "did not take its event" in caplog.text


def test_a_hook_that_is_not_there_raises_nothing(hook: Hook) -> None:
    gone = hook.url.replace(str(hook.server.server_port), "1")
    assert not post(gone, b"{}", PAUSE_S)


def test_without_a_webhook_the_log_has_the_event_with_fields(caplog: pytest.LogCaptureFixture) -> None:
    state = failed()
    with caplog.at_level(logging.INFO, "taxiway.rollout"):
        announce(state, state.events[-1])
    (record,) = [json.loads(it.message) for it in caplog.records]
    assert (record["event"], record["rollout"], record["model"]) == ("rollout.failed", state.id, "flight-delay")
    assert record["at"] == after(60).isoformat()

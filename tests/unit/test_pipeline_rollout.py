"""cluster/ci/rollout.py against a server that gives the states of a rollout one after the other."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cluster.ci.rollout import main
from taxiway.rollout.plan import RolloutSettings
from taxiway.rollout.state import Event, Outcome, Phase, RolloutState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = "a-token-of-the-tests"


def state(phase: Phase, outcome: Outcome | None = None, identity: str = "r1", told: str = "") -> RolloutState:
    return RolloutState(
        id=identity,
        application="default",
        endpoint="parcel",
        model="parcel",
        champion_version="1",
        challenger_version="2",
        plan=RolloutSettings(),
        phase=phase,
        began=NOW,
        step_began=NOW,
        outcome=outcome,
        reason=told,
        events=(Event(at=NOW, what="started", told="copies of all requests", by="ada"),),
    )


class Served(ThreadingHTTPServer):
    """Answers GET with the next state, the last one for ever; remembers what was posted."""

    def __init__(self, states: list[RolloutState | int | None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.states = states
        self.posted: list[tuple[str, Any, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Served

    def do_GET(self) -> None:
        states = self.server.states
        self._answer(states.pop(0) if len(states) > 1 else states[0])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.posted.append((self.path, body, self.headers["taxiway-by"]))
        self._answer(state("running"))

    def _answer(self, given: RolloutState | int | None) -> None:
        if self.headers["authorization"] != f"Bearer {TOKEN}":
            given = 401
        self.send_response(given if isinstance(given, int) else 200)
        self.end_headers()
        text = given.model_dump_json() if isinstance(given, RolloutState) else json.dumps(given)
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """The tests look at what it answers."""


@contextmanager
def served(*states: RolloutState | int | None) -> Iterator[Served]:
    server = Served(list(states))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_ADMIN_TOKEN", TOKEN)


def follow(server: Served, *more: str) -> int:
    return main(["parcel", "--url", server.url, "--every-s", "0.01", "--limit-s", "5", *more])


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (state("ended", "promoted"), 0),
        (state("ended", "rolled_back", told="errors"), 3),
        (state("ended", "aborted"), 3),
        (state("ended", "superseded"), 3),
        (state("holding"), 4),
        (state("paused"), 4),
        (state("running", identity="another"), 1),
        (None, 1),
    ],
)
def test_the_exit_status_tells_how_it_ended(last: RolloutState | None, status: int) -> None:
    with served(state("running"), state("running"), last) as server:
        assert follow(server) == status


def test_what_is_decided_and_not_yet_done_is_waited_for() -> None:
    with served(
        state("promoting", "promoted"), state("rolling_back", "rolled_back"), state("ended", "rolled_back")
    ) as server:
        assert follow(server) == 3
        assert server.states == [state("ended", "rolled_back")]


def test_it_begins_one_with_the_plan_and_signs_it(tmp_path: Any) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"steps": [{"weight": 10}]}')
    with served(state("ended", "promoted")) as server:
        follow(server, "--plan", str(plan), "--by", "ada")
        assert server.posted == [
            ("/admin/endpoints/parcel/rollout", {"plan": {"steps": [{"weight": 10}]}}, "ada"),
        ]


def test_an_approval_goes_on_with_the_one_under_way() -> None:
    with served(state("running"), state("ended", "promoted")) as server:
        assert follow(server, "--command", "resume", "--follow", "--reason", "looked at it") == 0
        assert [(path, body) for path, body, _ in server.posted] == [
            ("/admin/endpoints/parcel/rollout/resume", {"reason": "looked at it"})
        ]


def test_an_api_that_is_away_for_a_moment_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with served(503, 503, state("ended", "promoted")) as server:
        assert follow(server) == 0
    assert capsys.readouterr().out.count("no answer, asked again") == 1


def test_each_event_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with served(state("running"), state("running"), state("ended", "promoted")) as server:
        follow(server)
    assert capsys.readouterr().out.count("started: copies of all requests") == 1


def test_without_a_decision_in_time_it_fails_and_leaves_the_rollout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with served(state("running")) as server:
        assert main(["parcel", "--url", server.url, "--every-s", "0.01", "--limit-s", "0.05"]) == 1
        assert len(server.posted) == 1
    assert "goes on by itself" in capsys.readouterr().out


def test_a_wrong_token_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TAXIWAY_ADMIN_TOKEN", "another")
    with served(state("running")) as server:
        assert follow(server) == 1
    assert "401" in capsys.readouterr().err


def test_nothing_is_asked_without_a_token_or_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["parcel", "--url", "file:///etc/passwd"]) == 2
    monkeypatch.delenv("TAXIWAY_ADMIN_TOKEN")
    assert main(["parcel"]) == 2


def test_following_needs_one_that_is_under_way(capsys: pytest.CaptureFixture[str]) -> None:
    with served(state("ended", "promoted")) as server:
        assert follow(server, "--follow") == 1
    assert "no rollout of parcel is under way" in capsys.readouterr().err

"""A controller that watches drift: windows of all replicas, alarms for the retraining, and what survives it."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serve.drift_watch import DriftWatch
from serve.reports import Report
from serve.settings import EndpointSettings
from taxiway.alarms import alarms
from taxiway.drift.counts import ColumnCounts, Counted
from taxiway.drift.progress import DriftState, Followed
from taxiway.drift.settings import EffectSettings, UsualDrift
from taxiway.errors import ConfigError
from taxiway.rollout.tally import Stream

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
STREAM = Stream("delay", "champion", "3", "live")
REFERENCE = (
    ColumnCounts("inputs", "wind", True, 4_000, 0, (2_000, 2_000)),
    ColumnCounts("outputs", "late", True, 4_000, 0, (2_000, 2_000)),
)
FILE: dict[str, Any] = {
    "name": "delay",
    "model": "models:/delays@champion",
    "drift": {"window": {"rows": 1_000, "max_s": None}},
}


class Watched:
    """A watch, and the cumulative numbers of the processes that report to it."""

    def __init__(self, folder: Path, file: dict[str, Any] | None = None) -> None:
        self.seen: list[tuple[Stream, Followed]] = []
        self.begun: list[tuple[Stream, DriftState]] = []
        self.folder, self.file = folder, file or FILE
        self.totals: dict[tuple[str, Stream], dict[str, float]] = {}
        self.number, self.now = 0, BEGAN
        self.restart()

    def restart(self) -> None:
        settings = EndpointSettings.model_validate(self.file)
        models = {"champion": "delays"}
        self.watch = DriftWatch("flights", settings, models, self._saw, self.folder, self._began)

    def _began(self, stream: Stream, state: DriftState) -> None:
        self.begun.append((stream, state))

    def _saw(self, stream: Stream, followed: Followed) -> None:
        self.seen.append((stream, followed))

    def tell(self, process: str, low: int = 0, high: int = 0, stream: Stream = STREAM) -> Report:
        """So many rows more, with a low or a high wind."""
        total = self.totals.setdefault((process, stream), {"rows": 0.0})
        steps = {"rows": low + high, "inputs/wind/0": low, "inputs/wind/1": high}
        halves = {f"outputs/late/{place}": (low + high) / 2 for place in (0, 1)}
        for name, value in (steps | halves).items():
            total[name] = total.get(name, 0.0) + value
        self.number += 1
        drift = {stream: Counted(REFERENCE, dict(total))}
        report = Report(process, BEGAN.timestamp() - 100, self.number, {}, {}, drift)
        self.watch.take(report, self.now)
        return report

    def tick(self) -> None:
        self.now += timedelta(seconds=10)
        self.watch.tick(self.now)

    @property
    def windows(self) -> list[Any]:
        return [followed.state.windows[-1] for _, followed in self.seen]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    found = Watched(tmp_path / "rollouts")
    for process in ("one", "two"):
        found.tell(process)
    return found


def test_a_window_holds_the_rows_of_all_replicas_once(watched: Watched) -> None:
    watched.tell("one", 300, 300)
    late = watched.tell("two", 100, 100)
    watched.watch.take(late, watched.now)
    watched.tick()
    assert not watched.windows
    assert [it.rows for it in watched.watch.found()] == [800]
    watched.tell("two", 200, 100)
    watched.watch.take(late, watched.now)
    watched.tick()
    watched.tick()
    assert [it.rows for it in watched.windows] == [1_100]
    assert watched.windows[0].drifting == ()
    assert [it.rows for it in watched.watch.found()] == [0]


def test_drift_in_two_windows_raises_one_alarm_for_the_retraining(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "taxiway.drift")
    for _ in range(3):
        watched.tell("one", 200, 800)
        watched.tick()
    (alarm,) = alarms("delays").values()
    assert alarm.endpoint == "delay"
    assert alarm.reason.startswith("drift of champion version 3 in 2 windows: inputs/wind (PSI 0.")
    assert alarm.details["rows"] == 1_000
    (event,) = (json.loads(it.message) for it in caplog.records if it.name == "taxiway.drift")
    assert (event["event"], event["columns"]) == ("drift.raised", ["inputs/wind"])
    assert [list(followed.state.raised) for _, followed in watched.seen] == [[], ["inputs/wind"], ["inputs/wind"]]


def test_the_end_of_drift_is_told_and_raises_nothing(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taxiway.drift")
    for high in (800, 800, 500, 500, 500):
        watched.tell("one", 1_000 - high, high)
        watched.tick()
    assert len(alarms("delays")) == 1
    assert [json.loads(it.message)["event"] for it in caplog.records] == ["drift.raised", "drift.cleared"]


def test_without_retrain_an_alarm_is_told_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    watched = Watched(tmp_path, FILE | {"drift": FILE["drift"] | {"retrain": False, "raise_after": 1}})
    watched.tell("one")
    watched.tell("one", 200, 800)
    watched.tick()
    assert watched.seen[0][1].raised
    assert not alarms("delays")


def test_a_controller_that_starts_again_counts_no_row_twice_and_none_less(watched: Watched) -> None:
    watched.tell("one", 200, 800)
    watched.tick()
    watched.tell("one", 100, 500)
    watched.restart()
    watched.tell("one", 100, 300)
    assert [it.rows for it in watched.watch.found()] == [1_000]
    watched.tick()
    assert [it.rows for it in watched.windows] == [1_000, 1_000]
    assert len(alarms("delays")) == 1, "the window before it was remembered"


def test_what_was_counted_before_anybody_watched_belongs_to_no_window(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.tell("old", 50_000, 0)
    watched.tell("old", 10, 10)
    assert [it.rows for it in watched.watch.found()] == [20]


def test_the_next_version_begins_with_a_window_of_its_own(watched: Watched) -> None:
    watched.tell("one", 200, 799)
    successor = STREAM._replace(version="4")
    watched.tell("one", stream=successor)
    watched.tell("one", 1, 1, stream=successor)
    watched.tick()
    assert not watched.windows
    assert [(it.version, it.rows) for it in watched.watch.found()] == [("3", 999), ("4", 2)]
    watched.tell("one", stream=STREAM._replace(version="5"))
    assert [it.version for it in watched.watch.found()] == ["4", "5"]


def test_another_endpoint_is_none_of_its_business(watched: Watched) -> None:
    watched.tell("one", 1, 1, stream=STREAM._replace(endpoint="other"))
    assert {it.variant for it in watched.watch.found()} == {"champion"}


def test_an_endpoint_without_the_key_or_with_a_graph_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no drift"):
        DriftWatch("flights", EndpointSettings(name="delay", model="models:/m/1"), {}, lambda *_: None, tmp_path)
    node = {"nodes": {"m": {"kind": "model", "model": "models:/m/1"}}, "output": "m"}
    with pytest.raises(ValueError, match=r"graph"):
        EndpointSettings.model_validate({"name": "delay", "graph": node, "drift": {}})


def test_what_is_usual_for_a_version_is_no_drift_unless_the_settings_say_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    usual = UsualDrift(
        window_s=86_400,
        windows=9,
        effects={"inputs/wind": EffectSettings(psi=9, jensen_shannon=0.9, kolmogorov_smirnov=0.9)},
    )
    for own, drifting in (({}, ()), ({"effects": {}}, ("inputs/wind",))):
        watched = Watched(tmp_path / str(len(own)), FILE | {"drift": FILE["drift"] | own})
        for rows in (0, 1_000):
            drift = {
                STREAM: Counted(REFERENCE, {"rows": rows, "inputs/wind/1": rows, "outputs/late/0": rows / 2}, usual)
            }
            watched.number += 1
            watched.watch.take(Report("one", 1.0, watched.number, {}, {}, drift), watched.now)
        watched.tick()
        (window,) = watched.windows
        assert tuple(it.key for it in window.drifting if it.group == "inputs") == drifting

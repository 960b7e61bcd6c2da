"""What the controller's gauges say of a window, of a version that begins, and after a restart."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taxiway.drift.judgement import ColumnDrift, WindowDrift
from taxiway.drift.progress import ColumnAlarm, DriftState
from taxiway.rollout.tally import Stream
from taxiway.telemetry.drift import DriftMetrics
from tests.heard import Heard
from tests.unit.test_drift_watch import STREAM, Watched

NOW = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> dict[str, Heard]:
    found: dict[str, Heard] = {}

    def ear(name: str, _: str, keys: tuple[str, ...]) -> Any:
        found[name] = Heard(keys)
        return found[name]

    monkeypatch.setattr("taxiway.telemetry.drift.Gauge", ear)
    monkeypatch.setattr("taxiway.telemetry.drift.Counter", ear)
    return found


def window(psi: float | None) -> WindowDrift:
    column = ColumnDrift(group="inputs", column="weight", p=0.5, psi=psi, missing_difference=0.2)
    return WindowDrift(began=NOW, ended=NOW, rows=500, columns=(column,))


def told(metrics: DriftMetrics, heard: dict[str, Heard], gauge: str) -> dict[str, float]:
    """What is set at the next look, by statistic or column."""
    found = heard[gauge]
    found.levels.clear()
    metrics.tell()
    return {dict(tags).get("statistic", "weight"): values[-1] for tags, values in found.levels.items()}


def test_gauges_are_told_again_and_again_since_ray_forgets_them(heard: dict[str, Heard]) -> None:
    metrics = DriftMetrics()
    metrics.seen("box", "champion", window(0.3), ("inputs/weight",))
    for _ in range(2):
        assert told(metrics, heard, "taxiway_drift_distance") == {"psi": 0.3, "missing_difference": 0.2}
        assert told(metrics, heard, "taxiway_drift_alarm") == {"weight": 1}
    assert heard["taxiway_drift_windows_total"].of(endpoint="box", variant="champion") == 1


def test_a_column_that_is_all_missing_has_no_distance_and_not_that_of_the_window_before(
    heard: dict[str, Heard],
) -> None:
    metrics = DriftMetrics()
    metrics.seen("box", "champion", window(0.3), ())
    metrics.seen("box", "champion", window(None), ())
    assert told(metrics, heard, "taxiway_drift_distance") == {"missing_difference": 0.2}


def test_an_alarm_ends_with_the_version_that_it_was_raised_for(heard: dict[str, Heard]) -> None:
    metrics = DriftMetrics()
    metrics.seen("box", "champion", window(0.3), ("inputs/weight",))
    metrics.begun("box", "challenger", DriftState(began=NOW))
    assert told(metrics, heard, "taxiway_drift_alarm") == {"weight": 1}
    metrics.begun("box", "champion", DriftState(began=NOW))
    assert told(metrics, heard, "taxiway_drift_alarm") == {}


def test_a_new_controller_exports_the_alarms_that_an_earlier_one_has_raised(heard: dict[str, Heard]) -> None:
    metrics, alarm = DriftMetrics(), {"inputs/weight": ColumnAlarm(drifting=2, since=NOW)}
    metrics.begun("box", "champion", DriftState(began=NOW, windows=(window(0.3),), alarms=alarm))
    assert told(metrics, heard, "taxiway_drift_alarm") == {"weight": 1}
    assert heard["taxiway_drift_windows_total"].total == {}


def test_a_watch_tells_what_it_begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    watched = Watched(tmp_path / "rollouts")
    for process in ("one", "two"):
        watched.tell(process)
    for _ in range(2):
        watched.tell("one", 200, 800)
        watched.tick()
    watched.restart()
    watched.tell("one")
    watched.tell("two", stream=Stream(STREAM.endpoint, STREAM.variant, "4", "live"))
    told = [(stream.version, list(state.raised), len(state.windows)) for stream, state in watched.begun]
    assert told == [("3", [], 0), ("3", ["inputs/wind"], 2), ("4", [], 0)]

"""When a window is over, and when alarms of drift are raised and cleared."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from taxiway.drift.calibration import usual
from taxiway.drift.counts import ColumnCounts
from taxiway.drift.judgement import ColumnDrift, WindowDrift, is_over, judge
from taxiway.drift.progress import KEPT_WINDOWS, DriftState, Followed, follow
from taxiway.drift.settings import DriftSettings, DriftWindowSettings, EffectSettings

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def window(place: int, *drifting: str, columns: str = "ab") -> WindowDrift:
    found = [
        ColumnDrift(group="inputs", column=it, p=0.5, psi=0.3, because=("chi_square",) if it in drifting else ())
        for it in columns
    ]
    return WindowDrift(began=BEGAN + place * HOUR, ended=BEGAN + (place + 1) * HOUR, rows=900, columns=tuple(found))


def followed(*windows: str, settings: DriftSettings | None = None) -> list[Followed]:
    """One after the other; each text names the columns that drift in its window."""
    state, found = DriftState(began=BEGAN), []
    for place, it in enumerate(windows):
        found.append(follow(state, window(place, *it), settings or DriftSettings()))
        state = found[-1].state
    return found


def test_an_alarm_is_raised_after_two_windows_in_a_row_and_once() -> None:
    found = followed("a", "", "a", "a", "a")
    assert [[it.column for it in step.raised] for step in found] == [[], [], [], ["a"], []]
    assert found[-1].state.raised == {"inputs/a": BEGAN + 4 * HOUR}


def test_an_alarm_is_cleared_after_three_quiet_windows_in_a_row() -> None:
    found = followed("a", "a", "", "", "a", "", "", "", "a", "a")
    assert [step.cleared for step in found] == [()] * 7 + [("inputs/a",), (), ()]
    assert [bool(step.raised) for step in found] == [False, True] + [False] * 7 + [True]


def test_columns_are_followed_each_for_itself() -> None:
    found = followed("a", "b", "ab", "b")
    assert [[it.column for it in step.raised] for step in found] == [[], [], ["b"], []]


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_raised_and_cleared_take_turns(drifts: list[bool], raise_after: int, clear_after: int) -> None:
    settings = DriftSettings(raise_after=raise_after, clear_after=clear_after)
    steps = followed(*("a" if it else "" for it in drifts), settings=settings)
    events = ["up" if step.raised else "down" for step in steps if step.raised or step.cleared]
    assert events == ["up", "down"] * (len(events) // 2) + ["up"] * (len(events) % 2)
    assert sum(drifts) >= raise_after * events.count("up")


def test_a_state_keeps_the_last_windows_and_survives_json_in_one_line() -> None:
    state = followed(*["a"] * (KEPT_WINDOWS + 5))[-1].state
    assert len(state.windows) == KEPT_WINDOWS
    assert state.windows[-1].ended == state.began
    text = state.model_dump_json()
    assert "\n" not in text
    assert DriftState.model_validate_json(text) == state


def test_a_window_ends_by_rows_or_by_time_and_not_with_too_few_rows() -> None:
    both = DriftWindowSettings(rows=2_000, max_s=3_600, min_rows=500)
    assert [is_over(both, *it) for it in ((1_999, 3_599), (2_000, 1), (500, 3_600), (499, 90_000))] == [
        False,
        True,
        True,
        False,
    ]
    assert not is_over(DriftWindowSettings(rows=2_000, max_s=None), 1_999, 1e9)
    assert not is_over(DriftWindowSettings(max_s=60), 10**9, 59)


@pytest.mark.parametrize("wrong", [{"rows": None, "max_s": None}, {"rows": 200, "min_rows": 500}])
def test_windows_that_never_end_or_contradict_themselves_are_refused(wrong: dict[str, int | None]) -> None:
    with pytest.raises(ValidationError, match="rows"):
        DriftWindowSettings.model_validate(wrong)


def test_a_difference_that_was_usual_is_no_drift_and_a_larger_one_is() -> None:
    """The weather of each week: 35 weeks that lie far away, and one that lies farther."""

    def judged(high: int, settings: DriftSettings) -> WindowDrift:
        before = ColumnCounts("features", "wind", True, 10_000, 0, (5_000, 5_000))
        after = ColumnCounts("features", "wind", True, 2_000, 0, (2_000 - high, high))
        return judge(settings, (before,), (after,), BEGAN, BEGAN)

    plain = DriftSettings()
    known = [judged(1_300 + 10 * week, plain) for week in range(35)]
    assert all(it.drifting for it in known)
    calibrated = DriftSettings(columns=usual(known, plain.effects))
    assert not judged(1_630, calibrated).drifting
    assert judged(1_700, calibrated).drifting
    assert usual([window(0)], EffectSettings(psi=0.5, missing=None))["inputs/a"].psi == 0.5

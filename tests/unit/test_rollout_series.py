"""The series of a rollout on the disk: what is written when, what a kill leaves, and that it stays small."""

import itertools
import json
import os
from collections.abc import Sequence
from datetime import timedelta
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.series import EVERY_S, KEPT, Series, interval_s, thinned
from taxiway.rollout.judge_step import Losses
from taxiway.rollout.observations import Moments
from taxiway.rollout.progress import moved_to
from taxiway.rollout.sequential import Interval
from taxiway.rollout.state import RolloutState
from taxiway.rollout.tally import Tally
from taxiway.rollout.verdict import Check, Limits, assess
from taxiway.rollout_series import Look, Measured, look, read_series, series_path, steps_of, written
from tests.rollout_records import BEGAN, after, begun

ERRORS = Check("errors", "guardrail", "errors", "lower", 0.01, unit="more of the requests")


def measured(requests: int, low: float = -0.01, high: float = 0.005) -> Measured:
    verdict = assess([ERRORS], {"errors": lambda alpha: Interval(0.001, low, high, requests)}, Limits(), 10)
    tally = Tally({"requests": float(requests), "code/model_failed": 2.0, "latency/20": requests - 2.0})
    losses = Losses(Moments.of([0.5, 0.7]), Moments.of([0.4]))
    return Measured(tally, tally, Tally({"requests": 3.0}), verdict, losses)


def file_of(folder: Path, state: RolloutState) -> Path:
    return series_path(folder, "flights", "delay", state.id)


def fill(folder: Path, state: RolloutState, seconds: Sequence[float], most: int = 5_000) -> tuple[Look, ...]:
    """As a controller that looks at these moments."""
    series = Series(folder, "flights", "delay", most)
    for second in seconds:
        if series.is_due(state, after(second)):
            series.add(state, after(second), measured(int(second) + 10))
    return read_series(file_of(folder, state))


def test_what_was_measured_is_read_again(tmp_path: Path) -> None:
    state = begun()
    (found,) = fill(tmp_path, state, [30])
    assert file_of(tmp_path, state) == tmp_path / "flights" / f"delay-{state.id}.jsonl"
    assert found == look(state, after(30), measured(40), "started")
    assert (found.weights, found.shadow) == ({"champion": 100.0, "challenger": 0.0}, 100.0)
    assert found.champion is not None
    assert (found.champion.requests, found.champion.faults, found.champion.slow) == (40, 2, 0)
    assert found.champion.p99_ms == pytest.approx(1_000 * 0.0002 * 1.1**20)
    (check,) = found.checks
    assert (check.estimate, check.low, check.high, check.threshold) == (0.001, -0.01, 0.005, 0.01)
    assert (check.n, check.state, found.verdict) == (40, "passed", "successful")
    assert found.losses is not None
    assert (found.losses.champion, found.losses.challenger, found.losses.pairs) == (pytest.approx(0.6), 0.4, None)


def test_an_end_without_bound_and_a_figure_that_is_not_known_are_none(tmp_path: Path) -> None:
    one = look(begun(), BEGAN, measured(5, -inf, inf))
    assert (one.checks[0].low, one.checks[0].high) == (None, None)
    assert json.loads(written(one))
    unknown = look(begun(), BEGAN, Measured(Tally(), Tally(), Tally(), assess([ERRORS], {}, Limits(), 1)))
    assert (unknown.checks[0].estimate, unknown.checks[0].state) == (None, "could_not_measure")
    assert unknown.losses is None


def test_a_line_is_written_every_few_seconds_and_at_every_event(tmp_path: Path) -> None:
    state = begun()
    series = Series(tmp_path, "flights", "delay")
    for second in range(11):
        if series.is_due(state, after(second)):
            series.add(state, after(second), None)
    paused = moved_to(state, after(11), "paused", "lunch", phase="paused")
    assert series.is_due(paused, after(11))
    series.add(paused, after(11), None)
    assert not series.is_due(paused, after(12))
    found = read_series(file_of(tmp_path, state))
    assert [((one.at - BEGAN).total_seconds(), one.event) for one in found] == [
        (0, "started"),
        (5, None),
        (10, None),
        (11, "paused"),
    ]


def test_without_a_file_there_is_no_series(tmp_path: Path) -> None:
    assert read_series(tmp_path / "nothing.jsonl") == ()


@given(st.integers(2, 200))
def test_a_kill_in_the_middle_of_a_line_loses_that_line_only(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder, state = tmp_path_factory.mktemp("series"), begun()
    before = fill(folder, state, [0, 5, 10])
    path = file_of(folder, state)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert read_series(path) == before[:-1]
    after_it = fill(folder, state, [15, 20])
    assert after_it[:2] == before[:-1]
    assert [(one.at - BEGAN).total_seconds() for one in after_it[2:]] == [15, 20]


def test_a_controller_that_starts_again_goes_on_and_tells_no_event_twice(tmp_path: Path) -> None:
    state = begun()
    fill(tmp_path, state, [0, 5])
    found = fill(tmp_path, state, [7, 11])
    assert [one.event for one in found] == ["started", None, None]


def test_each_rollout_has_a_file_of_its_own(tmp_path: Path) -> None:
    series = Series(tmp_path, "flights", "delay")
    for identity in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        series.add(begun(identity=identity), BEGAN, None)
    assert sorted(it.name for it in tmp_path.rglob("*.jsonl")) == [
        "delay-aaaaaaaaaaaa.jsonl",
        "delay-bbbbbbbbbbbb.jsonl",
    ]


def test_a_long_rollout_keeps_a_bounded_series_that_spans_all_of_it(tmp_path: Path) -> None:
    most, state = 40, begun()
    found = fill(tmp_path, state, range(0, 5_000, 5), most)
    assert 10 <= len(found) <= most
    assert found[0].event == "started"
    assert (found[-1].at - BEGAN).total_seconds() > 4_600
    gaps = [(two.at - one.at).total_seconds() for one, two in itertools.pairwise(found)]
    assert max(gaps) <= 2 * interval_s(5_000, most)


@given(st.floats(0, 1e8), st.integers(4, 10_000))
def test_the_time_between_lines_fits_the_age(age_s: float, most: int) -> None:
    found = interval_s(age_s, most)
    assert age_s / found <= most / 2
    assert found == EVERY_S or age_s / (found / 2) > most / 2


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_thinning_keeps_events_and_what_led_to_them(events: list[bool]) -> None:
    state = begun()
    looks = [look(state, after(5 * place), None, "paused" if it else None) for place, it in enumerate(events)]
    kept = thinned(looks, 20.0)
    assert {one.at for one in looks if one.event} <= {one.at for one in kept}
    assert all(before in kept for before, one in itertools.pairwise(looks) if one.event)
    assert (kept[0], kept[-1]) == (looks[0], looks[-1])
    assert thinned(kept, 20.0) == kept


def test_a_disk_that_is_full_stops_no_rollout(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "flights").write_text("a file where a folder should be")
    Series(tmp_path, "flights", "delay").add(begun(), BEGAN, None)
    assert "can't be kept" in caplog.text


def test_what_was_measured_stands_apart_for_each_beginning_of_a_step() -> None:
    state = begun()
    again = state.model_copy(update={"step_began": BEGAN + timedelta(seconds=30)})
    looks = [look(it, after(second), measured(9)) for it, second in ((state, 1), (state, 2), (again, 31))]
    assert [len(group) for group in steps_of(looks)] == [2, 1]
    assert steps_of([look(state, BEGAN, None)]) == []


def answered(rows: int) -> Measured:
    tally = Tally(
        {"rows": float(rows), "latency/20": float(rows), "output/p/n": float(rows), "output/p/sum": 0.5 * rows}
    )
    return Measured(tally, Tally(), Tally())


def test_what_answers_looked_like_is_kept_as_they_grow_and_at_each_event(tmp_path: Path) -> None:
    state, series = begun(), Series(tmp_path, "flights", "delay")
    for second, rows in enumerate((0, 100, 110, 124, 125, 156, 157)):
        series.add(state, after(second), answered(rows))
    moved = moved_to(state, after(8), "step", "on", step=1)
    series.add(moved, after(8), None)
    series.add(moved, after(9), None)
    found = [(one.event, one.sketch and one.sketch.champion.rows) for one in read_series(file_of(tmp_path, state))]
    rows = [it for _, it in found]
    assert rows == [None, 100, None, None, 125, None, 157, 157, None]
    assert found[7] == ("step", 157)
    last = read_series(file_of(tmp_path, state))[7].sketch
    assert last is not None
    assert (last.step, last.champion.latency, last.champion.outputs["p"].mean) == (0, {20: 157}, 0.5)


def test_thinning_keeps_what_the_answers_of_each_step_looked_like_last(tmp_path: Path) -> None:
    state, series = begun(), Series(tmp_path, "flights", "delay")
    for second in range(1, 60):
        series.add(state, after(second), answered(int(1.3 ** min(second, 40))))
    kept = thinned(read_series(file_of(tmp_path, state)), 1_000.0)
    assert [one.sketch.champion.rows for one in kept if one.sketch] == [1, int(1.3**40)]


def test_when_a_rollout_begins_the_oldest_files_of_its_endpoint_go(tmp_path: Path) -> None:
    folder = tmp_path / "flights"
    folder.mkdir()
    names = [f"delay-{number:012x}.jsonl" for number in range(KEPT + 5)]
    others = [f"delay-long-{number:012x}.jsonl" for number in range(KEPT + 5)] + ["delay.json", "delay-notes.jsonl"]
    for age, name in enumerate([*names, *others]):
        (folder / name).write_text("{}\n")
        os.utime(folder / name, (1_000_000 - age, 1_000_000 - age))
    state = begun(identity="ffffffffffff")
    series = Series(tmp_path, "flights", "delay")
    series.add(state, BEGAN, None)
    expected = {*names[: KEPT - 1], *others, f"delay-{state.id}.jsonl"}
    assert {it.name for it in folder.iterdir()} == expected
    (folder / names[-1]).write_text("{}\n")
    series.add(state, after(5), None)
    assert (folder / names[-1]).exists()  # only at the beginning

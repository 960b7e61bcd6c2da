"""What is told of a replay: table, picture, and what is kept from one call to the next."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from examples.flights.replay_clients import Asked
from examples.flights.replay_picture import picture
from examples.flights.replay_report import Told, keep, kept, labels_counted, reason, row_of, shares, table
from taxiway.errors import ConfigError
from taxiway.rollout.plan import RolloutSettings, StepSettings
from taxiway.rollout.state import Event, RolloutState


def told(outcome: str = "rolled_back") -> Told:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    steps = (StepSettings(shadow=100, min_s=1, max_s=9), StepSettings(weight=50, min_s=1, max_s=9))
    events = (
        Event(at=began, what="started", told="", by="controller"),
        Event(at=began + timedelta(seconds=4), what="step", told="", by="controller"),
        Event(at=began + timedelta(seconds=7), what="failed", told="", by="controller"),
    )
    state = RolloutState(
        id="1",
        application="a",
        endpoint="e",
        model="m",
        champion_version="1",
        challenger_version="2",
        plan=RolloutSettings(steps=steps),
        step=1,
        began=began,
        step_began=began,
        outcome=outcome,
        reason="errors: 0.01 more of the requests, 0.005 to 0.02 (99.38% interval, 4,000 rows): wholly above",
        events=events,
    )
    answers = [
        Asked(number, 10 + number / 10, 0.001, 200, "2" if number > 53 and number % 2 else "1", "id")
        for number in range(100)
    ]
    return Told("failing", state, {0: 1_300, 1: 200}, answers, 10.0)


def test_the_table_tells_outcome_time_and_how_many_saw_it() -> None:
    line = table([row_of(told())]).splitlines()[-1]
    assert line.startswith("| failing | rolled back | 2 of 2 | 7 s | 23 | 0 | 1,500 | errors: 0.01 more")
    assert "(4,000 rows)" in line


def test_of_a_promoted_one_only_the_answers_before_that_are_counted() -> None:
    assert row_of(told("promoted")).live == 8
    assert row_of(told("promoted")).requests == 100


def test_copies_only_last_until_the_first_live_step() -> None:
    assert row_of(told()).copies_s == 4.0


def test_candidates_that_were_replayed_apart_are_told_together(tmp_path: Path) -> None:
    one, other = (row_of(replace(told(), candidate=name)) for name in ("slow", "better"))
    for row in (one, other, one):
        keep(row, tmp_path)
    assert kept(tmp_path) == [other, one]


def test_what_another_version_has_kept_is_refused(tmp_path: Path) -> None:
    (tmp_path / "slow.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"slow\.json"):
        kept(tmp_path)


def test_labels_are_counted_from_the_sentence_of_the_quality_check() -> None:
    sentence = "quality: 0.01 of log loss, 0.001 to 0.02 (99.38% interval, 1,234 rows): wholly below 0.02"
    assert labels_counted(["errors: 0, 0 to 1 (99% interval, 9 rows): waiting", sentence]) == 1_234
    assert labels_counted(["quality: could not be measured"]) == 0


def test_shares_are_of_the_live_answers_of_each_second() -> None:
    seconds, percents = shares(told())
    assert seconds == [it + 0.5 for it in range(10)]
    assert percents == [0.0] * 5 + [30.0, *[50.0] * 4]


def test_a_promotion_is_told_by_what_was_found_of_quality() -> None:
    state = told("promoted").state.model_copy(update={"findings": ("errors: 0", "quality: better")})
    assert reason(state) == "quality: better"


def test_the_picture_has_a_lane_for_each_candidate_with_outcome_and_reason() -> None:
    lanes = picture([row_of(told()), row_of(told("promoted"))]).axes
    texts = [[it.get_text() for it in axes.texts] for axes in lanes]
    assert [it[0] for it in texts] == ["failing", "failing"]
    assert [it[2].split(" after")[0] for it in texts] == ["rolled back", "promoted"]
    assert texts[0][3].startswith("errors: 0.01 more")

"""What a rollout does next: every phase, every verdict, and what people ask for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxiway.errors import ConfigError, RegistryError
from taxiway.rollout.plan import RolloutSettings, StepSettings
from taxiway.rollout.progress import COMMANDS, Command, Facts, command, decide, start
from taxiway.rollout.state import EVENTS, RolloutState, parse
from taxiway.rollout.verdict import Verdict, VerdictState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALIASES = {"champion": "3", "challenger": "4"}
PLAN = RolloutSettings(
    steps=(
        StepSettings(shadow=100, min_s=60, max_s=600),
        StepSettings(weight=5, min_s=60, max_s=600, hold=True),
        StepSettings(weight=50, min_s=60, max_s=600),
    )
)


def begun(plan: RolloutSettings = PLAN) -> RolloutState:
    return start("r1", "flights", "delay", "flight-delay", ALIASES, plan, NOW, "ann")


def verdict(state: VerdictState) -> Verdict:
    return Verdict(state, state != "inconclusive", (), (f"it is {state}",))


def facts(state: VerdictState | None = None, **change: object) -> Facts:
    return replace(Facts(ALIASES, verdict(state) if state else None), **change)  # type: ignore[arg-type]


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_rollout_begins_with_its_first_step() -> None:
    state = begun()
    assert (state.phase, state.step, state.challenger_version) == ("running", 0, "4")
    assert state.traffic.weights == {"champion": 100, "challenger": 0}
    assert state.traffic.shadows == {"challenger": 100}
    assert state.events[0].by == "ann"


@pytest.mark.parametrize("aliases", [{}, {"champion": "3"}, {"challenger": "4"}, {"champion": "3", "challenger": "3"}])
def test_without_two_versions_nothing_is_rolled_out(aliases: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        start("r1", "flights", "delay", "flight-delay", aliases, PLAN, NOW, "ann")


def test_a_good_step_goes_on_when_its_time_is_over_and_not_before() -> None:
    assert decide(begun(), facts("successful"), after(59)) is None
    following = decide(begun(), facts("successful"), after(60))
    assert following is not None
    assert (following.step, following.phase, following.step_began) == (1, "running", after(60))
    assert following.traffic.weights == {"champion": 95, "challenger": 5}
    assert following.revision == 1


def test_a_step_with_a_hold_waits_for_a_person() -> None:
    second = begun().model_copy(update={"step": 1})
    held = decide(second, facts("successful"), after(60))
    assert held is not None
    assert held.phase == "holding"
    assert decide(held, facts("successful"), after(10_000)) is None
    released = command(held, "resume", after(100), "ann", "looks well")
    assert (released.phase, released.step) == ("running", 2)


def test_the_last_good_step_promotes_and_ends_when_all_have_followed() -> None:
    last = begun().model_copy(update={"step": 2})
    promoting = decide(last, facts("successful"), after(60))
    assert promoting is not None
    assert (promoting.phase, promoting.outcome) == ("promoting", "promoted")
    assert promoting.traffic.weights == {"challenger": 100}
    assert decide(promoting, facts(aliases={"champion": "4"}), after(61)) is None
    ended = decide(promoting, facts(aliases={"champion": "4"}, settled=True), after(62))
    assert ended is not None
    assert (ended.phase, ended.outcome, ended.ended) == ("ended", "promoted", after(62))
    assert decide(ended, facts("failed"), after(63)) is None


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("phase", ["running", "paused", "holding"])
def test_failure_goes_back_at_once_whatever_the_time(step: int, phase: str) -> None:
    state = begun().model_copy(update={"step": step, "phase": phase})
    back = decide(state, facts("failed"), after(0.1))
    assert back is not None
    assert (back.phase, back.outcome, back.reason) == ("rolling_back", "rolled_back", "it is failed")
    assert back.traffic.weights == {"champion": 100}
    ended = decide(back, facts(settled=True), after(2))
    assert ended is not None
    assert ended.outcome == "rolled_back"


@pytest.mark.parametrize(
    ("policy", "phase"), [("hold", "holding"), ("roll_back", "rolling_back"), ("go_on", "running")]
)
def test_without_a_verdict_the_plan_says_what_happens(policy: str, phase: str) -> None:
    plan = PLAN.model_copy(update={"on_inconclusive": policy})
    assert decide(begun(plan), facts("inconclusive"), after(599)) is None
    for found in (facts("inconclusive"), facts("error"), facts()):
        following = decide(begun(plan), found, after(600))
        assert following is not None
        assert following.phase == phase


@pytest.mark.parametrize(
    ("aliases", "outcome"),
    [
        ({"champion": "5", "challenger": "4"}, "aborted"),
        ({"champion": "3"}, "aborted"),
        ({"champion": "3", "challenger": "5"}, "superseded"),
        ({}, "aborted"),
    ],
)
def test_a_moved_alias_ends_the_rollout(aliases: dict[str, str], outcome: str) -> None:
    following = decide(begun(), facts("successful", aliases=aliases), after(60))
    assert following is not None
    assert (following.phase, following.outcome) == ("rolling_back", outcome)


def test_traffic_that_others_have_set_pauses_and_is_not_fought_over() -> None:
    paused = decide(begun(), facts("inconclusive", foreign_traffic="bob"), after(5))
    assert paused is not None
    assert paused.phase == "paused"
    assert "bob" in paused.events[-1].told
    assert decide(paused, facts("successful", foreign_traffic="bob"), after(500)) is None
    resumed = command(paused, "resume", after(600), "ann", "")
    assert (resumed.phase, resumed.step, resumed.step_began) == ("running", 0, after(600))


def test_people_may_promote_and_abort_but_not_what_has_ended() -> None:
    promoted = command(begun(), "promote", after(1), "ann", "no time")
    assert (promoted.phase, promoted.outcome, promoted.events[-1].by) == ("promoting", "promoted", "ann")
    aborted = command(begun(), "abort", after(1), "ann", "not today")
    assert (aborted.phase, aborted.outcome, aborted.reason) == ("rolling_back", "aborted", "not today")
    for state in (promoted, aborted, aborted.model_copy(update={"phase": "ended"})):
        for given_command in COMMANDS:
            with pytest.raises(ConfigError, match="not possible"):
                command(state, given_command, after(2), "ann", "")


def test_what_has_failed_cannot_be_promoted() -> None:
    failed = decide(begun(), facts("failed"), after(1))
    assert failed is not None
    with pytest.raises(ConfigError, match="rolled_back"):
        command(failed, "promote", after(2), "ann", "")


steps = st.lists(
    st.tuples(
        st.sampled_from(["successful", "failed", "inconclusive", "error", None]),
        st.booleans(),
        st.sampled_from([None, "bob"]),
        st.integers(1, 700),
        st.sampled_from([None, *COMMANDS]),
    ),
    max_size=40,
)


@given(steps)
def test_a_failed_version_is_never_promoted_and_revisions_count_every_change(
    happenings: list[tuple[VerdictState | None, bool, str | None, int, Command | None]],
) -> None:
    state, now, failed = begun(), NOW, False
    for found, settled, foreign, seconds, asked in happenings:
        now += timedelta(seconds=seconds)
        before = state
        if asked is not None:
            try:
                state = command(state, asked, now, "ann", "")
            except ConfigError:
                state = before
            assert state.revision in (before.revision, before.revision + 1)
        before = state
        open_ = state.phase in ("running", "paused", "holding")
        following = decide(state, facts(found, settled=settled, foreign_traffic=foreign), now)
        failed = failed or (open_ and found == "failed")
        if following is not None:
            state = following
            assert state.revision == before.revision + 1
        assert len(state.events) <= EVENTS
        if failed:
            assert state.outcome == "rolled_back"
            assert state.traffic.weights == {"champion": 100}
    assert parse(state.model_dump_json()) == state


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"id": 1}'])
def test_a_tag_that_is_no_rollout_is_said_to_be_none(text: str) -> None:
    with pytest.raises(RegistryError, match="delete its tag"):
        parse(text)


@pytest.mark.parametrize(
    "step", [{}, {"weight": 0}, {"weight": 101}, {"weight": 5, "min_s": 10, "max_s": 10}, {"wait": 5, "weight": 5}]
)
def test_a_step_that_cannot_work_is_refused(step: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"step|weight|max_s|wait"):
        StepSettings(**step)  # type: ignore[arg-type]

"""What a rollout does next, as a function of what is known. The controller acts on it; nothing here does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from taxiway.errors import ConfigError
from taxiway.rollout.plan import RolloutSettings
from taxiway.rollout.state import EVENTS, UNDECIDED, Event, RolloutState
from taxiway.rollout.verdict import Verdict

CHAMPION_ALIAS, CHALLENGER_ALIAS = "champion", "challenger"
CONTROLLER = "controller"
Command = Literal["pause", "resume", "promote", "abort"]
COMMANDS: tuple[Command, ...] = ("pause", "resume", "promote", "abort")


@dataclass(frozen=True)
class Facts:
    """What the controller has found out.

    Args:
        aliases: of the registered model, as they are now.
        verdict: of the present step; None while nothing was measured.
        settled: whether what the phase asks for has been done everywhere.
        foreign_traffic: who else has set the endpoint's traffic meanwhile.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None
    settled: bool = False
    foreign_traffic: str | None = None


def start(
    identity: str,
    application: str,
    endpoint: str,
    model: str,
    aliases: Mapping[str, str],
    plan: RolloutSettings,
    now: datetime,
    by: str,
) -> RolloutState:
    """A new rollout of the present challenger.

    Raises:
        ConfigError: there is no champion or no challenger, or both are one version.
    """
    champion, challenger = aliases.get(CHAMPION_ALIAS), aliases.get(CHALLENGER_ALIAS)
    if champion is None or challenger is None:
        missing = CHAMPION_ALIAS if champion is None else CHALLENGER_ALIAS
        raise ConfigError(f"model {model!r} has no {missing}: there is nothing to roll out")
    if champion == challenger:
        raise ConfigError(f"version {champion} of model {model!r} is champion already")
    told = f"version {challenger} against version {champion}; step 1 of {len(plan.steps)}"
    return RolloutState(
        id=identity,
        application=application,
        endpoint=endpoint,
        model=model,
        champion_version=champion,
        challenger_version=challenger,
        plan=plan,
        began=now,
        step_began=now,
        events=(Event(at=now, what="started", told=told, by=by),),
    )


def decide(state: RolloutState, facts: Facts, now: datetime) -> RolloutState | None:
    """The next state; None while there is nothing to change.

    What has failed never goes on: failure is looked at before anything that leads further.
    """
    if state.is_over:
        return None
    if state.phase in ("promoting", "rolling_back"):
        return _end(state, now) if facts.settled else None
    if (moved := _moved_away(state, facts)) is not None:
        return moved_to(state, now, "aborting" if moved[0] == "aborted" else moved[0], moved[1], **_back(*moved))
    if facts.verdict is not None and facts.verdict.state == "failed":
        reason = "; ".join(facts.verdict.reasons)
        return moved_to(state, now, "failed", reason, facts.verdict, **_back("rolled_back", reason))
    if facts.foreign_traffic is not None and state.phase == "running":
        told = f"{facts.foreign_traffic} has set other traffic; resume takes it back"
        return moved_to(state, now, "paused", told, phase="paused")
    if state.phase != "running":
        return None
    return _by_verdict(state, facts.verdict, now)


def _by_verdict(state: RolloutState, verdict: Verdict | None, now: datetime) -> RolloutState | None:
    step, lasted_s = state.plan.steps[state.step], (now - state.step_began).total_seconds()
    if lasted_s < step.min_s:
        return None
    if verdict is not None and verdict.state == "successful":
        if step.hold:
            return moved_to(state, now, "holding", "the step went well; resume lets it go on", verdict, phase="holding")
        return _onward(state, now, "the step went well", verdict, CONTROLLER)
    if lasted_s < step.max_s:
        return None
    told = f"no verdict after {step.max_s:g} s: {'; '.join(verdict.reasons) if verdict else 'nothing was measured'}"
    if state.plan.on_inconclusive == "go_on":
        return _onward(state, now, told, verdict, CONTROLLER)
    if state.plan.on_inconclusive == "roll_back":
        return moved_to(state, now, "inconclusive", told, verdict, **_back("rolled_back", told))
    return moved_to(state, now, "holding", f"{told}; resume goes on, abort goes back", verdict, phase="holding")


def command(state: RolloutState, given: Command, now: datetime, by: str, reason: str) -> RolloutState:
    """What a person asks for.

    Raises:
        ConfigError: it is not possible now; says what the state is.
    """
    possible: dict[Command, tuple[str, ...]] = {
        "pause": ("running",),
        "resume": ("paused", "holding"),
        "promote": UNDECIDED,
        "abort": UNDECIDED,
    }
    if state.phase not in possible[given]:
        how = f"{state.phase} ({state.outcome})" if state.outcome else state.phase
        raise ConfigError(f"the rollout of version {state.challenger_version} is {how}: {given} is not possible")
    told = reason or f"{given} by {by}"
    if given == "pause":
        return moved_to(state, now, "paused", told, by=by, phase="paused")
    if given == "promote":
        return moved_to(state, now, "promoting", told, by=by, phase="promoting", outcome="promoted", reason=told)
    if given == "abort":
        return moved_to(state, now, "aborting", told, by=by, **_back("aborted", told))
    if state.phase == "holding":
        return _onward(state, now, told, None, by)
    # What was measured while it stood still may be of other traffic.
    return moved_to(state, now, "resumed", told, by=by, phase="running", step_began=now)


def _onward(state: RolloutState, now: datetime, told: str, verdict: Verdict | None, by: str) -> RolloutState:
    following = state.step + 1
    if following == len(state.plan.steps):
        change = {"phase": "promoting", "outcome": "promoted", "reason": told}
        return moved_to(state, now, "promoting", told, verdict, by, **change)
    shares = state.plan.steps[following].shares
    where = f"{told}; step {following + 1} of {len(state.plan.steps)}: {shares}"
    return moved_to(state, now, "step", where, verdict, by, phase="running", step=following, step_began=now)


def _end(state: RolloutState, now: datetime) -> RolloutState:
    return moved_to(state, now, str(state.outcome), state.reason, phase="ended", ended=now)


def _back(outcome: str, reason: str) -> dict[str, Any]:
    return {"phase": "rolling_back", "outcome": outcome, "reason": reason}


def _moved_away(state: RolloutState, facts: Facts) -> tuple[str, str] | None:
    """Whether others have moved an alias: then this is not the rollout that anybody wants."""
    champion, challenger = facts.aliases.get(CHAMPION_ALIAS), facts.aliases.get(CHALLENGER_ALIAS)
    if champion != state.champion_version:
        return "aborted", f"somebody made version {champion or 'none'} the champion"
    if challenger == state.challenger_version:
        return None
    if challenger is None:
        return "aborted", f"version {state.challenger_version} is challenger no more"
    return "superseded", f"version {challenger} is the challenger now"


def moved_to(
    state: RolloutState,
    now: datetime,
    what: str,
    told: str,
    verdict: Verdict | None = None,
    by: str = CONTROLLER,
    **change: Any,
) -> RolloutState:
    """The state with one more event, and what changes with it."""
    event = Event(at=now, what=what, told=told[:500], by=by)
    kept: dict[str, Any] = {"events": (*state.events, event)[-EVENTS:], "revision": state.revision + 1}
    if verdict is not None:
        kept["findings"] = tuple(finding.sentence[:300] for finding in verdict.findings)
    return state.model_copy(update=kept | change)

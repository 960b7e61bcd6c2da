"""A rollout in words and numbers, as people are told of it: what was decided, how long, what was seen."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from taxiway.rollout.state import RolloutState
from taxiway.rollout_series import Look, steps_of


class Span(NamedTuple):
    """When a step was under way; None: it was not, or is still."""

    began: datetime | None
    ended: datetime | None


class Seen(NamedTuple):
    """Requests of a rollout or a step: live ones of each variant, and copies that the challenger got."""

    champion: int
    challenger: int
    copies: int


def decision(state: RolloutState) -> str:
    """What was decided and why, or where it stands, in one sentence."""
    challenger, champion = f"version {state.challenger_version}", f"version {state.champion_version}"
    where = f"step {state.step + 1} of {len(state.plan.steps)}"
    told = {
        "promoted": f"{challenger} has become champion",
        "rolled_back": f"{challenger} went back in {where}, {champion} stays champion",
        "aborted": f"the rollout was aborted in {where}, {champion} answers",
        "superseded": f"the rollout ended in {where}, since there is a newer challenger",
    }
    if state.outcome is not None:
        what = told[state.outcome]
        return _sentence(what if state.is_over else f"decided: {what}; this is being carried out", state.reason)
    standing = {
        "running": f"nothing is decided: {where} is under way",
        "paused": f"paused in {where}",
        "holding": f"{where} waits for a person",
    }
    return _sentence(standing[state.phase], state.events[-1].told if state.phase != "running" and state.events else "")


def _sentence(what: str, reason: str) -> str:
    told = f"{what[0].upper()}{what[1:]}"
    return f"{told}: {reason.rstrip('.')}." if reason else f"{told}."


def last_moment(state: RolloutState, series: Sequence[Look]) -> datetime:
    """Until when the page tells: the end, or the last that is known."""
    known = [state.began, *(event.at for event in state.events), *(one.at for one in series)]
    return state.ended or max(known)


def seen(series: Sequence[Look]) -> Seen:
    """Over all steps, as far as they were recorded."""
    return added([seen_in(group[-1]) for group in steps_of(series)])


def seen_in(one: Look) -> Seen:
    sides = (one.champion, one.challenger, one.copies)
    return Seen(*(0 if side is None else side.requests for side in sides))


def added(parts: Sequence[Seen]) -> Seen:
    return Seen(*(sum(part[place] for part in parts) for place in range(3)))


def spans(state: RolloutState, series: Sequence[Look]) -> list[Span]:
    """When each step of the plan was under way, by events and by what was recorded."""
    began: dict[int, datetime] = {state.step: state.step_began, 0: state.began}
    for one in series:
        began[one.step] = min(began.get(one.step, one.step_began), one.step_began)
    moves = [event.at for event in state.events if event.what == "step"]
    if len(moves) == state.step:  # none of them was dropped
        began |= dict(enumerate(moves, start=1))
    found = []
    for step in range(len(state.plan.steps)):
        following = began.get(step + 1) if step < state.step else state.ended
        found.append(Span(began.get(step), following) if step <= state.step else Span(None, None))
    return found


def lasting(seconds: float) -> str:
    """`2 h 05 min`, `3 min 20 s`, `40 s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

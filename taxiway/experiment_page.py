"""The readout of an experiment as one HTML file: what is known, each variant beside the control, what happened."""

from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure

from taxiway.experiment_told import HEAD, cells
from taxiway.markup import document, element, picture, section, table
from taxiway.rollout.experiment_state import ExperimentState
from taxiway.rollout.readout import ArmReadout, Readout
from taxiway.rollout.state import Event

_COLORS = {"better": "#1b6e3c", "worse": "#b3261e", "dropped": "#b3261e", "open": "#5a6575"}
_NUMBERS = frozenset(range(2, 10))


def page(state: ExperimentState, readout: Readout | None) -> str:
    """A whole document."""
    title = f"Experiment {state.plan.name}"
    until = f"to {_moment(state.ended)}" if state.ended else "and is running"
    about = (
        f"Endpoint {state.endpoint} of {state.application}, from {_moment(state.began)} {until} UTC. "
        f"{state.plan.metric.unit.capitalize()} is compared, {state.plan.metric.better} is better; "
        f"{state.plan.allocation} split. Experiment {state.id}."
    )
    parts: list[Element] = [element("h1", title), element("p", about, class_="muted"), _verdict(state, readout)]
    if readout is not None:
        parts.append(_variants(state, readout))
        if (figure := difference_figure(state, readout.arms)) is not None:
            parts.append(section("Difference to the control", picture(_caption(state, readout), figure)))
    parts.append(section("Events", _events(state.events)))
    return document(title, *parts)


def difference_figure(state: ExperimentState, arms: Sequence[ArmReadout]) -> Figure | None:
    """Each variant's mean minus the control's, with its interval; None while there is none."""
    known = [arm for arm in arms if arm.low is not None and arm.high is not None and arm.estimate is not None]
    if not known:
        return None
    figure = Figure(figsize=(7.2, 1.1 + 0.5 * len(known)), layout="constrained")
    axes = figure.subplots()
    for place, arm in enumerate(reversed(known)):
        low, high, estimate = float(arm.low or 0.0), float(arm.high or 0.0), float(arm.estimate or 0.0)
        color = _COLORS[arm.standing]
        axes.plot([low, high], [place, place], color=color, linewidth=3, solid_capstyle="butt")
        axes.plot([estimate], [place], "o", color=color)
    axes.axvline(0.0, color="black", linewidth=1)
    axes.set_yticks(range(len(known)), [arm.variant for arm in reversed(known)])
    axes.set_ylim(-0.6, len(known) - 0.4)
    better = "left" if state.plan.metric.better == "lower" else "right"
    axes.set_xlabel(f"{state.plan.metric.unit}, variant minus {state.control} ({better} of 0 is better)")
    return figure


def _verdict(state: ExperimentState, readout: Readout | None) -> Element:
    told = readout.told if readout else "nothing was measured yet"
    sign = "good" if readout and any(arm.standing == "better" for arm in readout.arms) else ""
    ended = f"Ended: {state.reason}." if state.is_over else None
    return element(
        "section",
        element("p", element("strong", f"{told[0].upper()}{told[1:]}.", class_=sign or None)),
        element("p", ended, class_="muted") if ended else None,
        element("p", element("strong", readout.mismatch, class_="bad")) if readout and readout.mismatch else None,
        class_=f"verdict {sign}".strip(),
    )


def _variants(state: ExperimentState, readout: Readout) -> Element:
    dropped = [element("p", f"{name} was taken out: {why}.") for name, why in state.dropped.items()]
    note = f"As of {_moment(readout.at)} UTC. Best: how likely it is the best of those that take part still."
    found = table([name.capitalize() for name in HEAD], [cells(arm) for arm in readout.arms], _NUMBERS)
    return section("Variants", found, *dropped, element("p", note, class_="muted"))


def _caption(state: ExperimentState, readout: Readout) -> str:
    return (
        f"Intervals of {1 - readout.alpha:.2%}; all of them hold at any time with {1 - state.plan.alpha:.0%}. "
        "One that does not reach 0 tells a difference."
    )


def _events(events: Sequence[Event]) -> Element:
    rows = [[_moment(event.at), event.what, event.told, event.by] for event in reversed(events)]
    return table(["At (UTC)", "What", "Told", "By"], rows)


def _moment(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")

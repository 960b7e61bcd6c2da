"""`taxiway rollout status | report | start | pause | resume | promote | abort | history`: rollouts from a shell."""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from taxiway.cli_places import add_place, chosen
from taxiway.errors import ConfigError, RegistryError, TaxiwayError
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.registry import Registry
from taxiway.rollout.plan import RolloutSettings
from taxiway.rollout.progress import COMMANDS, Command
from taxiway.rollout.state import RolloutState, parse_plan, places, plan_tag
from taxiway.rollout_told import lasting
from taxiway.rollout_truth import read_truth, truth_lines
from taxiway.rollouts import Rollouts, new_identity
from taxiway.settings import home, read_yaml

Lines = Callable[[argparse.Namespace, Registry], Iterator[str]]
_LOOK_S = 1.0
_PREDICTIONS = "where the prediction log lies; default: ${TAXIWAY_HOME}/predictions"
_HELP: dict[Command, str] = {
    "pause": "stay at this step",
    "resume": "go on after a pause, or let the next step begin",
    "promote": "make the challenger champion now",
    "abort": "give everything back to the champion",
}


def add_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    everywhere: argparse.ArgumentParser,
    user: Callable[[], str],
) -> None:
    """Adds `rollout` with what can be done to one."""
    rollout = commands.add_parser("rollout", help="how a challenger becomes champion, step by step")
    actions = rollout.add_subparsers(required=True, metavar="ACTION")
    place = argparse.ArgumentParser(add_help=False, parents=[everywhere])
    add_place(place)

    status = actions.add_parser("status", parents=[place], help="where it stands, and what each check says")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument("--watch", action="store_true", help="look again every second, until it has ended")
    status.add_argument("--predictions", help=_PREDICTIONS)
    status.set_defaults(lines=_status)

    report = actions.add_parser("report", parents=[place], help="a page with plots: what was decided, and why")
    report.add_argument("--version", help="the rollout of this version; default: the present or last one")
    report.add_argument("--predictions", help=_PREDICTIONS)
    report.add_argument(
        "-o", "--output", metavar="FILE", help="- is standard output; default: rollout-ENDPOINT-VERSION.html"
    )
    report.set_defaults(lines=_report)

    history = actions.add_parser("history", parents=[place], help="every rollout so far")
    history.set_defaults(lines=_history)

    start = actions.add_parser("start", parents=[place], help="roll out the present challenger")
    start.add_argument("--plan", help="a YAML file with the keys of `rollout` in a serve file; default: the endpoint's")
    start.add_argument("--by", default=None, help="who does it; default: your login name")
    start.set_defaults(lines=_starter(user))

    for name in COMMANDS:
        action = actions.add_parser(name, parents=[place], help=_HELP[name])
        action.add_argument("--by", default=None, help="who does it; default: your login name")
        action.add_argument("--reason", default="", help="why; the rollout keeps it")
        action.set_defaults(lines=_commander(name, user))


def _status(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
    rollouts = _rollouts(given, registry)
    if given.watch:
        _watch(rollouts)
        return
    state = rollouts.read()
    if given.json:
        yield "null" if state is None else state.model_dump_json(indent=2)
    else:
        now = datetime.now(UTC)
        yield from status_lines(state, now)
        if state is not None:
            yield from _truth_lines(state, given.predictions, now)


def _truth_lines(state: RolloutState, location: str | None, now: datetime) -> Iterator[str]:
    """What ground truth says of both versions; a log that can't be read keeps nobody from the rest."""
    try:
        truth = read_truth(location or PredictionLogSettings().location, state, now)
    except (TaxiwayError, OSError, ValueError) as error:
        yield f"  the ground truth can't be read: {error}"
        return
    for line in () if truth is None else truth_lines(truth, state):
        yield f"  {line}"


def _report(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
    from taxiway.rollout_report import report_of  # matplotlib takes a second that other commands have better uses for

    rollouts = _rollouts(given, registry)
    state = rollouts.read() if given.version is None else rollouts.of_version(given.version)
    if state is None:
        which = "no version" if given.version is None else f"version {given.version}"
        raise ConfigError(f"{which} of {given.model} was rolled out; `taxiway rollout history` shows which ones were")
    location = given.predictions or PredictionLogSettings().location
    page = report_of(state, home() / "rollouts", location, datetime.now(UTC))
    path = given.output or f"rollout-{state.endpoint}-{state.challenger_version}.html"
    if path == "-":
        yield page
        return
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: can't be written: {error.strerror}; give another FILE with -o") from error
    yield path


def _watch(rollouts: Rollouts) -> None:
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            state = rollouts.read()
            live.update(Text("\n".join(status_lines(state, datetime.now(UTC)))), refresh=True)
            if state is None or state.is_over:
                return
            time.sleep(_LOOK_S)


def _history(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
    found = _rollouts(given, registry).history()
    if not found:
        yield f"no version of {given.model} has been rolled out"
    for state in found:
        until = f" to {_moment(state.ended)}" if state.ended else ""
        what = state.outcome or state.phase
        yield f"version {state.challenger_version}: {what}, {_moment(state.began)}{until}, against {_champion(state)}"
        for event in state.events:
            yield f"  {_moment(event.at)}  {event.what:<12} {event.by}: {event.told}"


def _starter(user: Callable[[], str]) -> Lines:
    def lines(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
        place = _place(given, registry)
        plan = _plan(given, registry, place)
        rollouts = Rollouts(registry, *place, given.model)
        yield from status_lines(
            rollouts.begin(new_identity(), plan, datetime.now(UTC), given.by or user()), datetime.now(UTC)
        )

    return lines


def _commander(name: Command, user: Callable[[], str]) -> Lines:
    def lines(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
        now = datetime.now(UTC)
        yield from status_lines(_rollouts(given, registry).command(name, now, given.by or user(), given.reason), now)

    return lines


def status_lines(state: RolloutState | None, now: datetime) -> Iterator[str]:
    """Where a rollout stands, for people."""
    if state is None:
        yield "no rollout yet"
        return
    yield f"{state.endpoint}: version {state.challenger_version} of {state.model} against {_champion(state)}"
    what = f"{state.phase.replace('_', ' ')}{f' ({state.outcome})' if state.outcome else ''}"
    lasted_s = ((state.ended or now) - state.began).total_seconds()
    yield f"  {what}, since {_moment(state.began)} ({lasting(lasted_s)})"
    for number, step in enumerate(state.plan.steps):
        mark = "x" if number < state.step or state.outcome == "promoted" else ">" if number == state.step else " "
        in_step = (
            f", for {lasting((now - state.step_began).total_seconds())}" if mark == ">" and not state.ended else ""
        )
        yield f"  [{mark}] step {number + 1}: {step.shares}{', then a person' if step.hold else ''}{in_step}"
    for sentence in state.findings:
        yield f"  {sentence}"
    if state.reason:
        yield f"  reason: {state.reason}"
    for event in state.events[-5:]:
        yield f"  {_moment(event.at)}  {event.what} ({event.by}): {event.told}"


def _champion(state: RolloutState) -> str:
    return f"version {state.champion_version}"


def _rollouts(given: argparse.Namespace, registry: Registry) -> Rollouts:
    return Rollouts(registry, *_place(given, registry), given.model)


def _place(given: argparse.Namespace, registry: Registry) -> tuple[str, str]:
    return chosen(places(registry.live(given.model).tags), given, "rollout")


def _plan(given: argparse.Namespace, registry: Registry, place: Sequence[str]) -> RolloutSettings:
    if given.plan is not None:
        return parse_plan(json.dumps(read_yaml(given.plan)), given.plan)
    text = registry.live(given.model).tags.get(plan_tag(*place))
    if text is None:
        raise RegistryError(f"the plan of {'/'.join(place)} is not in the registry; give one with --plan")
    return parse_plan(text)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")

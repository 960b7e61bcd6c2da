"""`taxiway experiment status | report | stop | history`: experiments from a shell."""

import argparse
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from taxiway.cli_places import add_place, chosen
from taxiway.errors import ConfigError
from taxiway.experiment_told import experiment_lines
from taxiway.experiments import Experiments, experiment_places
from taxiway.registry import Registry
from taxiway.rollout.experiment_state import ExperimentState

Lines = Callable[[argparse.Namespace, Registry], Iterator[str]]


def add_experiment_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    everywhere: argparse.ArgumentParser,
    user: Callable[[], str],
) -> None:
    """Adds `experiment` with what can be done to one."""
    experiment = commands.add_parser("experiment", help="which variant of an endpoint is the best")
    actions = experiment.add_subparsers(required=True, metavar="ACTION")
    place = argparse.ArgumentParser(add_help=False, parents=[everywhere])
    add_place(place)
    status = actions.add_parser("status", parents=[place], help="each variant beside the control")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(lines=_status)
    report = actions.add_parser("report", parents=[place], help="a page with the same")
    report.add_argument("-o", "--output", metavar="FILE", help="- is standard output; default: experiment-NAME.html")
    report.set_defaults(lines=_report)
    history = actions.add_parser("history", parents=[place], help="every experiment so far")
    history.set_defaults(lines=_history)
    stop = actions.add_parser("stop", parents=[place], help="ends it; the traffic goes back to what is declared")
    stop.add_argument("--by", default=None, help="who does it; default: your login name")
    stop.add_argument("--reason", default="", help="why; it is kept")
    stop.set_defaults(lines=_stopper(user))


def _status(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
    experiments, state = _present(given, registry)
    readout = experiments.readout()
    if given.json:
        told = {"state": state.model_dump(mode="json"), "readout": readout and readout.model_dump(mode="json")}
        yield json.dumps(told, indent=2, ensure_ascii=False)
    else:
        yield from experiment_lines(state, readout, datetime.now(UTC))


def _report(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
    from taxiway.experiment_page import page  # matplotlib takes a second that other commands have better uses for

    experiments, state = _present(given, registry)
    found = page(state, experiments.readout())
    path = given.output or f"experiment-{state.plan.name}.html"
    if path == "-":
        yield found
        return
    try:
        Path(path).write_text(found, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: can't be written: {error.strerror}; give another FILE with -o") from error
    yield path


def _history(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
    experiments, state = _present(given, registry)
    now = datetime.now(UTC)
    for before, readout in (*experiments.past(), (state, experiments.readout())):
        yield from experiment_lines(before, readout, now)
        yield ""


def _stopper(user: Callable[[], str]) -> Lines:
    def stop(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
        experiments, _ = _present(given, registry)
        state = experiments.stop(datetime.now(UTC), given.by or user(), given.reason)
        yield from experiment_lines(state, experiments.readout(), datetime.now(UTC))

    return stop


def _present(given: argparse.Namespace, registry: Registry) -> tuple[Experiments, ExperimentState]:
    """
    Raises:
        ConfigError: there is none, or there are several and it was not said which.
    """
    place = chosen(experiment_places(registry.live(given.model).tags), given, "experiment")
    experiments = Experiments(registry, *place, given.model)
    state = experiments.read()
    if state is None:
        raise ConfigError(f"there is no experiment on {given.model} any more")
    return experiments, state

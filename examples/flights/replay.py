"""`python -m examples.flights.replay`: challengers good and bad, rolled out on live traffic, and what became of them.

Requests go to a running server in the order in which flights were scheduled, labels follow when the flight has
landed, and the server's own controller promotes a challenger or rolls it back.
"""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from examples.flights import prepare
from examples.flights.replay_clients import Clients
from examples.flights.replay_models import CANDIDATE_TAG, CANDIDATES, MODEL, RETRAIN_FILE, registered
from examples.flights.replay_picture import picture
from examples.flights.replay_report import Told, keep, kept, labels_counted, row_of, table
from examples.flights.replay_server import check_home, serving, settings
from examples.flights.replay_stream import Stream, stream
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.promotion import challenge, promote, reject
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.rollout.state import RolloutState
from taxiway.rollouts import Rollouts
from taxiway.settings import home

_BY = "examples.flights.replay"
_FOUND = "found"
_NEW_YORK = ZoneInfo("America/New_York")
_LOOK_EVERY_S = 0.5
_WARM_S = 3.0
_PATIENCE_S = 60.0
_AFTER_S = 4.0
"""So long the clients go on afterwards: the picture shows who answers then."""


@dataclass(frozen=True)
class Scene:
    """What all candidates share."""

    registry: Registry
    rollouts: Rollouts
    stream: Stream
    champion: ModelVersion
    port: int
    per_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    for stop in (signal.SIGINT, signal.SIGTERM):  # a shell may have left them ignored, and the server inherits that
        signal.signal(stop, signal.default_int_handler)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        check_home(given.home or home() / "replay")
        prepare.main()
        if given.candidates:
            replay(given)
        rows = kept(home() / _FOUND)
    except TaxiwayError as error:
        print(f"\nreplay: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nreplay: stopped", file=sys.stderr)
        return 130
    if rows:
        path = given.picture or home() / "rollouts.png"
        picture(rows).savefig(path)
        print(f"\n{table(rows)}\n\n{path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.flights.replay", description=__doc__)
    told = "table and picture join them with what earlier replays have found; none: table and picture only"
    parser.add_argument("--candidates", nargs="*", choices=CANDIDATES, default=CANDIDATES, help=told)
    begin = datetime(2013, 11, 1, tzinfo=_NEW_YORK)
    parser.add_argument("--from", dest="begin", type=_day, default=begin, help="the first day, of 2013")
    parser.add_argument("--days", type=int, default=28, help="a rollout without a decision by then is aborted")
    parser.add_argument("--requests-per-s", type=float, default=300.0)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--home", type=Path, help="of its own registry and data; default: ${TAXIWAY_HOME}/replay")
    parser.add_argument("--picture", type=Path, help="where to write it; default: rollouts.png in that folder")
    return parser


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=_NEW_YORK)


def replay(given: argparse.Namespace) -> None:
    """Rolls out one candidate after the other, each against the same champion and the same flights.

    Raises:
        TaxiwayError: models, features or the server are not there.
    """
    application, served = settings()
    registry = Registry(served.registry)
    versions = registered(registry, ("champion", *given.candidates))
    _crown(registry, versions["champion"])
    flights = stream(given.begin, given.days, RETRAIN_FILE)
    rollouts = Rollouts(registry, application, MODEL, MODEL)
    scene = Scene(registry, rollouts, flights, versions["champion"], given.port, given.requests_per_s)
    print(f"replay: {len(flights):,} flights from {given.begin:%Y-%m-%d} on", flush=True)
    with serving(given.port):
        for name in given.candidates:
            row = row_of(roll_out(scene, name, versions[name]))
            print(table([row]).splitlines()[-1], flush=True)
            keep(row, home() / _FOUND)


def _crown(registry: Registry, version: ModelVersion) -> None:
    """Makes the replay's champion the champion.

    Raises:
        ConfigError: the registry has a champion that is none of the replay's models.
    """
    present = registry.alias(MODEL, CHAMPION)
    if present is not None:
        state = registry.describe(present)
        if state is None or CANDIDATE_TAG not in state.tags:
            raise ConfigError(f"{present.uri} is champion and none of the replay's; give --home another folder")
    if present is None or present.version != version.version:
        promote(registry, version, _BY, "all candidates meet the same champion", datetime.now(UTC))
    challenger = registry.alias(MODEL, CHALLENGER)
    if challenger is not None:
        reject(registry, challenger, _BY, "left over from a replay that was stopped", datetime.now(UTC))


@dataclass
class _Watch:
    """What is seen of a rollout while it lasts."""

    state: RolloutState | None = None
    labels: dict[int, int] = field(default_factory=dict)

    def see(self, state: RolloutState | None) -> None:
        if state is None:
            return
        before, self.state = self.state, state
        if state.findings and (before is None or state.findings != before.findings):
            judged = state.step - 1 if state.outcome is None else state.step
            self.labels[judged] = labels_counted(state.findings)


def roll_out(scene: Scene, candidate: str, version: ModelVersion) -> Told:
    """One candidate: it becomes challenger, the controller does the rest; then the champion is put back.

    Raises:
        TaxiwayError: the controller has not begun or ended a rollout in time, or the registry does not answer.
    """
    clients = Clients(scene.stream, "127.0.0.1", scene.port, MODEL, scene.per_s)
    clients.start()
    try:
        time.sleep(_WARM_S)
        challenge(scene.registry, version, _BY, f"the candidate {candidate}", datetime.now(UTC))
        watch = _followed(scene, clients, version)
        time.sleep(_AFTER_S)
    finally:
        clients.stop()
    state = watch.state
    if state is None:
        raise ConfigError(f"no rollout of version {version.version} has begun; does the server use {home()}?")
    began_s = clients.seconds() - (datetime.now(UTC) - state.began).total_seconds()
    _crown(scene.registry, scene.champion)
    return Told(candidate, state, watch.labels, tuple(clients.asked), began_s)


def _followed(scene: Scene, clients: Clients, version: ModelVersion) -> _Watch:
    watch, deadline = _Watch(), time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        watch.see(scene.rollouts.of_version(version.version))
        state = watch.state
        if state is not None and state.is_over:
            return watch
        if state is not None and not clients.has_ended:
            deadline = time.monotonic() + _PATIENCE_S
        if clients.has_ended and state is not None and state.outcome is None:
            with suppress(ConfigError):  # it was decided meanwhile
                scene.rollouts.command("abort", datetime.now(UTC), _BY, "the flights have run out")
        time.sleep(_LOOK_EVERY_S)
    return watch


if __name__ == "__main__":
    sys.exit(main())

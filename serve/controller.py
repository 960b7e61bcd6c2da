"""The controller: one replica that hears of every answer, moves traffic and aliases, and watches drift."""

import logging
import os
import threading
from datetime import UTC, datetime
from functools import partial

from ray import serve

from serve.drift_watch import DriftWatch
from serve.experimenter import Experimenter
from serve.judge import Judgement
from serve.keeper import Keeper
from serve.notice import announce, announce_experiment
from serve.reports import Report
from serve.settings import EndpointSettings, ServeSettings
from serve.telemetry import SERVICE
from taxiway.drift.progress import DriftState, Followed, VariantDrift
from taxiway.errors import RegistryError, TaxiwayError
from taxiway.predictions.outcomes import read_outcomes
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.registry import Registry, model_name
from taxiway.rollout.experiment_state import ExperimentState
from taxiway.rollout.observations import Moments
from taxiway.rollout.tally import Stream
from taxiway.settings import home
from taxiway.telemetry.drift import DriftMetrics
from taxiway.telemetry.experiments import ExperimentMetrics
from taxiway.telemetry.logs import of_this_process, switch_on
from taxiway.telemetry.rollouts import RolloutMetrics

_log = logging.getLogger(__name__)

TICK_S = 1.0


class RolloutController:
    """Ray Serve keeps one of them; `serve.app` deploys it where an endpoint has a rollout, an experiment or drift.

    Its thread looks every second. What it must not forget lies in the registry and, of what was measured, in
    `${TAXIWAY_HOME}/rollouts`.
    """

    def __init__(self, settings: ServeSettings, home_folder: str) -> None:
        os.environ["TAXIWAY_HOME"] = home_folder
        self._metrics, self._experiment_metrics = RolloutMetrics(), ExperimentMetrics()
        application = serve.get_replica_context().app_name
        switch_on(settings.logs, of_this_process(SERVICE) | {"labels.application": application})
        registry = Registry(settings.registry)
        self._keepers: dict[str, Keeper | Experimenter] = {}
        for endpoint in settings.endpoints:
            if endpoint.rollout is not None:
                self._keepers[endpoint.name] = _keeper(registry, application, endpoint, settings.predictions)
            elif endpoint.experiment is not None and settings.predictions is not None:
                self._keepers[endpoint.name] = _experimenter(registry, application, endpoint, settings.predictions)
        self._drift_metrics = DriftMetrics()
        self._drift = {
            endpoint.name: _drift_watch(application, endpoint, self._drift_metrics)
            for endpoint in settings.endpoints
            if endpoint.drift
        }
        self._away: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollouts", daemon=True)
        self._thread.start()

    def take(self, report: Report) -> None:
        """What a replica has told."""
        for keeper in self._keepers.values():
            keeper.take(report)
        for watch in self._drift.values():
            watch.take(report, datetime.now(UTC))

    def drift(self, endpoint: str) -> list[VariantDrift]:
        """What is known of the drift of an endpoint that watches it."""
        return self._drift[endpoint].found()

    def check_health(self) -> None:
        """Raises when nothing looks after the rollouts any more: Serve then replaces the replica."""
        if not self._thread.is_alive():
            raise TaxiwayError("the rollouts' controller has stopped")

    def __del__(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            for name, keeper in self._keepers.items():
                self._tick(name, keeper)
            for name, watch in self._drift.items():
                self._watch(name, watch)
            self._drift_metrics.tell()

    def _tick(self, name: str, keeper: Keeper | Experimenter) -> None:
        try:
            self._look(keeper)
            self._away.discard(name)
        except RegistryError as error:
            if name not in self._away:
                _log.warning("the traffic of %s stands still until the registry answers: %s", name, error)
            self._away.add(name)
        except Exception:  # noqa: BLE001 - the next tick looks again
            _log.exception("looking after the traffic of %s failed", name)

    def _watch(self, name: str, watch: DriftWatch) -> None:
        try:
            watch.tick(datetime.now(UTC))
        except Exception:  # noqa: BLE001 - the next tick looks again
            _log.exception("watching the drift of %s failed", name)

    def _look(self, keeper: Keeper | Experimenter) -> None:
        now = datetime.now(UTC)
        if isinstance(keeper, Keeper):
            rollout = keeper.tick(now)
            if rollout is not None:
                self._metrics.seen(rollout, keeper.verdict)
        else:
            experiment = keeper.tick(now)
            if experiment is not None:
                self._experiment_metrics.seen(experiment, keeper.readout)


def _drift_watch(application: str, endpoint: EndpointSettings, metrics: DriftMetrics) -> DriftWatch:
    models = {it.name: model_name(str(it.model)) for it in endpoint.all_variants if it.model is not None}

    def seen(stream: Stream, followed: Followed) -> None:
        metrics.seen(stream.endpoint, stream.variant, followed.state.windows[-1], followed.state.raised)

    def begun(stream: Stream, state: DriftState) -> None:
        metrics.begun(stream.endpoint, stream.variant, state)

    return DriftWatch(application, endpoint, models, seen, home() / "rollouts", begun)


def _keeper(
    registry: Registry, application: str, endpoint: EndpointSettings, log: PredictionLogSettings | None
) -> Keeper:
    judge = Judgement(endpoint.name, log, endpoint.split_by is None)
    webhook = endpoint.rollout.webhook if endpoint.rollout else None
    return Keeper(registry, application, endpoint, judge, partial(announce, webhook=webhook), home() / "rollouts")


def _experimenter(
    registry: Registry, application: str, endpoint: EndpointSettings, log: PredictionLogSettings
) -> Experimenter:
    def outcomes(state: ExperimentState, now: datetime) -> dict[str, Moments]:
        return read_outcomes(log.location, endpoint.name, state.began, now, state.plan.metric, state.versions)

    webhook = endpoint.experiment.webhook if endpoint.experiment else None
    announced = partial(announce_experiment, webhook=webhook)
    return Experimenter(registry, application, endpoint, outcomes, announced, home() / "rollouts")

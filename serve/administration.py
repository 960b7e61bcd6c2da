"""What administration changes: the traffic of an endpoint, in the registry, and the alarms of its models, in files."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

from serve.admin import AlarmCall, ExperimentAnswer
from serve.endpoint import Endpoint
from serve.live import Live, model_names
from serve.loading import uris
from serve.reports import AskDrift
from serve.service import Service
from serve.traffic import LiveTable, live_table
from taxiway.alarms import Alarm, RaisedAlarm, raise_alarm
from taxiway.drift.progress import VariantDrift
from taxiway.errors import ConfigError, NotFound
from taxiway.experiments import Experiments
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.registry import Registry, model_name
from taxiway.rollout.experiment_state import ExperimentState
from taxiway.rollout.plan import RolloutSettings
from taxiway.rollout.progress import Command
from taxiway.rollout.state import RolloutState
from taxiway.rollouts import Rollouts, new_identity
from taxiway.settings import home
from taxiway.traffic import TrafficSettings, TrafficState

_log = logging.getLogger(__name__)


class Administration:
    """Behind the admin calls of one replica; the other replicas follow within `poll_s`.

    Args:
        predictions: where the report of a rollout finds ground truth.
        drift: asks the controller.
    """

    def __init__(
        self,
        application: str,
        registry: Registry,
        service: Service,
        live: Live,
        predictions: PredictionLogSettings | None,
        drift: AskDrift,
    ) -> None:
        self._application = application
        self._registry = registry
        self._service = service
        self._live = live
        self._predictions = predictions
        self._drift = drift

    def status(self) -> dict[str, Any]:
        return self._service.status()

    async def traffic(self, endpoint: str) -> TrafficState:
        return await asyncio.to_thread(self._table(endpoint).read)

    async def set_traffic(self, endpoint: str, traffic: TrafficSettings, by: str) -> TrafficState:
        written = await asyncio.to_thread(self._table(endpoint).write, traffic, by, datetime.now(UTC))
        self._live.wake()
        return written

    async def reset_traffic(self, endpoint: str) -> TrafficState:
        declared = await asyncio.to_thread(self._table(endpoint).reset)
        self._live.wake()
        return declared

    async def raise_alarm(self, endpoint: str, call: AlarmCall, by: str) -> RaisedAlarm:
        return await asyncio.to_thread(alarmed, self._service.endpoint(endpoint), call, by, datetime.now(UTC))

    async def rollout(self, endpoint: str) -> RolloutState | None:
        return await asyncio.to_thread(self._rollouts(endpoint).read)

    async def rollouts(self, endpoint: str) -> list[RolloutState]:
        return await asyncio.to_thread(self._rollouts(endpoint).history)

    async def rollout_report(self, endpoint: str, version: str | None) -> str:
        return await asyncio.to_thread(self._report, self._rollouts(endpoint), version)

    def _report(self, rollouts: Rollouts, version: str | None) -> str:
        """Raises NotFound when there was no such rollout."""
        from taxiway.rollout_report import report_of  # matplotlib stays out of replicas that are never asked

        state = rollouts.read() if version is None else rollouts.of_version(version)
        if state is None:
            raise NotFound("no version was rolled out yet" if version is None else "that version was not rolled out")
        location = self._predictions.location if self._predictions else None
        return report_of(state, home() / "rollouts", location, datetime.now(UTC))

    async def start_rollout(self, endpoint: str, plan: RolloutSettings | None, by: str) -> RolloutState:
        rollouts, declared = self._rollouts(endpoint), self._service.endpoint(endpoint).settings.rollout
        wanted = plan or declared or RolloutSettings()
        return await asyncio.to_thread(rollouts.begin, new_identity(), wanted, datetime.now(UTC), by)

    async def command_rollout(self, endpoint: str, command: Command, by: str, reason: str) -> RolloutState:
        changed = await asyncio.to_thread(self._rollouts(endpoint).command, command, datetime.now(UTC), by, reason)
        self._live.wake()
        return changed

    def _rollouts(self, endpoint: str) -> Rollouts:
        """Raises ConfigError where the endpoint's file has no rollout: nobody would look after one."""
        settings = self._service.endpoint(endpoint).settings
        if settings.rollout is None:
            raise ConfigError(f"{endpoint} has no rollout; add the key `rollout` to it in the serve file")
        model = model_name(uris(settings.all_variants[0])[0])
        return Rollouts(self._registry, self._application, endpoint, model)

    async def experiment(self, endpoint: str) -> ExperimentAnswer | None:
        return await asyncio.to_thread(_answer, self._experiments(endpoint))

    async def experiment_report(self, endpoint: str) -> str:
        return await asyncio.to_thread(_experiment_page, self._experiments(endpoint))

    async def stop_experiment(self, endpoint: str, by: str, reason: str) -> ExperimentState:
        stopped = await asyncio.to_thread(self._experiments(endpoint).stop, datetime.now(UTC), by, reason)
        self._live.wake()
        return stopped

    async def drift(self, endpoint: str) -> list[VariantDrift]:
        if self._service.endpoint(endpoint).settings.drift is None:
            raise ConfigError(f"{endpoint} has no drift; add the key `drift` to it in the serve file")
        return await asyncio.to_thread(self._drift, endpoint)

    def _experiments(self, endpoint: str) -> Experiments:
        """Raises ConfigError where the endpoint's file has no experiment."""
        settings = self._service.endpoint(endpoint).settings
        if settings.experiment is None:
            raise ConfigError(f"{endpoint} has no experiment; add the key `experiment` to it in the serve file")
        model = model_name(uris(settings.all_variants[0])[0])
        return Experiments(self._registry, self._application, endpoint, model)

    def _table(self, endpoint: str) -> LiveTable:
        settings = self._service.endpoint(endpoint).settings
        return live_table(self._registry, self._application, settings, self._live.declared)


def _answer(experiments: Experiments) -> ExperimentAnswer | None:
    state = experiments.read()
    return None if state is None else ExperimentAnswer(state=state, readout=experiments.readout())


def _experiment_page(experiments: Experiments) -> str:
    """Raises NotFound when there was none."""
    from taxiway.experiment_page import page  # matplotlib stays out of replicas that are never asked

    state = experiments.read()
    if state is None:
        raise NotFound("there was no experiment yet")
    return page(state, experiments.readout())


def alarmed(endpoint: Endpoint, call: AlarmCall, by: str, at: datetime) -> RaisedAlarm:
    """Leaves an alarm for every registered model behind an endpoint, or for the one that `call` names.

    Raises:
        ConfigError: the one that is named is not behind the endpoint.
        JobError: it can't be kept.
    """
    models = sorted(model_names([endpoint]))
    if call.model is not None and call.model not in models:
        raise ConfigError(f"{call.model[:80]!r} is no model of this endpoint; its models are {', '.join(models)}")
    alarm = Alarm(at=at, endpoint=endpoint.name, reason=call.reason, by=by, details=call.details)
    raised = tuple(models) if call.model is None else (call.model,)
    for model in raised:
        _log.info("alarm for %s: %s", model, raise_alarm(model, alarm))
    return RaisedAlarm(models=raised, alarm=alarm)

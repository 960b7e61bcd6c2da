"""Carries out the experiments of one endpoint: splits its traffic, counts, compares, and tells."""

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from serve.heard import Heard
from serve.kept_ledger import KeptLedger
from serve.loading import uris
from serve.notice import NewEvents
from serve.reports import Report
from serve.settings import EndpointSettings
from serve.steering import Steering
from taxiway.errors import ConfigError
from taxiway.experiments import Experiments, new_experiment_id
from taxiway.registry import LiveModel, Registry, model_name
from taxiway.rollout.experiment import ValueMetric
from taxiway.rollout.experiment_state import ExperimentState, begun, ended, reallocated, without
from taxiway.rollout.observations import Moments
from taxiway.rollout.readout import Arm, Readout, read_out, thompson
from taxiway.rollout.state import Event
from taxiway.rollout.tally import Stream
from taxiway.rollouts import Outdated

_log = logging.getLogger(__name__)

READOUT_S = 15.0
_READING_SHARE = 0.05
_READ_AGAIN_S = 3.0

Outcomes = Mapping[str, Moments]
ReadOutcomes = Callable[[ExperimentState, datetime], Outcomes]
Announce = Callable[[ExperimentState, Event], None]


class Experimenter:
    """One endpoint's experiments. Reports come on any thread; `tick` is called by one.

    As with rollouts, what a state asks for is looked up and put right at each tick.

    Args:
        outcomes: reads the metric of each variant from the prediction log.
        folder: where what was counted is kept for the next controller.
    """

    def __init__(
        self,
        registry: Registry,
        application: str,
        settings: EndpointSettings,
        outcomes: ReadOutcomes,
        announce: Announce,
        folder: Path,
    ) -> None:
        if settings.experiment is None:
            raise ConfigError(f"endpoint {settings.name!r} has no experiment")
        self._registry, self._application, self._settings = registry, application, settings
        self._plan, self._announce = settings.experiment, announce
        self._variants = tuple(variant.name for variant in settings.all_variants)
        self._model = model_name(uris(settings.all_variants[0])[0])
        self.experiments = Experiments(registry, application, settings.name, self._model)
        self._kept = KeptLedger(folder / application / f"{settings.name}.experiment.json")
        self._counting, ledger = self._kept.read()
        self._heard = Heard(settings.name, self._variants[0], ledger)
        self._steering = Steering(registry, application, settings, self._model, self._heard)
        self._outcomes = _Outcomes(outcomes)
        self._applied: str | None = None
        self._published: Readout | None = None
        self._news = NewEvents()
        self.readout: Readout | None = None

    def take(self, report: Report) -> None:
        """What a replica has told."""
        self._heard.take(report)

    def tick(self, now: datetime) -> ExperimentState | None:
        """Looks once, and does what is to be done; the experiment as it is then.

        Raises:
            RegistryError: the registry does not answer; nothing is lost, the next tick goes on.
        """
        live = self._registry.live(self._model)
        state = self.experiments.read(live)
        self._tell(state)
        if state is None or (state.is_over and state.plan.name != self._plan.name):
            state = self._begin(now)
            if state is None:
                return None
            live = self._registry.live(self._model)
        if not state.is_over:
            state = self._look(state, live, now)
        with suppress(Outdated):
            self._bring_about(state, live, now)
        self._kept.write(self._counting, self._heard.dump())
        return state

    def _begin(self, now: datetime) -> ExperimentState | None:
        """When every replica has the same version of each variant."""
        shares = self._plan.shares(self._variants)
        reports = self._heard.recent()
        versions = {name: {it.versions.get(name) for it in reports} for name in shares}
        if not reports or any(len(found) != 1 or None in found for found in versions.values()):
            return None
        agreed = {name: str(next(iter(found))) for name, found in versions.items()}
        identity = new_experiment_id()
        state = begun(identity, self._application, self._settings.name, self._model, self._plan, agreed, shares, now)
        self.experiments.begin(state)
        self._tell(state)
        return state

    def _look(self, state: ExperimentState, live: LiveModel, now: datetime) -> ExperimentState:
        if self._counting != state.id and self._heard.all_split_like(state.traffic):
            self._heard.begin(now.timestamp(), of_another_kind=True)
            self._counting = state.id
        arms = self._arms(state, now)
        if arms is not None:
            self.readout = read_out(state, arms, now, self._settings.split_by is None)
        following = self._following(state, live, arms, now)
        if following is not None:
            with suppress(Outdated):
                state = self.experiments.replace(following)
                self._published = None
                self._tell(state)
        self._publish(now)
        return state

    def _publish(self, now: datetime) -> None:
        """At once when something else can be said, else now and then: the figures of each look are of little use."""
        found, before = self.readout, self._published
        if found is None:
            return
        news = before is None or (before.id, before.told) != (found.id, found.told)
        if before is None or news or (now - before.at).total_seconds() >= READOUT_S:
            self.experiments.write_readout(found)
            self._published = found

    def _arms(self, state: ExperimentState, now: datetime) -> dict[str, Arm] | None:
        """What was measured of each variant; None before it began to count."""
        if self._counting != state.id:
            return None
        streams = [Stream(state.endpoint, name, version, "live") for name, version in state.versions.items()]
        tallies = dict(zip(state.versions, self._heard.observed(streams), strict=True))
        outcomes = self._outcomes.of(state, now)
        metric = state.plan.metric
        if isinstance(metric, ValueMetric) and metric.without_feedback == "zero":
            outcomes = {name: _with_zeros(outcomes[name], int(tallies[name]["rows"])) for name in state.versions}
        return {name: Arm(tallies[name], outcomes[name]) for name in state.versions}

    def _following(
        self, state: ExperimentState, live: LiveModel, arms: Mapping[str, Arm] | None, now: datetime
    ) -> ExperimentState | None:
        """The next state; None while there is nothing to change."""
        if (over := self._over(state, live, now)) is not None:
            return ended(state, over, "controller", now)
        if (harmful := self._harmful(state)) is not None:
            return without(state, *harmful, now)
        due = (now - state.split_at).total_seconds() >= state.plan.reallocate_s
        if arms is not None and state.plan.allocation == "thompson" and due:
            split = thompson(state, arms)
            return None if split is None else reallocated(state, split, now)
        return None

    def _over(self, state: ExperimentState, live: LiveModel, now: datetime) -> str | None:
        """Why it can't go on."""
        if state.plan.name != self._plan.name:
            return f"the deployed file has another experiment, {self._plan.name}"
        override = self._steering.override(live)
        if override is not None and override.by != state.by and not override.is_older_than(state.began):
            return f"{override.by} has set other traffic"
        if override is None and self._applied == state.id:
            return "somebody has reset the traffic"
        for name, version in state.versions.items():
            found = {it.versions.get(name) for it in self._heard.recent()} - {None, version}
            if found and name not in state.dropped:
                return f"{name} is version {found.pop()} now, and was {version}"
        if state.plan.max_s is not None and (now - state.began).total_seconds() >= state.plan.max_s:
            return f"{state.plan.max_s:g} s are over"
        return None

    def _harmful(self, state: ExperimentState) -> tuple[str, str] | None:
        """A variant to take out, and why."""
        if self.readout is not None and self.readout.id == state.id:
            for arm in self.readout.arms:
                if arm.harm and arm.variant not in state.dropped:
                    return arm.variant, "; ".join(arm.harm)
        return None

    def _bring_about(self, state: ExperimentState, live: LiveModel, now: datetime) -> None:
        """Puts right what is not as the state asks for.

        Raises:
            Outdated: the state is not the present one any more.
        """
        override = self._steering.override(live)
        if state.is_over:
            if override is not None and override.by == state.by:
                self.experiments.acting(state, self._steering.reset)
            return
        if not self._steering.splits(live, state.traffic):
            self.experiments.acting(state, partial(self._steering.set, state.traffic, state.by, now))
        self._applied = state.id

    def _tell(self, state: ExperimentState | None) -> None:
        """Announces what is new, also what people have done since the last look."""
        if state is None:
            self._news.among(())
            return
        for event in self._news.among(state.events):
            with suppress(Exception):  # whoever listens must not stop an experiment
                self._announce(state, event)


class _Outcomes:
    """Reads on a thread beside, and spends no more than a twentieth of the time on it: an experiment may last weeks."""

    def __init__(self, read: ReadOutcomes) -> None:
        self._read = read
        self._reader = ThreadPoolExecutor(1, "outcomes")
        self._reading: Future[Outcomes] | None = None
        self._began_s = self._again_s = 0.0
        self._about = ""
        self._found: Outcomes = {}

    def of(self, state: ExperimentState, now: datetime) -> Outcomes:
        """As they were read last; nothing of each variant before that."""
        if self._about != state.id:
            self._about, self._found, self._reading, self._again_s = state.id, {}, None, 0.0
        if self._reading is not None and self._reading.done():
            self._take(self._reading, state)
        if self._reading is None and time.monotonic() >= self._again_s:
            self._began_s = time.monotonic()
            self._reading = self._reader.submit(self._read, state, now)
        return {name: self._found.get(name, Moments()) for name in state.versions}

    def _take(self, reading: "Future[Outcomes]", state: ExperimentState) -> None:
        took_s = time.monotonic() - self._began_s
        self._reading, self._again_s = None, time.monotonic() + max(_READ_AGAIN_S, took_s / _READING_SHARE)
        try:
            self._found = reading.result()
        except Exception:  # noqa: BLE001 - the readout goes on with what was known
            _log.exception("the outcomes of the experiment on %s can't be read", state.endpoint)


def _with_zeros(outcome: Moments, rows: int) -> Moments:
    return Moments(max(rows, outcome.n), outcome.total, outcome.squares)

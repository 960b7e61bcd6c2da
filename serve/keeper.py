"""Carries out the rollouts of one endpoint: look, decide, write it down, act on it."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from serve.heard import Heard
from serve.kept_ledger import KeptLedger
from serve.loading import uris
from serve.notice import NewEvents
from serve.reports import Report
from serve.series import Series
from serve.settings import EndpointSettings
from serve.steering import Steering
from taxiway.errors import ConfigError
from taxiway.promotion import promote, reject
from taxiway.registry import CHALLENGER, CHAMPION, LiveModel, ModelVersion, Registry, model_name
from taxiway.rollout.judge_step import Losses
from taxiway.rollout.progress import CONTROLLER, Facts, decide
from taxiway.rollout.state import Event, RolloutState, plan_tag
from taxiway.rollout.tally import Stream, Tally
from taxiway.rollout.verdict import Verdict
from taxiway.rollout_series import Measured
from taxiway.rollouts import Outdated, Rollouts, new_identity
from taxiway.traffic import digest

LOADING_S = 30.0
"""A challenger that fails to load for so long has failed."""


class Judge(Protocol):
    """Says how a step does. `champion` and `challenger` are of live answers, `shadow` of copies.

    Attributes:
        losses: what ground truth says of the step, as far as it was read.
    """

    @property
    def losses(self) -> Losses | None: ...

    def __call__(
        self, state: RolloutState, champion: Tally, challenger: Tally, shadow: Tally, elapsed_s: float
    ) -> Verdict: ...


Announce = Callable[[RolloutState, Event], None]


class Keeper:
    """One endpoint's rollouts. Reports come on any thread; `tick` is called by one.

    What a state asks for is looked up and put right at each tick: a controller that dies half-way, or of which
    there are two for a while, leads to the same end, since states are written one after the other (`Rollouts`)
    and what follows from them may be done twice.

    Args:
        folder: where ledger and series are kept; another machine that does not see them measures the step anew.
    """

    def __init__(
        self,
        registry: Registry,
        application: str,
        settings: EndpointSettings,
        judge: Judge,
        announce: Announce,
        folder: Path,
    ) -> None:
        if settings.rollout is None:
            raise ConfigError(f"endpoint {settings.name!r} has no rollout")
        self._registry, self._application, self._settings = registry, application, settings
        self._plan, self._judge, self._announce = settings.rollout, judge, announce
        self._model = model_name(uris(settings.all_variants[0])[0])
        self.rollouts = Rollouts(registry, application, settings.name, self._model)
        self._kept = KeptLedger(folder / application / f"{settings.name}.json")
        self._step, ledger = self._kept.read()
        self._heard = Heard(settings.name, settings.all_variants[0].name, ledger)
        self._steering = Steering(registry, application, settings, self._model, self._heard)
        self._series = Series(folder, application, settings.name)
        self._applied: tuple[str, str] | None = None
        self._news = NewEvents()
        self.verdict: Verdict | None = None

    def take(self, report: Report) -> None:
        """What a replica has told."""
        self._heard.take(report)

    def tick(self, now: datetime) -> RolloutState | None:
        """Looks once, and does what is to be done; the rollout as it is then.

        Raises:
            RegistryError: the registry does not answer; nothing is lost, the next tick goes on.
        """
        live = self._registry.live(self._model)
        self._publish_plan(live)
        state = self.rollouts.read(live)
        self._tell(state)
        if state is None or state.is_over:
            if state is not None:
                self._bring_about(state, live, now)
            state = self._begin(live, now)
            if state is None:
                return None
            live = self._registry.live(self._model)
        self._open_step(state, now)
        self.verdict = self._measure(state, now)
        following = decide(state, self._facts(state, live), now)
        self._record(state, now, always=following is not None)
        if following is not None:
            with suppress(Outdated):
                state = self.rollouts.replace(self._told(following))
                self._tell(state)
                self._open_step(state, now)
                self._series.add(state, now, None)
        with suppress(Outdated):
            self._bring_about(state, live, now)
        self._kept.write(self._step, self._heard.dump())
        return state

    def _record(self, state: RolloutState, now: datetime, always: bool) -> None:
        if not always and not self._series.is_due(state, now):
            return
        measured = None
        if self._is_open(state) and state.is_undecided:
            measured = Measured(*self.tallies(state), self.verdict, self._judge.losses)
        self._series.add(state, now, measured)

    def _publish_plan(self, live: LiveModel) -> None:
        """For whoever starts a rollout by hand."""
        tag, plan = plan_tag(self._application, self._settings.name), self._plan.model_dump_json(exclude_defaults=True)
        if live.tags.get(tag) != plan:
            self._registry.write_tag(self._model, tag, plan)

    def _begin(self, live: LiveModel, now: datetime) -> RolloutState | None:
        if self._plan.start != "automatic" or CHAMPION not in live.aliases:
            return None
        if not self.rollouts.is_new_challenger(live):
            return None
        state = self.rollouts.begin(new_identity(), self._plan, now, CONTROLLER)
        self._tell(state)
        return state

    def _open_step(self, state: RolloutState, now: datetime) -> None:
        """Begins to count when every replica splits the traffic as asked: what came before is of another step."""
        if self._is_open(state) or state.phase != "running" or not self._is_applied(state):
            return
        self._heard.begin(now.timestamp(), of_another_kind=not self._step.startswith(state.id))
        self._step = _key(state)

    def _is_applied(self, state: RolloutState) -> bool:
        """Whether all replicas have the challenger's version and the step's traffic."""
        if not self._heard.all_split_like(state.traffic):
            return False
        wanted = state.challenger_version
        return all(it.versions.get(state.plan.challenger) == wanted for it in self._heard.recent())

    def _is_open(self, state: RolloutState) -> bool:
        return self._step == _key(state)

    def tallies(self, state: RolloutState) -> tuple[Tally, Tally, Tally]:
        """Of the step: the champion's live answers, the challenger's, and its answers to copies."""
        plan, name = state.plan, self._settings.name
        streams = (
            Stream(name, plan.champion, state.champion_version, "live"),
            Stream(name, plan.challenger, state.challenger_version, "live"),
            Stream(name, plan.challenger, state.challenger_version, "shadow"),
        )
        champion, challenger, shadow = self._heard.observed(streams)
        return champion, challenger, shadow

    def answered(self, state: RolloutState) -> int:
        """How many live requests the challenger's version has answered, as far as the ledger goes back."""
        stream = Stream(self._settings.name, state.plan.challenger, state.challenger_version, "live")
        return self._heard.ever_answered(stream)

    def _measure(self, state: RolloutState, now: datetime) -> Verdict | None:
        if not state.is_undecided:
            return None
        elapsed_s = (now - state.step_began).total_seconds()
        if self._is_open(state):
            return self._judge(state, *self.tallies(state), elapsed_s)
        errors = {it.errors[state.plan.challenger] for it in self._heard.recent() if state.plan.challenger in it.errors}
        if errors and elapsed_s > LOADING_S:
            told = f"version {state.challenger_version} can't be loaded: {min(errors)}"
            return Verdict("failed", True, (), (told,))
        return None

    def _facts(self, state: RolloutState, live: LiveModel) -> Facts:
        override = self._steering.override(live)
        foreign = None
        if override is not None and override.by != state.by and not override.is_older_than(state.step_began):
            foreign = override.by
        elif override is None and self._applied == (state.id, digest(state.traffic)):
            foreign = "somebody"
        return Facts(live.aliases, self.verdict, self._settled(state, live), foreign)

    def _settled(self, state: RolloutState, live: LiveModel) -> bool:
        """Whether the registry and every replica are where the phase leads."""
        recent = self._heard.recent()
        if state.phase == "promoting":
            wanted = state.challenger_version
            if live.aliases.get(CHAMPION) != wanted or live.aliases.get(CHALLENGER) == wanted:
                return False
            return all(it.versions.get(state.plan.champion) == wanted for it in recent)
        if state.phase == "rolling_back":
            if self._rejects(state, live):
                return False
            back = digest(state.traffic)
            return self._steering.splits(live, state.traffic) and all(digest(it.traffic) == back for it in recent)
        return False

    def _bring_about(self, state: RolloutState, live: LiveModel, now: datetime) -> None:
        """Puts right what is not as the state asks for.

        Raises:
            Outdated: the state is not the present one any more.
        """
        override = self._steering.override(live)
        if state.is_over:
            if override is not None and override.by == state.by:
                self.rollouts.acting(state, self._steering.reset)
            return
        foreign = override is not None and override.by != state.by and state.phase == "paused"
        if not foreign and not self._steering.splits(live, state.traffic):
            self.rollouts.acting(state, partial(self._steering.set, state.traffic, state.by, now))
        self._applied = state.id, digest(state.traffic)
        version = ModelVersion(self._model, state.challenger_version, "")
        if self._promotes(state, live):
            promote(self._registry, version, state.by, state.reason, now)
        if self._rejects(state, live):
            reject(self._registry, version, state.by, state.reason, now)

    def _promotes(self, state: RolloutState, live: LiveModel) -> bool:
        """Whether the promotion has not begun, or was killed half-way and the version is challenger still."""
        champion, challenger = live.aliases.get(CHAMPION), live.aliases.get(CHALLENGER)
        half_way = champion == challenger == state.challenger_version
        return state.phase == "promoting" and (champion == state.champion_version or half_way)

    def _rejects(self, state: RolloutState, live: LiveModel) -> bool:
        """Whether the version has failed and is challenger still."""
        failed = state.phase == "rolling_back" and state.outcome == "rolled_back"
        return failed and live.aliases.get(CHALLENGER) == state.challenger_version

    def _told(self, state: RolloutState) -> RolloutState:
        """The state; at its end with how many requests have seen the challenger."""
        if not state.is_over:
            return state
        last = state.events[-1]
        told = (
            f"{last.told}; {self.answered(state):,} live requests were answered by version {state.challenger_version}"
        )
        return state.model_copy(update={"events": (*state.events[:-1], last.model_copy(update={"told": told}))})

    def _tell(self, state: RolloutState | None) -> None:
        """Announces what is new, also what people have done since the last look."""
        if state is None:
            self._news.among(())
            return
        for event in self._news.among(state.events):
            with suppress(Exception):  # whoever listens must not stop a rollout
                self._announce(state, event)


def _key(state: RolloutState) -> str:
    return f"{state.id} {state.step} {state.step_began.isoformat()}"

"""An experiment as the registry remembers it, and the ways from one state to the next."""

from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError

from taxiway.errors import RegistryError
from taxiway.rollout.experiment import ExperimentSettings
from taxiway.rollout.state import Event
from taxiway.settings import Settings
from taxiway.traffic import TrafficSettings

EVENTS = 40


class ExperimentState(Settings):
    """An experiment.

    Attributes:
        control: the variant that the others are compared with.
        versions: of each variant that takes part, what answers: another one would be another experiment.
        revision: one more with each change; whoever writes says which one he has seen.
        weights: percent of the requests by variant, as of now.
        dropped: variants that were taken out, and why.
    """

    id: str
    application: str
    endpoint: str
    model: str
    plan: ExperimentSettings
    control: str
    versions: dict[str, str]
    revision: int = 0
    phase: Literal["running", "ended"] = "running"
    began: datetime
    split_at: datetime
    ended: datetime | None = None
    reason: str = ""
    weights: dict[str, float]
    dropped: dict[str, str] = Field(default_factory=dict)
    events: tuple[Event, ...] = Field(default=(), max_length=EVENTS)

    @property
    def by(self) -> str:
        """Who signs what the experiment changes."""
        return f"experiment {self.id}"

    @property
    def traffic(self) -> TrafficSettings:
        return TrafficSettings(weights=self.weights)

    @property
    def is_over(self) -> bool:
        return self.phase == "ended"

    @property
    def is_as_begun(self) -> bool:
        """Whether the split has been the same all the time."""
        return self.split_at == self.began


def begun(
    identity: str,
    application: str,
    endpoint: str,
    model: str,
    plan: ExperimentSettings,
    versions: dict[str, str],
    shares: dict[str, float],
    now: datetime,
) -> ExperimentState:
    """A new one; the control is the first of `versions`."""
    told = f"{plan.name}: " + ", ".join(f"{name} (version {versions[name]}) {shares[name]:g}%" for name in shares)
    return ExperimentState(
        id=identity,
        application=application,
        endpoint=endpoint,
        model=model,
        plan=plan,
        control=next(iter(versions)),
        versions=versions,
        began=now,
        split_at=now,
        weights=shares,
        events=(Event(at=now, what="started", told=told, by="controller"),),
    )


def without(state: ExperimentState, variant: str, why: str, now: datetime) -> ExperimentState:
    """The variant gets nothing any more; its share goes to the control."""
    weights = dict(state.weights)
    weights[state.control] += weights[variant]
    weights[variant] = 0.0
    told = f"{variant} was taken out: {why}"
    update = {"weights": weights, "dropped": state.dropped | {variant: why}, "split_at": now}
    return _next(state, now, "dropped", told, "controller", update)


def reallocated(state: ExperimentState, weights: dict[str, float], now: datetime) -> ExperimentState:
    told = ", ".join(f"{name} {share:g}%" for name, share in weights.items())
    return _next(state, now, "split", told, "controller", {"weights": weights, "split_at": now})


def ended(state: ExperimentState, reason: str, by: str, now: datetime) -> ExperimentState:
    """The traffic goes back to what is declared."""
    return _next(state, now, "ended", reason, by, {"phase": "ended", "ended": now, "reason": reason})


def parse_experiment(text: str) -> ExperimentState:
    """
    Raises:
        RegistryError: the tag was written by something else.
    """
    try:
        return ExperimentState.model_validate_json(text)
    except ValidationError as error:
        raise RegistryError(f"the experiment in the registry can't be read; delete its tag: {error}") from error


def _next(
    state: ExperimentState, now: datetime, what: str, told: str, by: str, update: dict[str, object]
) -> ExperimentState:
    events = (*state.events, Event(at=now, what=what, told=told[:300], by=by))
    # The first one says what it was about.
    kept = events if len(events) <= EVENTS else (events[0], *events[2:])
    return state.model_copy(update={"revision": state.revision + 1, "events": kept, **update})

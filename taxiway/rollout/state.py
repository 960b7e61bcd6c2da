"""A rollout as the registry remembers it: with the challenger's version, so that a controller that dies resumes."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError

from taxiway.errors import ConfigError, RegistryError
from taxiway.rollout.plan import RolloutSettings
from taxiway.settings import Settings
from taxiway.traffic import TrafficSettings, only, sentences

Phase = Literal["running", "paused", "holding", "promoting", "rolling_back", "ended"]
Outcome = Literal["promoted", "rolled_back", "aborted", "superseded"]
UNDECIDED: tuple[Phase, ...] = ("running", "paused", "holding")
EVENTS = 60


class Event(Settings):
    """Something that happened; `what` is a word, `told` a sentence."""

    at: datetime
    what: str
    told: str
    by: str


class RolloutState(Settings):
    """A rollout.

    Attributes:
        revision: one more with each change; whoever writes says which one he has seen.
        step_began: when the traffic of the step was asked for.
        outcome: set as soon as it is decided; what follows from it is done when the phase is `ended`.
        findings: what each check said at the last change, for people.
    """

    id: str
    application: str
    endpoint: str
    model: str
    champion_version: str
    challenger_version: str
    plan: RolloutSettings
    revision: int = 0
    phase: Phase = "running"
    step: int = 0
    began: datetime
    step_began: datetime
    ended: datetime | None = None
    outcome: Outcome | None = None
    reason: str = ""
    findings: tuple[str, ...] = ()
    events: tuple[Event, ...] = Field(default=(), max_length=EVENTS)

    @property
    def by(self) -> str:
        """Who signs what the rollout changes."""
        return f"rollout {self.id}"

    @property
    def traffic(self) -> TrafficSettings:
        """What it asks for in its phase."""
        if self.phase == "promoting":
            return only(self.plan.challenger)
        if self.phase in ("rolling_back", "ended"):
            return only(self.plan.champion)
        return self.plan.traffic(self.step)

    @property
    def is_undecided(self) -> bool:
        """Whether its steps are measured still, and it may go on, go back or wait."""
        return self.phase in UNDECIDED

    @property
    def is_over(self) -> bool:
        return self.phase == "ended"


def tag_name(application: str, endpoint: str) -> str:
    """The tag of the registered model that names the version under rollout, and of that version with its state."""
    return f"taxiway.rollout/{application}/{endpoint}"


def plan_tag(application: str, endpoint: str) -> str:
    """The tag of the registered model with the plan of the deployed file."""
    return f"taxiway.rollout-plan/{application}/{endpoint}"


def places(tags: Iterable[str]) -> list[tuple[str, str]]:
    """The applications and endpoints that roll a model out, from its tags."""
    found = (tag.split("/") for tag in tags if tag.startswith(("taxiway.rollout/", "taxiway.rollout-plan/")))
    return sorted({(application, endpoint) for _, application, endpoint in found})


def parse_plan(text: str, source: str = "the rollout's plan in the registry") -> RolloutSettings:
    """
    Raises:
        ConfigError: a key of it can't be; says which.
    """
    try:
        return RolloutSettings.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"{source}: {sentences(error.errors())}") from error


def parse(text: str) -> RolloutState:
    """
    Raises:
        RegistryError: the tag was written by something else.
    """
    try:
        return RolloutState.model_validate(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise RegistryError(f"the rollout in the registry can't be read; delete its tag: {error}") from error

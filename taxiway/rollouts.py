"""Rollouts in the registry: read, begun and changed there by controllers and people, one change at a time."""

import uuid
from collections.abc import Callable
from datetime import datetime

from taxiway.errors import ConfigError, RegistryError
from taxiway.history import bounded
from taxiway.registry import CHALLENGER, LiveModel, ModelVersion, Registry
from taxiway.rollout.plan import RolloutSettings
from taxiway.rollout.progress import Command, command, start
from taxiway.rollout.state import RolloutState, parse, tag_name
from taxiway.turn import turn


def new_identity() -> str:
    """Of a rollout: twelve characters, for people to name it."""
    return uuid.uuid4().hex[:12]


class Outdated(RegistryError):
    """Somebody else has changed the rollout meanwhile: look again."""


class Rollouts:
    """The rollouts of one application's endpoint. A tag of the model names the version, a tag of the version holds it.

    Args:
        model: the registered model of the endpoint's variants.
    """

    def __init__(self, registry: Registry, application: str, endpoint: str, model: str) -> None:
        self._registry, self._model = registry, model
        self._application, self._endpoint = application, endpoint
        self._tag = tag_name(application, endpoint)

    def read(self, live: LiveModel | None = None) -> RolloutState | None:
        """The present or last rollout; None while there was none.

        Args:
            live: the model as it has just been read.

        Raises:
            RegistryError: the registry does not answer, or the tag can't be read.
        """
        version = (live or self._registry.live(self._model)).tags.get(self._tag)
        return None if version is None else self.of_version(version)

    def of_version(self, version: str) -> RolloutState | None:
        """The rollout of a version, however long ago."""
        state = self._registry.describe(self._version(version))
        text = None if state is None else state.tags.get(self._tag)
        return None if text is None else parse(text)

    def history(self) -> list[RolloutState]:
        """Every rollout whose version is in the registry still, the oldest first."""
        numbers = self._registry.versions(self._model)
        found = [state for number in numbers if (state := self.of_version(number)) is not None]
        return sorted(found, key=lambda state: state.began)

    def begin(self, identity: str, plan: RolloutSettings, now: datetime, by: str) -> RolloutState:
        """Starts a rollout of the present challenger.

        Raises:
            ConfigError: there is nothing to roll out, or a rollout is under way.
            RegistryError: the registry does not answer.
        """
        with turn(self._registry, self._model, by) as still_mine:
            live = self._registry.live(self._model)
            present = self.read(live)
            if present is not None and not present.is_over:
                raise ConfigError(
                    f"the rollout of version {present.challenger_version} is {present.phase}; abort it first"
                )
            state = start(identity, self._application, self._endpoint, self._model, live.aliases, plan, now, by)
            still_mine()
            self._write(state)
            # Last: a rollout that nobody points to has not begun.
            self._registry.write_tag(self._model, self._tag, state.challenger_version)
        return state

    def replace(self, state: RolloutState) -> RolloutState:
        """Writes a state that follows the one in the registry.

        Raises:
            Outdated: another one has been written meanwhile.
            RegistryError: the registry does not answer.
        """
        return self._change(state.by, lambda present: state if _precedes(present, state) else None)

    def command(self, given: Command, now: datetime, by: str, reason: str) -> RolloutState:
        """What a person asks of the rollout that is under way.

        Raises:
            ConfigError: it is not possible now.
            RegistryError: the registry does not answer.
        """
        return self._change(by, lambda present: command(present, given, now, bounded(by, 100), bounded(reason, 300)))

    def acting(self, state: RolloutState, act: Callable[[], object]) -> None:
        """Does what a state asks for while nobody can change it.

        Raises:
            Outdated: it is not the present state any more.
        """
        with turn(self._registry, self._model, state.by) as still_mine:
            present = self.read()
            if present is None or (present.id, present.revision) != (state.id, state.revision):
                raise Outdated(f"the rollout of version {state.challenger_version} has changed meanwhile")
            still_mine()
            act()

    def is_new_challenger(self, live: LiveModel) -> bool:
        """Whether the challenger has had no rollout here yet."""
        challenger = live.aliases.get(CHALLENGER)
        return challenger is not None and self.of_version(challenger) is None

    def _change(self, by: str, change: Callable[[RolloutState], RolloutState | None]) -> RolloutState:
        with turn(self._registry, self._model, by) as still_mine:
            present = self.read()
            if present is None:
                raise ConfigError(f"{self._endpoint} has no rollout; start one")
            changed = change(present)
            if changed is None:
                raise Outdated(f"the rollout of version {present.challenger_version} has changed meanwhile")
            still_mine()
            self._write(changed)
        return changed

    def _write(self, state: RolloutState) -> None:
        version = self._version(state.challenger_version)
        self._registry.write_version_tag(version, self._tag, state.model_dump_json())

    def _version(self, version: str) -> ModelVersion:
        return ModelVersion(self._model, version, "")


def _precedes(present: RolloutState, following: RolloutState) -> bool:
    return present.id == following.id and present.revision + 1 == following.revision

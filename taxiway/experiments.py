"""Experiments in the registry: tags of the model behind the control, changed by one writer at a time."""

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime

from taxiway.errors import ConfigError
from taxiway.history import bounded
from taxiway.registry import LiveModel, Registry
from taxiway.rollout.experiment_state import ExperimentState, ended, parse_experiment
from taxiway.rollout.readout import Readout
from taxiway.rollouts import Outdated
from taxiway.turn import turn

_PRESENT, _READOUT, _PAST = "taxiway.experiment", "taxiway.experiment-readout", "taxiway.experiment-past"


class Experiments:
    """Those of one application's endpoint.

    Args:
        model: the registered model of the endpoint's first variant.
    """

    def __init__(self, registry: Registry, application: str, endpoint: str, model: str) -> None:
        self._registry, self._model = registry, model
        self._endpoint = endpoint
        self._tag, self._readout, self._past = (
            f"{kind}/{application}/{endpoint}" for kind in (_PRESENT, _READOUT, _PAST)
        )

    def read(self, live: LiveModel | None = None) -> ExperimentState | None:
        """The present or last one; None while there was none.

        Raises:
            RegistryError: the registry does not answer, or the tag can't be read.
        """
        text = (live or self._registry.live(self._model)).tags.get(self._tag)
        return None if text is None else parse_experiment(text)

    def readout(self) -> Readout | None:
        """What was last said of the present or last one."""
        tags = self._registry.live(self._model).tags
        if self._tag not in tags or self._readout not in tags:
            return None
        found = Readout.model_validate_json(tags[self._readout])
        return found if found.id == parse_experiment(tags[self._tag]).id else None

    def past(self) -> list[tuple[ExperimentState, Readout | None]]:
        """Those that have ended before the present one began, the oldest first, with the last readout."""
        tags = self._registry.live(self._model).tags
        found = []
        for name in tags:
            if name.startswith(f"{self._past}/") and not name.endswith("/readout"):
                told = tags.get(f"{name}/readout")
                readout = None if told is None else Readout.model_validate_json(told)
                found.append((parse_experiment(tags[name]), readout))
        return sorted(found, key=lambda it: it[0].began)

    def begin(self, state: ExperimentState) -> None:
        """Writes a new experiment; the one before it is kept as past.

        Raises:
            Outdated: one is running.
        """
        with turn(self._registry, self._model, state.by) as still_mine:
            tags = self._registry.live(self._model).tags
            if self._tag in tags:
                before = parse_experiment(tags[self._tag])
                if not before.is_over:
                    raise Outdated(f"the experiment {before.plan.name!r} is running")
                still_mine()
                self._registry.write_tag(self._model, f"{self._past}/{before.id}", before.model_dump_json())
                if self._readout in tags:
                    self._registry.write_tag(self._model, f"{self._past}/{before.id}/readout", tags[self._readout])
            still_mine()
            self._registry.write_tag(self._model, self._tag, state.model_dump_json())

    def replace(self, state: ExperimentState) -> ExperimentState:
        """Writes a state that follows the one in the registry.

        Raises:
            Outdated: another one has been written meanwhile.
        """
        follows = (state.id, state.revision - 1)
        return self._change(state.by, lambda present: state if (present.id, present.revision) == follows else None)

    def stop(self, now: datetime, by: str, reason: str) -> ExperimentState:
        """Ends the one that is running.

        Raises:
            ConfigError: none is.
        """

        def change(present: ExperimentState) -> ExperimentState:
            if present.is_over:
                raise ConfigError(f"the experiment {present.plan.name!r} has ended already")
            return ended(present, bounded(reason, 300) or "stopped", bounded(by, 100), now)

        return self._change(by, change)

    def acting(self, state: ExperimentState, act: Callable[[], object]) -> None:
        """Does what a state asks for while nobody can change it.

        Raises:
            Outdated: it is not the present state any more.
        """
        with turn(self._registry, self._model, state.by) as still_mine:
            present = self.read()
            if present is None or (present.id, present.revision) != (state.id, state.revision):
                raise Outdated(f"the experiment {state.plan.name!r} has changed meanwhile")
            still_mine()
            act()

    def write_readout(self, readout: Readout) -> None:
        self._registry.write_tag(self._model, self._readout, readout.model_dump_json())

    def _change(self, by: str, change: Callable[[ExperimentState], ExperimentState | None]) -> ExperimentState:
        with turn(self._registry, self._model, by) as still_mine:
            present = self.read()
            if present is None:
                raise ConfigError(f"{self._endpoint} has no experiment; deploy it with the key `experiment`")
            changed = change(present)
            if changed is None:
                raise Outdated(f"the experiment {present.plan.name!r} has changed meanwhile")
            still_mine()
            self._registry.write_tag(self._model, self._tag, changed.model_dump_json())
        return changed


def new_experiment_id() -> str:
    return uuid.uuid4().hex[:12]


def experiment_places(tags: Iterable[str]) -> list[tuple[str, str]]:
    """The applications and endpoints with an experiment on a model, from its tags."""
    found = (tag.split("/") for tag in tags if tag.startswith(f"{_PRESENT}/"))
    return sorted((application, endpoint) for _, application, endpoint in found)

"""How fresh the feature views are that a replica's models read: asked of Feast's registry every half minute."""

import logging
import math
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from taxiway.errors import ConfigError, TaxiwayError
from taxiway.feature_binding import FeatureBinding
from taxiway.telemetry.metrics import ServingMetrics
from taxiway.timed_calls import TimedCalls

if TYPE_CHECKING:
    from taxiway.features import Freshness

_log = logging.getLogger(__name__)

EVERY_S = 30.0
_ANSWER_S = 10.0
Ask = Callable[[Sequence[str]], Sequence["Freshness"]]
OnLoop = Callable[..., object]


class FollowedViews:
    """The views of every model that this replica has loaded.

    The registry is asked on a thread. What it said, metrics and status happen on the event loop, and while the
    registry fails the ages grow on from what it said last.

    Args:
        ask: says of views, by name, up to when the online store knows them; may fail, and may hang.
        metrics: gets the ages, and counts the failures.
        as_of: the moment at which ages are judged; None: now.
    """

    def __init__(self, ask: Ask, metrics: ServingMetrics, as_of: datetime | None, every_s: float = EVERY_S) -> None:
        self._ask = ask
        self._metrics = metrics
        self._as_of = as_of
        self._every_s = every_s
        self._names: dict[str, None] = {}
        self._known: dict[str, Freshness] = {}
        self._errors: dict[str, str] = {}
        self._wake = threading.Event()
        self._stopping = False

    def add(self, features: FeatureBinding | None) -> None:
        """From now on the views of a loaded model are followed too; from any thread."""
        self._names.update((view.name, None) for view in (features.views if features else ()))
        self._wake.set()

    def follow(self, on_loop: OnLoop) -> None:
        """Asks at once, every `every_s` seconds, and whenever a view comes in addition."""
        # A call that hangs is never given up: begun anew each time, there would be ever more of them.
        calls = TimedCalls(_ANSWER_S, patience_s=math.inf)
        threading.Thread(target=self._follow, args=(on_loop, calls), name="freshness", daemon=True).start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def status(self) -> dict[str, Any]:
        """By view: up to when it is filled, whether it is stale, and why nothing newer is known; on the loop."""
        now = self._now()
        return {
            name: {
                "until": view.until.isoformat() if view and view.until else None,
                "stale": view.is_stale(now) if view else None,
                "error": self._errors.get(name),
            }
            for name, view in ((name, self._known.get(name)) for name in list(self._names))
        }

    def _follow(self, on_loop: OnLoop, calls: TimedCalls) -> None:
        while True:
            self._wake.clear()
            if self._stopping:  # looked at after the clearing, which may have swallowed the call of `stop`
                return
            found, errors = self._answers(calls)
            if not self._stopping:
                on_loop(self._take, found, errors)
            self._wake.wait(self._every_s)

    def _answers(self, calls: TimedCalls) -> tuple[dict[str, "Freshness"], dict[str, Exception]]:
        """One view after the other: one that is gone says nothing about the others."""
        found: dict[str, Freshness] = {}
        errors: dict[str, Exception] = {}
        for name in list(self._names):
            try:
                (found[name],) = calls(partial(self._ask, [name]))
            except Exception as error:  # noqa: BLE001 - whatever a registry's client raises
                errors[name] = error
        return found, errors

    def _take(self, found: dict[str, "Freshness"], errors: dict[str, Exception]) -> None:
        self._known |= found
        if errors:
            self._metrics.feature_registry_failed()
            if not self._errors:
                name, error = next(iter(errors.items()))
                _log.warning("how fresh %r is can't be asked, what is known of it stays", name, exc_info=error)
        self._errors = {name: _told(error) for name, error in errors.items()}
        now = self._now()
        for view in self._known.values():
            age_s = (now - view.until).total_seconds() if view.until else None
            self._metrics.feature_view(view.view, age_s, view.is_stale(now))

    def _now(self) -> datetime:
        return self._as_of or datetime.now(UTC)


def _told(error: Exception) -> str:
    """What a registry's client says may name addresses and users: the log has it."""
    return str(error) if isinstance(error, TaxiwayError) else "the feature registry did not answer"


def no_store(names: Sequence[str]) -> Sequence["Freshness"]:
    """For a replica without a feature store, whose models read no view."""
    raise ConfigError(f"feature_store: there is none; set feature_store.repository to ask about {', '.join(names)}")

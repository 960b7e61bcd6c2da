"""Watches the drift of one endpoint: adds up what its replicas count, judges each window, and raises alarms."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from serve.drift_notice import announce_drift
from serve.kept_ledger import KeptLedger
from serve.reports import Report
from serve.settings import EndpointSettings
from taxiway.alarms import Alarm, raise_alarm
from taxiway.drift.calibration import with_usual
from taxiway.drift.counts import ROWS, Counted, of_numbers
from taxiway.drift.judgement import ColumnDrift, WindowDrift, is_over, judge
from taxiway.drift.progress import DriftState, Followed, VariantDrift, follow
from taxiway.drift.settings import DriftSettings
from taxiway.errors import ConfigError, JobError
from taxiway.rollout.ledger import Ledger
from taxiway.rollout.tally import Stream

_log = logging.getLogger(__name__)

RECENT_S = 10.0
KEEP_S = 15.0
VERSIONS = 2
"""Of a variant, so many are watched: the present one, and the one before it while replicas change."""


Seen = Callable[[Stream, Followed], None]
Begun = Callable[[Stream, DriftState], None]


@dataclass
class _Watched:
    counted: Counted
    state: DriftState
    ledger: Ledger
    kept: KeptLedger
    kept_s: float = 0.0
    heard_s: dict[str, float] = field(default_factory=dict)

    def take(self, report: Report, stream: Stream, counted: Counted) -> None:
        self.counted = counted
        self.heard_s[report.process] = time.monotonic()
        self.ledger.take(report.process, report.started_s, report.number, {stream: counted.numbers})

    def keep(self) -> None:
        self.kept_s = time.monotonic()
        self.kept.write(self.state.model_dump_json(), self.ledger.dump())

    def begin(self, now_s: float) -> None:
        """The next window; processes that tell nothing any more have told all that they will."""
        now = time.monotonic()
        self.heard_s = {process: at for process, at in self.heard_s.items() if now - at < RECENT_S}
        self.ledger.forget_others(self.heard_s)
        self.ledger.begin(now_s)


class DriftWatch:
    """One endpoint's. Reports come on any thread; `tick` is called by one.

    Args:
        models: the registered model of each variant that has one, for its alarms.
        seen: told of every judged window.
        folder: where windows and alarms are kept for the next controller.
        begun: told of every version that is watched from now on, with what an earlier controller has kept of it.
    """

    def __init__(
        self,
        application: str,
        endpoint: EndpointSettings,
        models: dict[str, str],
        seen: Seen,
        folder: Path,
        begun: Begun = lambda stream, state: None,
    ) -> None:
        if endpoint.drift is None:
            raise ConfigError(f"endpoint {endpoint.name!r} has no drift")
        self._endpoint, self._settings, self._models = endpoint.name, endpoint.drift, models
        self._seen, self._begun, self._folder = seen, begun, folder / application
        self._watched: dict[Stream, _Watched] = {}
        self._lock = threading.Lock()

    def take(self, report: Report, now: datetime) -> None:
        """What a replica has told."""
        with self._lock:
            for stream, counted in report.drift.items():
                if stream.endpoint == self._endpoint:
                    if stream not in self._watched:
                        self._watch(stream, counted, now)
                    self._watched[stream].take(report, stream, counted)

    def tick(self, now: datetime) -> None:
        """Judges the windows that are over."""
        with self._lock:
            for stream, watched in self._watched.items():
                window = self._window(stream, watched, now)
                if window is not None:
                    followed = follow(watched.state, window, self._settings)
                    self._tell(stream, window, followed)
                    watched.state = followed.state
                    watched.begin(now.timestamp())
                    watched.keep()
                elif time.monotonic() - watched.kept_s >= KEEP_S:
                    watched.keep()

    def found(self) -> list[VariantDrift]:
        """Every version that is watched, with the rows of its open window."""
        with self._lock:
            return [
                VariantDrift(variant=it.variant, version=it.version, rows=_rows(it, watched), state=watched.state)
                for it, watched in self._watched.items()
            ]

    def _watch(self, stream: Stream, counted: Counted, now: datetime) -> None:
        kept = KeptLedger(self._folder / f"{stream.endpoint}.{stream.variant}.{stream.version}.drift.json")
        text, ledger = kept.read()
        try:
            state = DriftState.model_validate_json(text)
        except ValidationError:
            # What was counted before anybody watched belongs to no window.
            state, ledger = DriftState(began=now), Ledger(began_s=now.timestamp())
        others = [it for it in self._watched if it.variant == stream.variant]
        for it in others[: len(others) + 1 - VERSIONS]:
            del self._watched[it]
        self._watched[stream] = _Watched(counted, state, ledger, kept)
        self._begun(stream, state)

    def _window(self, stream: Stream, watched: _Watched, now: datetime) -> WindowDrift | None:
        """The open one as it is judged; None while it goes on."""
        began = watched.state.began
        if not is_over(self._settings.window, _rows(stream, watched), (now - began).total_seconds()):
            return None
        reference = watched.counted.reference
        current = of_numbers(reference, watched.ledger.observed(stream).numbers)
        return judge(with_usual(self._settings, watched.counted.usual), reference, current, began, now)

    def _tell(self, stream: Stream, window: WindowDrift, followed: Followed) -> None:
        """Nothing here may end the counting: the registry's and the storage's troubles are logged."""
        try:
            if followed.raised:
                self._raise(stream, window, followed.raised)
            if followed.cleared:
                told = f"no drift in {self._settings.clear_after} windows: {', '.join(followed.cleared)}"
                announce_drift(stream, "cleared", followed.cleared, told, window, self._settings.webhook)
            self._seen(stream, followed)
        except Exception:  # noqa: BLE001
            _log.exception("the drift of %s can't be told", stream)

    def _raise(self, stream: Stream, window: WindowDrift, columns: Sequence[ColumnDrift]) -> None:
        told = reason(stream, columns, self._settings)
        if self._settings.retrain and (model := self._models.get(stream.variant)) is not None:
            details = {f"{it.key}.psi"[-100:]: it.psi for it in columns[:90]} | {"rows": window.rows}
            alarm = Alarm(at=window.ended, endpoint=stream.endpoint, reason=told, by="drift", details=details)
            try:
                raise_alarm(model, alarm)
            except JobError as error:
                _log.error("no retraining hears of the drift of %s: %s", stream, error)
        announce_drift(stream, "raised", [it.key for it in columns], told, window, self._settings.webhook)


def reason(stream: Stream, columns: Sequence[ColumnDrift], settings: DriftSettings) -> str:
    """One sentence, the largest drift first."""
    ordered = sorted(columns, key=lambda it: it.psi or 0.0, reverse=True)
    told = ", ".join(it.sentence for it in ordered[:5])
    more = f" and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return f"drift of {stream.variant} version {stream.version} in {settings.raise_after} windows: {told}{more}"


def _rows(stream: Stream, watched: _Watched) -> int:
    return int(watched.ledger.observed(stream)[ROWS])

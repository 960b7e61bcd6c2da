"""From windows to alarms, with hysteresis: raised after several windows in a row, cleared after several quiet ones."""

from dataclasses import dataclass

from pydantic import AwareDatetime, Field, NonNegativeInt

from taxiway.drift.judgement import ColumnDrift, WindowDrift
from taxiway.drift.settings import DriftSettings
from taxiway.settings import Settings

KEPT_WINDOWS = 20


class ColumnAlarm(Settings):
    """How a column stands: windows in a row that drift or do not, and since when an alarm is raised, if it is."""

    drifting: NonNegativeInt = 0
    quiet: NonNegativeInt = 0
    since: AwareDatetime | None = None


class DriftState(Settings):
    """One version of a variant: the window that is open, the last ones that were judged, and the alarms by column.

    Alarms are by `GROUP/COLUMN`, of columns that drift or have done so lately.
    """

    began: AwareDatetime
    windows: tuple[WindowDrift, ...] = ()
    alarms: dict[str, ColumnAlarm] = Field(default_factory=dict)

    @property
    def raised(self) -> dict[str, AwareDatetime]:
        return {key: it.since for key, it in self.alarms.items() if it.since is not None}


class VariantDrift(Settings):
    """What is known of the drift of one version of a variant."""

    variant: str
    version: str
    rows: int = Field(description="of the open window, so far")
    state: DriftState


@dataclass(frozen=True)
class Followed:
    """The state after a window, and the columns whose alarm was raised or cleared by it."""

    state: DriftState
    raised: tuple[ColumnDrift, ...]
    cleared: tuple[str, ...]


def follow(state: DriftState, window: WindowDrift, settings: DriftSettings) -> Followed:
    """What a judged window changes; the next one begins where it ended.

    An alarm that is raised is raised once: it is for the retraining to answer it, and the version that comes of that
    begins anew.
    """
    alarms = {it.key: _after(state.alarms.get(it.key, ColumnAlarm()), it, window, settings) for it in window.columns}
    raised = tuple(it for it in window.columns if alarms[it.key].since and it.key not in state.raised)
    cleared = tuple(key for key in state.raised if key in alarms and alarms[key].since is None)
    kept = {key: it for key, it in alarms.items() if it.since is not None or it.drifting}
    windows = (*state.windows, window)[-KEPT_WINDOWS:]
    return Followed(DriftState(began=window.ended, windows=windows, alarms=kept), raised, cleared)


def _after(before: ColumnAlarm, column: ColumnDrift, window: WindowDrift, settings: DriftSettings) -> ColumnAlarm:
    drifting = before.drifting + 1 if column.drifts else 0
    quiet = 0 if column.drifts else before.quiet + 1
    since = before.since
    if since is None and drifting >= settings.raise_after:
        since = window.ended
    elif since is not None and quiet >= settings.clear_after:
        since = None
    return ColumnAlarm(drifting=drifting, quiet=quiet, since=since)

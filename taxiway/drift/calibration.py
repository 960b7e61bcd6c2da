"""How far windows lie from the reference when nothing is wrong: thresholds for columns whose rows depend on each other.

The weather of one week is not that of a year, so its columns lie far from a reference of months in every week. How far
is usual only windows of the reference's own time can tell.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from taxiway.drift.counts import of_numbers, of_profile, of_rows
from taxiway.drift.judgement import ColumnDrift, WindowDrift, judge
from taxiway.drift.settings import DriftSettings, DriftWindowSettings, EffectSettings, UsualDrift
from taxiway.profile import Profile
from taxiway.signature import Columns

DAY_S, WEEK_S = 86_400.0, 604_800.0
FEWEST = 8
"""Windows: of fewer the largest effect says little. A later one exceeds it in at most one of nine."""
_LARGEST = 0.999
_ALMOST = 0.1
_SOME = datetime(1970, 1, 1, tzinfo=UTC)


def usual(windows: Sequence[WindowDrift], effects: EffectSettings) -> dict[str, EffectSettings]:
    """By `GROUP/COLUMN`: the largest effect that any of some windows has had, and at least `effects`.

    If a later window is like these n, each effect of a column is larger than all of theirs with a probability of at
    most 1 / (n + 1), whatever the distribution (a conformal threshold: Vovk, Gammerman and Shafer 2005).

    Args:
        windows: of the same length as those that are to be judged, of a time in which nothing was wrong.
    """
    columns: dict[str, list[ColumnDrift]] = {}
    for window in windows:
        for it in window.columns:
            columns.setdefault(it.key, []).append(it)
    return {key: _largest(found, effects) for key, found in columns.items()}


def _largest(found: Sequence[ColumnDrift], effects: EffectSettings) -> EffectSettings:
    return EffectSettings(
        psi=_at_least(effects.psi, [(it.psi or 0.0) - (it.psi_by_chance or 0.0) for it in found], float("inf")),
        jensen_shannon=_at_least(effects.jensen_shannon, [it.jensen_shannon or 0.0 for it in found]),
        kolmogorov_smirnov=_at_least(effects.kolmogorov_smirnov, [it.kolmogorov_smirnov or 0.0 for it in found]),
        missing=_at_least(effects.missing, [abs(it.missing_difference or 0.0) for it in found]),
    )


def _at_least(least: float | None, values: Sequence[float], most: float = _LARGEST) -> float | None:
    """Just above the largest value: an effect that reaches it is larger than all of them."""
    return None if least is None else min(max(least, math.nextafter(max(values), math.inf)), most)


def usual_drift(
    reference: Profile,
    columns: Columns,
    outputs: Columns,
    moments: NDArray[np.datetime64],
    lengths_s: Sequence[float] = (DAY_S, WEEK_S),
    settings: DriftSettings = DriftSettings(),  # noqa: B008 - it can't be changed
) -> tuple[UsualDrift, ...]:
    """The usual drift of windows of each length; lengths of which there are fewer than `FEWEST` windows are left out.

    Args:
        columns, outputs: the rows that were learned from, and what the model answers to them.
        moments: of the rows, ascending.
        settings: `window.min_rows` and `effects` count.

    Raises:
        JobError: values are not of their column's type.
    """
    counts = of_profile(reference)
    found = []
    for length_s in lengths_s:
        judged = []
        for rows in _windows(moments, length_s, settings.window.min_rows):
            parts = [{name: values[rows] for name, values in side.items()} for side in (columns, outputs)]
            judged.append(judge(settings, counts, of_numbers(counts, of_rows(reference, *parts)), _SOME, _SOME))
        if len(judged) >= FEWEST:
            larger = {key: it for key, it in usual(judged, settings.effects).items() if it != settings.effects}
            found.append(UsualDrift(window_s=length_s, windows=len(judged), effects=larger))
    return tuple(found)


def _windows(moments: NDArray[np.datetime64], length_s: float, least: int) -> Iterator[slice]:
    """The rows of each whole window that has enough of them."""
    if not len(moments):
        return
    length = np.timedelta64(round(length_s * 1_000_000), "us")
    # The last row lies somewhat before the end of the last window.
    for number in range(int((moments[-1] - moments[0]) / length + _ALMOST)):
        first, last = np.searchsorted(moments, [moments[0] + number * length, moments[0] + (number + 1) * length])
        if last - first >= least:
            yield slice(int(first), int(last))


def usual_for(known: Sequence[UsualDrift], window: DriftWindowSettings) -> UsualDrift | None:
    """That of the longest windows which are no longer than those that are to be judged: shorter ones lie farther from
    the reference, so that longer ones stay below. None where none is, or windows end by rows alone."""
    fitting = [it for it in known if window.max_s is not None and it.window_s <= window.max_s]
    return max(fitting, key=lambda it: it.window_s, default=None)


def with_usual(settings: DriftSettings, found: UsualDrift | None) -> DriftSettings:
    """The settings with the thresholds that are usual, where the settings name none themselves."""
    if found is None or "effects" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"columns": {**found.effects, **settings.columns}})

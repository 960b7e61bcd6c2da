"""How far windows lie from the reference when nothing is wrong: thresholds for columns whose rows depend on each other.

The weather of one week is not that of a year, so its columns lie far from a reference of months in every week. How far
is usual only windows of the reference's own time can tell.
"""

import math
from collections.abc import Sequence

from taxiway.drift.judgement import ColumnDrift, WindowDrift
from taxiway.drift.settings import EffectSettings

_LARGEST = 0.999


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

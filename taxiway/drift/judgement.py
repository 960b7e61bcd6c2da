"""What is said of a window: which columns lie far from the reference, and by more than chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime

from taxiway.drift.counts import ColumnCounts, Counts
from taxiway.drift.distances import Distance, distance
from taxiway.drift.settings import DriftSettings, DriftWindowSettings, EffectSettings
from taxiway.drift.significance import chi_square_p, holm, kolmogorov_smirnov_p, missing_p
from taxiway.profile import Group
from taxiway.settings import Settings

Test = Literal["chi_square", "kolmogorov_smirnov", "missing"]


class ColumnDrift(Settings):
    """One column of a judged window.

    `p` is the smallest of its adjusted p-values. `because` names the tests that are significant while their effect
    is large enough: the column drifts when there is one. The distances are as in `taxiway.drift.distances.Distance`.
    """

    group: Group
    column: str
    p: float
    because: tuple[Test, ...] = ()
    psi: float | None = None
    psi_by_chance: float | None = None
    jensen_shannon: float | None = None
    kolmogorov_smirnov: float | None = None
    missing_difference: float | None = None

    @property
    def key(self) -> str:
        return f"{self.group}/{self.column}"

    @property
    def drifts(self) -> bool:
        return bool(self.because)

    @property
    def sentence(self) -> str:
        """`inputs/wind (PSI 0.31, KS 0.22)`."""
        told = [
            f"{name} {value:.2g}"
            for name, value, test in (
                ("PSI", self.psi, "chi_square"),
                ("KS", self.kolmogorov_smirnov, "kolmogorov_smirnov"),
                ("missing", self.missing_difference, "missing"),
            )
            if value is not None and test in self.because
        ]
        return f"{self.key} ({', '.join(told)})" if told else self.key


class WindowDrift(Settings):
    """A window that was judged."""

    began: AwareDatetime
    ended: AwareDatetime
    rows: int
    columns: tuple[ColumnDrift, ...]

    @property
    def drifting(self) -> tuple[ColumnDrift, ...]:
        return tuple(it for it in self.columns if it.drifts)


def is_over(window: DriftWindowSettings, rows: int, seconds: float) -> bool:
    """Whether a window that has lasted so long and holds so many rows is to be judged."""
    if rows < window.min_rows:
        return False
    return (window.rows is not None and rows >= window.rows) or (window.max_s is not None and seconds >= window.max_s)


@dataclass(frozen=True)
class _Tested:
    place: int
    test: Test
    p: float
    large: bool


def judge(settings: DriftSettings, reference: Counts, current: Counts, began: datetime, ended: datetime) -> WindowDrift:
    """Compares a window with the reference, column by column; both have the same columns and bins.

    Without drift the chance that any column of the window is called different is at most `alpha`: Holm's procedure
    over all tests of all columns, whatever depends on what. With many rows every difference is significant, so its
    size counts as well.
    """
    columns = [
        (before, after)
        for before, after in zip(reference, current, strict=True)
        if before.column not in settings.ignore
    ]
    found = [distance(*pair) for pair in columns]
    tests = [
        test
        for place, (pair, apart) in enumerate(zip(columns, found, strict=True))
        for test in _tests(place, *pair, apart, settings.columns.get(pair[0].key, settings.effects))
    ]
    adjusted = holm([test.p for test in tests])
    told = tuple(_told(place, it, tests, adjusted, settings.alpha) for place, it in enumerate(found))
    return WindowDrift(began=began, ended=ended, rows=max((it.rows for it in current), default=0), columns=told)


def _tests(
    place: int, reference: ColumnCounts, current: ColumnCounts, apart: Distance, effects: EffectSettings
) -> list[_Tested]:
    large = _reaches(apart.missing_difference, effects.missing)
    p = missing_p((reference.rows, reference.missing), (current.rows, current.missing))
    tests = [_Tested(place, "missing", p, large)]
    if apart.psi is not None:
        large = _reaches(apart.psi_above_chance, effects.psi) or _reaches(
            apart.jensen_shannon_above_chance, effects.jensen_shannon
        )
        tests.append(_Tested(place, "chi_square", chi_square_p(reference.bins, current.bins, reference.numeric), large))
    if apart.kolmogorov_smirnov is not None:
        large = _reaches(apart.kolmogorov_smirnov, effects.kolmogorov_smirnov)
        p = kolmogorov_smirnov_p(reference.bins, current.bins)
        tests.append(_Tested(place, "kolmogorov_smirnov", p, large))
    return tests


def _reaches(effect: float | None, least: float | None) -> bool:
    return effect is not None and least is not None and abs(effect) >= least


def _told(
    place: int, apart: Distance, tests: Sequence[_Tested], adjusted: Sequence[float], alpha: float
) -> ColumnDrift:
    own = [(test, p) for test, p in zip(tests, adjusted, strict=True) if test.place == place]
    return ColumnDrift(
        group=apart.group,
        column=apart.column,
        p=min(p for _, p in own),
        because=tuple(test.test for test, p in own if p <= alpha and test.large),
        psi=apart.psi,
        psi_by_chance=apart.psi_by_chance,
        jensen_shannon=apart.jensen_shannon,
        kolmogorov_smirnov=apart.kolmogorov_smirnov,
        missing_difference=apart.missing_difference,
    )

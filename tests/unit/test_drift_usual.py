"""What is usual: windows of the training data against the reference profile, and when it is used."""

import numpy as np
import pytest

from taxiway.drift.calibration import DAY_S, FEWEST, WEEK_S, usual_drift, usual_for, with_usual
from taxiway.drift.counts import of_numbers, of_profile, of_rows
from taxiway.drift.judgement import judge
from taxiway.drift.settings import DriftSettings, DriftWindowSettings, EffectSettings, UsualDrift
from taxiway.profile import Profile, profile
from taxiway.signature import Array, Column, Signature
from tests.unit.test_drift_watch import BEGAN

SIGNATURE = Signature(
    inputs=(Column(name="wind", dtype="float64"), Column(name="size", dtype="float64")),
    outputs=(Column(name="late", dtype="float64"),),
)
ROWS = 600
DAYS = 20


def day(weather: float, seed: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """All flights of a day have its weather; their size has none."""
    random = np.random.default_rng(seed)
    wind = random.normal(weather, 0.3, ROWS)
    return {"wind": wind, "size": random.normal(0, 1, ROWS)}, {"late": 1 / (1 + np.exp(-wind))}


def days(number: int, seed: int) -> tuple[dict[str, Array], dict[str, Array], Array]:
    weathers = np.random.default_rng(seed).uniform(-2, 2, number)
    each = [day(float(weather), seed * 1_000 + place) for place, weather in enumerate(weathers)]
    columns, outputs = (
        {name: np.concatenate([it[side][name] for it in each]) for name in each[0][side]} for side in (0, 1)
    )
    seconds = np.arange(number * ROWS) * (DAY_S / ROWS)
    return columns, outputs, np.datetime64("2026-01-01", "us") + (seconds * 1e6).astype("timedelta64[us]")


def reference() -> Profile:
    columns, outputs, _ = days(60, seed=1)
    return profile(columns, SIGNATURE, (), outputs)


def drifting(settings: DriftSettings, weather: float, seed: int, size: float = 0.0) -> set[str]:
    columns, outputs = day(weather, seed)
    columns["size"] = columns["size"] + size
    counts = of_profile(found := reference())
    return {
        it.key
        for it in judge(settings, counts, of_numbers(counts, of_rows(found, columns, outputs)), BEGAN, BEGAN).drifting
    }


@pytest.fixture(scope="module")
def daily() -> UsualDrift:
    (found,) = usual_drift(reference(), *days(DAYS, seed=2))
    return found


def test_a_day_of_weather_drifts_by_default_and_not_by_what_is_usual(daily: UsualDrift) -> None:
    assert (daily.window_s, daily.windows) == (DAY_S, DAYS)
    plain = DriftSettings()
    assert drifting(plain, 0.5, seed=77) == {"inputs/wind", "outputs/late"}
    assert drifting(with_usual(plain, daily), 0.5, seed=77) == set()


def test_what_is_unusual_drifts_all_the_same(daily: UsualDrift) -> None:
    settings = with_usual(DriftSettings(), daily)
    assert drifting(settings, 0.5, seed=78, size=1.0) == {"inputs/size"}
    assert "inputs/wind" in drifting(settings, 6.0, seed=79)


def test_only_columns_that_lay_far_are_named(daily: UsualDrift) -> None:
    assert set(daily.effects) == {"inputs/wind", "outputs/late"}
    assert daily.effects["inputs/wind"].psi is not None
    assert daily.effects["inputs/wind"].psi > 1


def test_of_few_windows_nothing_is_said() -> None:
    assert usual_drift(reference(), *days(FEWEST - 1, seed=3)) == ()
    assert usual_drift(reference(), {}, {}, np.empty(0, "datetime64[us]")) == ()


def test_windows_with_few_rows_do_not_count() -> None:
    settings = DriftSettings(window=DriftWindowSettings(min_rows=ROWS + 1))
    assert usual_drift(reference(), *days(DAYS, seed=2), settings=settings) == ()


def known(*lengths_s: float) -> list[UsualDrift]:
    return [UsualDrift(window_s=it, windows=8, effects={}) for it in lengths_s]


@pytest.mark.parametrize(
    ("max_s", "expected"), [(DAY_S, DAY_S), (3 * DAY_S, DAY_S), (WEEK_S, WEEK_S), (3_600.0, None), (None, None)]
)
def test_thresholds_are_those_of_the_longest_windows_that_are_not_longer(
    max_s: float | None, expected: float | None
) -> None:
    found = usual_for(known(DAY_S, WEEK_S), DriftWindowSettings(max_s=max_s, rows=1_000))
    assert (None if found is None else found.window_s) == expected


def test_what_the_settings_name_comes_first(daily: UsualDrift) -> None:
    own = EffectSettings(psi=0.7)
    found = with_usual(DriftSettings(columns={"inputs/wind": own}), daily)
    assert found.columns == {"inputs/wind": own, "outputs/late": daily.effects["outputs/late"]}
    explicit = DriftSettings(effects=EffectSettings())
    assert with_usual(explicit, daily) is explicit
    assert with_usual(explicit, None) is explicit

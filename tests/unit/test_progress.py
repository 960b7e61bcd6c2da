"""What a status says of rollouts and drift, and what is measured of features and models."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from serve.endpoint import Endpoint
from serve.measured import timed_reads
from serve.progress import Told, drift_line, progress_of
from serve.settings import EndpointSettings
from taxiway.drift.judgement import ColumnDrift, WindowDrift
from taxiway.drift.progress import ColumnAlarm, DriftState, VariantDrift
from taxiway.drift.settings import DriftSettings
from taxiway.errors import FeatureStoreFailed, RegistryAway, Unavailable
from taxiway.feature_binding import FeatureViewBinding
from taxiway.rollout.plan import RolloutSettings
from taxiway.signature import Array

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WIND = ColumnDrift(group="inputs", column="wind", p=0.001, because=("chi_square",), psi=0.4)
CALM = ColumnDrift(group="inputs", column="rain", p=0.9)
WINDOW = WindowDrift(began=NOON, ended=NOON, rows=1_500, columns=(WIND, CALM))


def drift(*windows: WindowDrift, raised: tuple[str, ...] = ()) -> VariantDrift:
    alarms = {key: ColumnAlarm(drifting=3, since=NOON) for key in raised}
    state = DriftState(began=NOON, windows=windows, alarms=alarms)
    return VariantDrift(variant="champion", version="3", rows=1_234, state=state)


def test_drift_is_told_in_a_line() -> None:
    drifted = "1 of 2 columns drifted in the last window of 1,500 rows"
    assert drift_line(drift()) == "champion, version 3: no window was judged yet, 1,234 rows in the open one"
    assert drift_line(drift(WINDOW)) == f"champion, version 3: no alarm; {drifted}"
    assert (
        drift_line(drift(WINDOW, raised=("inputs/wind",))) == f"champion, version 3: alarm for inputs/wind; {drifted}"
    )
    assert "alarm for a, b, c and 2 more;" in drift_line(drift(WINDOW, raised=("a", "b", "c", "d", "e")))


def endpoint(name: str, **settings: Any) -> Endpoint:
    variants = [{"name": it, "model": f"models:/parcel@{it}"} for it in ("champion", "challenger")]
    return Endpoint(EndpointSettings.model_validate({"name": name, "variants": variants, **settings}), 1.0)


def test_who_has_nothing_to_tell_is_not_asked_and_who_does_not_answer_is_unknown() -> None:
    def away(_: str) -> Any:
        raise RegistryAway("the registry does not answer")

    def silent(_: str) -> list[VariantDrift]:
        raise Unavailable("the controller does not answer")

    endpoints = [endpoint("plain"), endpoint("both", rollout=RolloutSettings(), drift=DriftSettings())]
    ask = progress_of(cast("Any", SimpleNamespace(live=away)), "parcels", endpoints, silent)
    unknown = ("unknown: the registry does not answer",), ("unknown: the controller does not answer",)
    assert ask() == {"both": Told(*unknown)}


VIEW = FeatureViewBinding(name="airports", entity_keys=("airport",), columns=("wind", "rain"), on_missing="null")


def test_rows_of_which_the_store_knows_nothing_are_counted_by_view() -> None:
    phases, unknown = list[str](), list[tuple[str, int]]()
    found = {"wind": np.array([np.nan, 1.0, np.nan]), "rain": np.array([np.nan, np.nan, 2.0])}

    def tell(phase: str, seconds: float) -> None:
        assert seconds >= 0
        phases.append(phase)

    read = timed_reads(lambda *_: found, tell, lambda *it: unknown.append(it))
    assert read([VIEW], {}) is found
    assert (phases, unknown) == (["features"], [("airports", 1)])


def test_a_store_that_fails_is_timed_too() -> None:
    phases: list[str] = []

    def fail(*_: object) -> dict[str, Array]:
        raise FeatureStoreFailed("the store is away")

    with pytest.raises(FeatureStoreFailed):
        timed_reads(fail, lambda phase, _: phases.append(phase), lambda *_: None)([VIEW], {})
    assert phases == ["features"]

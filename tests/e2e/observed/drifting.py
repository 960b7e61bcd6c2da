"""Rows of `box`: two windows like the reference, then two that are not, each in halves for both replicas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from serve.settings import EndpointSettings
from taxiway.drift.counts import of_numbers, of_profile, of_rows
from taxiway.drift.judgement import WindowDrift, judge
from taxiway.drift.progress import DriftState
from taxiway.registry import Registry
from taxiway.rollout.tally import added
from taxiway.signature import Columns
from tests.integration.test_ingress import question
from tests.integration.test_variants import eventually
from tests.observed_application import DRIFT, NAME, Observed
from tests.observed_models import BOX, like_the_reference, shifted
from tests.serving_cluster import Replica, connected
from tests.tiny_model import registry_settings

MAKERS = (like_the_reference, like_the_reference, shifted, shifted)
_WITHIN_S = 60.0


@dataclass(frozen=True)
class Window:
    """One that was judged, and what was to be seen right after it.

    Attributes:
        expected: all rows of both replicas judged by the same functions, here.
        scraped: PSI by column, as Prometheus has it; not of those that have none.
        alarms: by column, likewise.
        raised: the keys with an alarm, as an administrator is told.
        waiting: alarms that wait for a retraining.
    """

    judged: WindowDrift
    expected: WindowDrift
    scraped: dict[str, float]
    alarms: dict[str, float]
    raised: frozenset[str]
    waiting: int


@dataclass(frozen=True)
class Drifted:
    windows: Sequence[Window]
    replicas: int

    @property
    def before(self) -> Sequence[Window]:
        return self.windows[:2]

    @property
    def after(self) -> Sequence[Window]:
        return self.windows[2:]


def drift_away(observed: Observed) -> Drifted:
    """Asks both replicas for the rows of each window, and waits until it is judged and scraped."""
    processes = observed.cluster.processes(f"{NAME}:ingress")
    eventually(lambda: [it["rows"] for it in told(observed)] == [0], _WITHIN_S)
    windows = []
    with connected(observed.url, processes) as replicas:
        for number, rows in enumerate(MAKERS):
            windows.append(_window(observed, replicas, number, rows))
    return Drifted(windows, len(processes))


def told(observed: Observed) -> Any:
    return observed.admin(f"endpoints/{BOX}/drift")


def _window(observed: Observed, replicas: Sequence[Replica], number: int, rows: Callable[[int], Columns]) -> Window:
    halves = [rows(10 * number + position) for position in range(len(replicas))]
    for replica, half in zip(replicas, halves, strict=True):
        _ask(replica.client, half)
    eventually(lambda: len(_state(observed).windows) == number + 1, _WITHIN_S)
    state = _state(observed)
    distances = {it.column: it.psi for it in state.windows[-1].columns if it.psi is not None}
    psi = f'ray_taxiway_drift_distance{{endpoint="{BOX}", statistic="psi"}}'
    eventually(lambda: _by_column(observed, psi) == pytest.approx(distances), _WITHIN_S)
    return Window(
        state.windows[-1],
        _expected(observed, halves),
        _by_column(observed, psi),
        _by_column(observed, f'ray_taxiway_drift_alarm{{endpoint="{BOX}"}}'),
        frozenset(state.raised),
        len(list((observed.folder / "retrain" / BOX / "alarms").glob("*"))),
    )


def _state(observed: Observed) -> DriftState:
    (variant,) = told(observed)
    return DriftState.model_validate(variant["state"])


def _ask(client: httpx.Client, columns: Columns) -> None:
    client.post(f"/v2/models/{BOX}/infer", json=question(dict(columns))).raise_for_status()


def _by_column(observed: Observed, expression: str) -> dict[str, float]:
    return {it["metric"]["column"]: float(it["value"][1]) for it in observed.prometheus.query(expression)}


def _expected(observed: Observed, halves: Sequence[Columns]) -> WindowDrift:
    registry = Registry(registry_settings(observed.folder))
    predictor = registry.load(registry.resolve(f"models:/{BOX}/1")).predictor
    numbers: dict[str, float] = {}
    for half in halves:
        numbers = added(numbers, of_rows(observed.reference, half, predictor.predict(half)))
    settings = EndpointSettings.model_validate({"name": BOX, "model": f"models:/{BOX}/1", "drift": DRIFT}).drift
    assert settings is not None
    reference, now = of_profile(observed.reference), datetime.now(UTC)
    return judge(settings, reference, of_numbers(reference, numbers), now, now)

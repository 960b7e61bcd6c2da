"""Drift of an endpoint on two replicas of a real Ray: merged counts, an alarm, and who hears of it."""

import json

import httpx
import pytest

from taxiway.drift.judgement import ColumnDrift
from tests.e2e.observed.drifting import Drifted
from tests.integration.test_variants import eventually
from tests.observed_application import Observed
from tests.observed_models import BOX
from tests.prometheus import needs_prometheus

pytestmark = [pytest.mark.timeout(600), needs_prometheus]

AWAY = {"size", "weight", "probability"}
"""The answer goes with what it was asked."""


def figures(column: ColumnDrift) -> dict[str, float]:
    """Those that it has."""
    names = ("psi", "jensen_shannon", "kolmogorov_smirnov", "missing_difference")
    return {name: value for name in names if (value := getattr(column, name)) is not None}


def test_a_window_holds_the_rows_of_both_replicas_and_has_the_scores_of_all_of_them(drifted: Drifted) -> None:
    assert drifted.replicas == 2
    for window in drifted.windows:
        assert window.judged.rows == window.expected.rows == 500
        judged, expected = ({it.key: it for it in one.columns} for one in (window.judged, window.expected))
        assert set(judged) == set(expected)
        for key, column in judged.items():
            assert column.because == expected[key].because
            assert figures(column) == pytest.approx(figures(expected[key]), rel=1e-9)


def test_prometheus_scrapes_the_scores_of_all_rows(drifted: Drifted) -> None:
    for window in drifted.windows:
        expected = {it.column: it.psi for it in window.expected.columns if it.psi is not None}
        assert window.scraped == pytest.approx(expected, rel=1e-6)
    assert set(drifted.before[0].scraped) - set(drifted.after[0].scraped) == {"weight"}


def test_before_the_shift_there_is_no_alarm_and_after_it_one_for_what_has_shifted(drifted: Drifted) -> None:
    for window in drifted.before:
        assert window.judged.drifting == ()
    first, second = drifted.after
    assert {it.column for it in first.judged.drifting} == {it.column for it in second.judged.drifting} == AWAY
    for window in (*drifted.before, first):
        assert (set(window.alarms.values()), window.raised, window.waiting) == ({0.0}, frozenset(), 0)
    assert second.raised == {"inputs/size", "inputs/weight", "outputs/probability"}
    assert {column for column, value in second.alarms.items() if value == 1} == AWAY
    assert second.waiting == 1


def test_the_alarm_is_an_event_in_the_log_an_alert_and_stands_on_the_status_page(
    observed: Observed, drifted: Drifted
) -> None:
    def events() -> list[dict[str, object]]:
        found = [line["message"] for line in observed.lines("rollouts") if line["log.logger"] == "taxiway.drift"]
        return [json.loads(it) for it in found]

    eventually(lambda: len(events()) == 1, 30)
    (event,) = events()
    assert (event["event"], event["endpoint"], event["rows"]) == ("drift.raised", BOX, 500)
    assert set(event["columns"]) == drifted.after[1].raised  # type: ignore[call-overload]
    alert = f'ALERTS{{alertname=~".*FeatureDrift", alertstate="firing", endpoint="{BOX}"}}'
    eventually(lambda: {it["metric"]["column"] for it in observed.prometheus.query(alert)} == AWAY, 30)

    def drift_line() -> str:
        status = httpx.get(f"{observed.url}/status.json", timeout=30).raise_for_status().json()
        (line,) = next(it["drift"] for it in status["endpoints"] if it["name"] == BOX)
        return str(line)

    eventually(lambda: "alarm for inputs/size, inputs/weight, outputs/probability" in drift_line(), 30)
    assert "3 of 6 columns drifted in the last window of 500 rows" in drift_line()
    assert drift_line() in httpx.get(f"{observed.url}/status", timeout=30).text

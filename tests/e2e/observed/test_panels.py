"""A real Prometheus scrapes a running Ray that serves and works: every panel shows something."""

import time

import pytest

from cluster.observability.generate import dashboards
from cluster.observability.grafana import Needs, Panel
from tests.e2e.observed.conftest import Jobs
from tests.observed_application import Observed
from tests.prometheus import Prometheus, needs_prometheus
from tests.unit.test_dashboards import substituted

pytestmark = [pytest.mark.timeout(600), needs_prometheus]

NOT_HERE: dict[Needs, str] = {"gpu": "no GPU is here; that its metric is one of Ray's, a unit test says"}
"""What needs something that does not run here, and why it does not."""
ENDED: frozenset[Needs] = frozenset({"job"})
"""The series of what has ended have ended too; a panel with an axis of time shows them still."""


def shown(found: Prometheus, panel: Panel, expression: str) -> bool:
    """What Grafana would get."""
    lately = panel.kind == "timeseries" and panel.needs in ENDED
    return bool(found.query_lately(expression) if lately else found.query(expression))


Queries = dict[tuple[str, str], Panel]


def queries() -> Queries:
    """Of the panels that should show something: where they stand, and their expressions."""
    return {
        (f"{board.title}, {panel.title}", query.expression): panel
        for board in dashboards()
        for panel in board.panels()
        if panel.needs not in NOT_HERE
        for query in panel.queries
    }


def without_data(found: Prometheus, asked: Queries) -> Queries:
    return {key: panel for key, panel in asked.items() if not shown(found, panel, substituted(key[1]))}


def test_every_panel_shows_something(observed: Observed, jobs: Jobs) -> None:
    missing, deadline = queries(), time.monotonic() + 60
    while missing := without_data(observed.prometheus, missing):
        assert time.monotonic() < deadline, "\n".join(": ".join(key) for key in missing)
        time.sleep(1)


def test_what_a_job_has_pushed_is_scraped_with_the_labels_of_its_group(observed: Observed, jobs: Jobs) -> None:
    (last,) = observed.prometheus.query('taxiway_job_last_run_rows{outcome="written"}')
    assert (last["metric"]["job"], last["value"][1]) == ("taxiway_batch", "1999")
    assert last["metric"]["output"] == str(observed.folder / "scores")
    (retrained,) = observed.prometheus.query("taxiway_retraining_last_run_exit_status")
    assert (retrained["metric"]["model"], retrained["value"][1]) == ("box", "0")


def test_the_panels_without_data_are_the_ones_with_a_reason(observed: Observed, jobs: Jobs) -> None:
    panels = [panel for board in dashboards() for panel in board.panels() if panel.needs in NOT_HERE]
    assert [panel.title for panel in panels] == ["GPU"]

"""What the figures of benchmarks/recording rest upon: the cells, ratios by round, and the account of rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.recording import report
from benchmarks.recording.cells import CELLS, LOG, OBSERVED, PLAIN, deployment
from benchmarks.recording.figures import Spread, more, ratio
from benchmarks.recording.measure import Figures, Rows, in_turn, logged, rows_of
from benchmarks.recording.report import CONNECTIONS, Results
from benchmarks.serving.model import Material
from serve.settings import LiveSettings, ServeSettings
from taxiway.settings import RegistrySettings

SHADOW = next(cell for cell in CELLS if cell.shadow == "inline")
PAGE = """
# TYPE ray_taxiway_requests_total counter
ray_taxiway_requests_total{Component="core_worker",code="ok",endpoint="shadow",variant="champion"} 70.0
ray_taxiway_requests_total{Component="core_worker",code="ok",endpoint="log",variant="champion"} 5.0
ray_taxiway_requests_total{Component="core_worker",code="overloaded",endpoint="shadow",variant="champion"} 2.0
ray_taxiway_shadow_requests_total{endpoint="shadow",outcome="compared",variant="copy"} 6.0e+01
ray_taxiway_shadow_requests_total{endpoint="shadow",outcome="dropped",variant="copy"} 10.0
ray_taxiway_shadow_requests_total{endpoint="dedicated",outcome="compared",variant="copy"} 9.0
"""


def figures(cell: str, number: int, rate: float, p50_ms: float = 1.0, connections: int = 32) -> Figures:
    return Figures(cell, connections, number, rate, p50_ms, 9.0, 1_000 / rate, 0.0, 0, 0.5)


def results(found: Sequence[Figures], *rows: Rows) -> Results:
    by_key = {cell.key: Rows(cell.key, 0, 0, {}, 0) for cell in CELLS} | {it.cell: it for it in rows}
    return Results(found, list(by_key.values()), dict.fromkeys(by_key, 0.01), 1.0, 1, 60.0)


def test_a_ratio_is_to_the_plain_cell_of_the_same_round() -> None:
    slow_machine = figures(PLAIN.key, 0, 100.0, 4.0), figures(LOG.key, 0, 90.0, 4.1)
    fast_machine = figures(PLAIN.key, 1, 200.0, 2.0), figures(LOG.key, 1, 160.0, 2.3)
    found = [*slow_machine, *fast_machine]
    kept = ratio(found, LOG.key, 32, lambda it: it.requests_per_s)
    assert [kept.median, kept.lowest, kept.highest] == pytest.approx([0.85, 0.8, 0.9])
    added = more(found, LOG.key, 32, lambda it: it.p50_ms)
    assert [added.lowest, added.highest] == pytest.approx([0.1, 0.3])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_the_median_lies_within_the_spread(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.lowest <= spread.median <= spread.highest
    assert np.isclose(spread.median, np.median(values))


@given(st.integers(0, 50))
def test_every_round_loads_every_cell_once(number: int) -> None:
    assert sorted(cell.key for cell in in_turn(CELLS, number)) == sorted(cell.key for cell in CELLS)


def test_over_the_rounds_every_cell_comes_first_and_has_several_before_it() -> None:
    rounds = [in_turn(CELLS, number) for number in range(2 * len(CELLS))]
    assert {order[0] for order in rounds} == set(CELLS)
    before = {order[order.index(LOG) - 1] for order in rounds if order[0] != LOG}
    assert len(before) > 1


def test_rows_are_those_of_the_cells_own_endpoint_and_only_answers() -> None:
    found = rows_of(SHADOW, PAGE, {"live": 70, "shadow": 60})
    assert found == Rows("shadow", 70, 70, {"compared": 60, "dropped": 10}, 60)
    assert found.lost == 0


@pytest.mark.parametrize(
    ("kinds", "lost"), [({"live": 68, "shadow": 60}, 2), ({"live": 71, "shadow": 57}, 4), ({}, 130)]
)
def test_rows_that_are_missing_in_the_log_or_stand_there_twice_are_lost(kinds: dict[str, int], lost: int) -> None:
    assert rows_of(SHADOW, PAGE, kinds).lost == lost


def test_the_rows_of_the_log_are_counted_in_all_its_files(tmp_path: Path) -> None:
    for number, kinds in enumerate((["live", "shadow", "live"], ["live"])):
        folder = tmp_path / "endpoint=log" / "date=2026-01-01" / f"hour=0{number}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"kind": kinds, "row": [0] * len(kinds)}), folder / "some.parquet")
    assert logged(tmp_path, "log") == {"live": 3, "shadow": 1}
    assert logged(tmp_path, "nobody") == {}


def test_cells_are_applications_that_serve_accepts(tmp_path: Path) -> None:
    registry = RegistrySettings(tracking_uri="sqlite:///x.db", artifact_location="x")
    material = Material(tmp_path, tmp_path, registry, np.zeros((1, 1)), np.zeros(1))
    ports = {cell.key: 9_000 + place for place, cell in enumerate(CELLS)}
    for cell, application in zip(CELLS, deployment(material, ports, tmp_path)["applications"], strict=True):
        settings = ServeSettings.model_validate(application["args"])
        live = LiveSettings.model_validate(application["deployments"][0]["user_config"])
        live.check(settings)
        (endpoint,) = settings.endpoints
        assert (settings.predictions is not None) == cell.logs
        assert (endpoint.rollout is not None) == cell.observes
        placements = [it.placement for it in endpoint.variants if live.traffic[cell.key].shadows.get(it.name) == 100]
        assert placements == ([] if cell.shadow is None else [cell.shadow])


def aims(page: str) -> dict[str, list[str]]:
    """What was measured, and whether the aim was kept, by what was compared."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if " | at " in line]
    return {what: told for what, _, *told in lines}


def test_the_page_says_which_aims_are_kept() -> None:
    every = [
        figures(cell.key, 0, 80.0 if cell == OBSERVED else 100.0, 1.6 if cell == LOG else 1.2, connections)
        for cell in CELLS
        for connections in CONNECTIONS
    ]
    found = aims(report.write(results(every)))
    assert found[f"{OBSERVED.title}: requests/s of the plain cell's, 32 connections"] == ["80% (80% to 80%)", "missed"]
    assert found[f"{LOG.title}: requests/s of the plain cell's, 128 connections"] == ["100% (100% to 100%)", "kept"]
    assert found[f"{LOG.title}: p50 less the plain cell's, 1 connection"] == ["+0.40 (+0.40 to +0.40) ms", "missed"]
    assert found[f"{OBSERVED.title}: p50 less the plain cell's, 1 connection"] == ["+0.00 (+0.00 to +0.00) ms", "kept"]


def test_rows_of_the_plain_cell_are_not_missed() -> None:
    every = [figures(cell.key, 0, 100.0, connections=connections) for cell in CELLS for connections in CONNECTIONS]
    found = results(every, Rows(PLAIN.key, 50, 0, {}, 0), Rows(LOG.key, 50, 47, {}, 0))
    assert found.lost == 3
    assert "| prediction log | 50 | 47 | 3 |" in report.write(found)

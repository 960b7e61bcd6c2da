"""The dashboards: generated, complete, and about metrics that exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import yaml

from cluster.observability.declared import RAY, unknown, used
from cluster.observability.generate import HERE, dashboards, files
from cluster.observability.grafana import Dashboard, Panel, Query, Row, dashboard_json
from cluster.observability.promql import failure_codes
from tests.prometheus import needs_promtool, promtool

ROOT = HERE.parents[1]
_VALUES = {"$__rate_interval": "1m", "$endpoint": ".+", "$cpu_price": "0.05", "$gpu_price": "2"}


def expressions() -> Iterator[str]:
    for board in dashboards():
        for panel in board.panels():
            for query in panel.queries:
                yield substituted(query.expression)


def substituted(expression: str) -> str:
    """As Grafana sends it."""
    for name, value in _VALUES.items():
        expression = expression.replace(name, value)
    return expression


def test_the_files_are_what_the_code_says() -> None:
    for name, text in files().items():
        assert (HERE / name).read_text() == text, f"{name}: run `python -m cluster.observability`"


def test_every_metric_of_a_dashboard_or_rule_is_declared() -> None:
    assert unknown(expressions()) == set()
    groups = yaml.safe_load(files()["prometheus/rules.yaml"])["groups"]
    assert unknown(rule["expr"] for group in groups for rule in group["rules"]) == set()


def test_a_metric_that_nobody_declares_is_found() -> None:
    assert unknown(["sum by (up) (rate(ray_taxiway_requests_total[1m]))"]) == set()
    assert unknown(["ray_taxiway_request_total / ray_taxiway_batch_rows_sum"]) == {"ray_taxiway_request_total"}
    assert unknown(["ray_serve_something{up='1'}"]) == {"ray_serve_something"}
    assert used('x{a="ray_taxiway_b"} + on (ray_c) ray_d') == {"ray_d"}


def test_every_metric_of_ray_stands_in_rays_source() -> None:
    root = Path(ray.__file__).parent
    places = [root / "dashboard/modules/reporter/reporter_agent.py", *(root / "serve/_private").glob("*.py")]
    places += [root / "dashboard/modules/metrics/dashboards/default_dashboard_panels.py"]
    source = "\n".join(path.read_text() for path in places)
    assert [name for name in sorted(RAY) if not re.search(rf'["_(]{name}["{{]', source)] == []


@needs_promtool
def test_every_expression_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions())]
    path = tmp_path / "expressions.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rules) > 40


def test_every_variable_of_an_expression_is_one_of_its_dashboard() -> None:
    for board in dashboards():
        known = {"datasource", "__all", "__rate_interval", *(it.name for it in board.variables)}
        text = json.dumps(dashboard_json(board))
        assert {name.strip("{}") for name in re.findall(r"\$(\{?\w+\}?)", text)} <= known, board.title


def test_panels_lie_beside_and_below_each_other_and_never_on_each_other() -> None:
    for board in dashboards():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard_json(board)["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken, (board.title, panel["title"])
            assert max(x for x, _ in cells) < 24
            taken |= cells


def test_panels_that_do_not_fit_into_a_line_go_into_the_next() -> None:
    panels = [Panel(name, [Query("up")], width=10, height=height) for name, height in (("a", 3), ("b", 5), ("c", 3))]
    placed = dashboard_json(Dashboard("u", "t", [Row("r", panels)]))["panels"]
    assert [(it["gridPos"]["x"], it["gridPos"]["y"]) for it in placed] == [(0, 0), (0, 1), (10, 1), (0, 6)]


def test_the_config_maps_hold_the_dashboards_and_are_small_enough() -> None:
    maps = list(yaml.safe_load_all(files()["kubernetes/dashboards.yaml"]))
    held = {name: text for it in maps for name, text in it["data"].items()}
    assert held == {f"{board.uid}.json": files()[f"grafana/dashboards/{board.uid}.json"] for board in dashboards()}
    assert all(len(text) < 1 << 20 for text in held.values())
    assert all(it["metadata"]["labels"] == {"grafana_dashboard": "1"} for it in maps)


def test_only_errors_of_our_own_are_failures() -> None:
    assert {"internal", "overloaded", "deadline_exceeded", "model_failed"} <= set(failure_codes())
    assert not {"bad_request", "not_found", "payload_too_large", "ok"} & set(failure_codes())


@pytest.mark.parametrize("board", dashboards(), ids=lambda board: board.uid)
def test_the_guide_names_every_dashboard(board: Dashboard) -> None:
    assert f"`{board.uid}`" in (ROOT / "docs/dashboards.md").read_text()


def test_kibanas_objects_refer_to_each_other() -> None:
    objects = [json.loads(line) for line in files()["elastic/kibana.ndjson"].splitlines()]
    known = {(it["type"], it["id"]) for it in objects}
    assert len(known) == len(objects)
    assert all((ref["type"], ref["id"]) in known for it in objects for ref in it["references"])
    fields = json.loads((HERE / "elastic/index_template.json").read_text())["template"]["mappings"]["properties"]
    for it in objects:
        if it["type"] == "visualization":
            state = json.loads(it["attributes"]["visState"])
            assert {agg["params"]["field"] for agg in state["aggs"] if "field" in agg["params"]} <= set(fields)


def test_a_day_of_predictions_is_as_old_as_its_name_says() -> None:
    settings = json.loads((HERE / "elastic/index_template.json").read_text())["template"]["settings"]
    assert settings["index.lifecycle.parse_origination_date"] is True
    assert "rollover" not in (HERE / "elastic/ilm.json").read_text()

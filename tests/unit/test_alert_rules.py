"""The alerts: promtool runs their own tests; each has a runbook, each runbook an alert."""

from pathlib import Path

import pytest
import yaml

from cluster.observability.alerts import rules, runbook
from cluster.observability.generate import HERE
from cluster.observability.slo import BURNS, PERIOD_DAYS, SECONDS, Objective, Objectives
from taxiway.errors import ConfigError
from taxiway.settings import load
from tests.prometheus import needs_promtool, promtool

RUNBOOKS = HERE.parents[1] / "docs" / "runbooks"


@needs_promtool
def test_the_rules_do_what_their_tests_say() -> None:
    done = promtool("test", "rules", str(HERE / "prometheus/rules_test.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_settings_of_prometheus_are_right() -> None:
    done = promtool("check", "config", str(HERE / "prometheus/prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_an_endpoint_may_have_objectives_of_its_own(tmp_path: Path) -> None:
    tight = Objective(availability=0.99, latency_ms=50, latency_share=0.9)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules(Objectives(endpoints={"a.b": tight}))))
    counted = "ray_taxiway_requests_total{endpoint="
    series = [
        {"series": f'{counted}"{name}", code="{code}"}}', "values": f"0+{step}x120"}
        for name in ("a.b", "axb")
        for code, step in (("ok", 5880), ("internal", 120))
    ]
    expected = [{"labels": '{endpoint="axb", severity="page"}', "value": 1}]
    expected += [{"labels": f'{{endpoint="{name}", severity="ticket"}}', "value": 1} for name in ("a.b", "axb")]
    asked = 'count by (endpoint, severity) (ALERTS{alertstate="firing"})'
    test = {"interval": "1m", "input_series": series}
    test["promql_expr_test"] = [{"expr": asked, "eval_time": "1h", "exp_samples": expected}]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    done = promtool("test", "rules", str(tmp_path / "test.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_promise_that_leaves_no_budget_is_refused(tmp_path: Path) -> None:
    (tmp_path / "objectives.yaml").write_text("default: {availability: 1}")
    with pytest.raises(ConfigError, match=r"default\.availability"):
        load(tmp_path / "objectives.yaml", Objectives)


def test_alerts_fire_when_two_five_and_ten_percent_of_the_budget_are_gone() -> None:
    gone = [burn.rate * SECONDS[burn.long] / (PERIOD_DAYS * 86_400) for burn in BURNS]
    assert gone == pytest.approx([0.02, 0.05, 0.1, 0.1])
    assert {SECONDS[burn.long] / SECONDS[burn.short] for burn in BURNS} == {12}


def alerts() -> list[str]:
    return [rule["alert"] for group in rules(Objectives())["groups"] for rule in group["rules"] if "alert" in rule]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {runbook(name) for name in alerts()} == {path.name for path in RUNBOOKS.glob("*.md")}


def test_every_runbook_says_what_it_means_and_what_to_do() -> None:
    for path in RUNBOOKS.glob("*.md"):
        text = path.read_text()
        named = text.splitlines()[0].removeprefix("# ").split(", ")
        assert {runbook(name) for name in named} == {path.name}
        assert "**It means**" in text
        assert "**Do**" in text or "**Look and do**" in text, path.name


def test_every_alert_of_the_rules_has_a_test() -> None:
    text = (HERE / "prometheus/rules_test.yaml").read_text()
    assert [name for name in alerts() if f'"{name}"' not in text] == []

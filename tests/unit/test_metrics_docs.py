"""docs/metrics.md has every metric, and each is named as the conventions say."""

from pathlib import Path

import pytest
import yaml

from serve.settings import ServeSettings
from taxiway.telemetry import table
from taxiway.telemetry.table import Declared, exported, in_sources, tables, written

ROOT = Path(__file__).parents[2]
SOURCES, DOCS = Path(table.__file__).parent, ROOT / "docs"
TEXT = (DOCS / "metrics.md").read_text()
EVERY = [it for several in exported().values() for it in several]
LABELS = {
    *("endpoint", "variant", "version", "model", "code", "outcome", "phase", "protocol", "kind", "reason"),
    *("node", "output", "column", "view", "group", "statistic"),
}


def test_the_tables_are_those_of_the_sources() -> None:
    assert written(TEXT, SOURCES) == TEXT, "run: python -m taxiway.telemetry.table docs/metrics.md"


def test_no_metric_is_declared_beside_the_tables() -> None:
    names, told = {it.name for it in in_sources(SOURCES)}, tables(SOURCES)
    assert names
    assert all(f"| `{name}` |" in told for name in names)
    for folder in ("serve", "batch", "retrain"):
        assert not in_sources(ROOT / folder)
    assert {it.name for it in in_sources(ROOT / "taxiway")} == names


@pytest.mark.parametrize("it", EVERY, ids=lambda it: it.name)
def test_a_metric_keeps_the_conventions(it: Declared) -> None:
    assert it.name.startswith("taxiway_")
    assert it.name.endswith("_total") == (it.kind == "counter")
    assert set(it.labels) <= LABELS
    assert it.description.endswith(".")


def test_the_examples_are_keys_of_a_serve_file() -> None:
    blocks = [
        it.partition("```")[0]
        for name in ("metrics", "health")
        for it in (DOCS / f"{name}.md").read_text().split("```yaml\n")[1:]
    ]
    (cost,) = (yaml.safe_load(it)["args"] for it in blocks if it.startswith("args:"))
    (endpoints,) = (yaml.safe_load(it) for it in blocks if it.startswith("endpoints:"))
    found = ServeSettings(**endpoints, **cost)
    assert found.cost.gpu_second > found.cost.cpu_second > 0
    assert found.endpoints[0].slo is not None

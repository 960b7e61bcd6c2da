"""Grafana's dashboards as values, and the JSON that Grafana reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "table", "heatmap"]
Needs = Literal[
    "", "rollout", "experiment", "job", "retraining", "features", "shadow", "gpu", "drift", "cost", "missing"
]
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA = 39
_COLUMNS = 24


@dataclass(frozen=True)
class Query:
    """A PromQL expression and what the legend says of each series."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture.

    Args:
        unit: Grafana's: `reqps`, `s`, `percentunit`, `short`, `bytes`, ….
        needs: what has to run so that there are series at all; empty: requests.
        width: of 24 columns.
        mappings: words for values.
    """

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Kind = "timeseries"
    needs: Needs = ""
    width: int = 8
    height: int = 7
    description: str = ""
    mappings: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice at the top: the values of a label of a metric, or a number to type in."""

    name: str
    label: str
    metric: str = ""
    value: str = ""


@dataclass(frozen=True)
class Dashboard:
    """`uid` is part of its address and of the name of its file."""

    uid: str
    title: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = field(default_factory=tuple)

    def panels(self) -> Iterator[Panel]:
        for row in self.rows:
            yield from row.panels


def dashboard_json(board: Dashboard) -> dict[str, Any]:
    """As `grafana` imports and provisions it."""
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["taxiway"],
        "schemaVersion": _SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source_choice(), *(_variable(it) for it in board.variables)]},
        "links": [
            {"type": "dashboards", "tags": ["taxiway"], "title": "Taxiway", "asDropdown": True, "keepTime": True}
        ],
        "panels": list(_panels(board)),
    }


def _panels(board: Dashboard) -> Iterator[dict[str, Any]]:
    number = y = 0
    for row in board.rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": _place(0, y, _COLUMNS, 1),
        }
        x, y, tallest = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            yield _panel(panel, number) | {"gridPos": _place(x, y, panel.width, panel.height)}
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def _place(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0} if panel.unit != "none" else {"unit": "short"}
    if panel.mappings:
        options = {str(value): {"text": text, "index": value} for value, text in enumerate(panel.mappings)}
        defaults["mappings"] = [{"type": "value", "options": options}]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "targets": [
            _target(query, letter, panel.kind) for query, letter in zip(panel.queries, "ABCDEFGH", strict=False)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _target(query: Query, letter: str, kind: Kind) -> dict[str, Any]:
    instant = kind in ("stat", "table")
    form = {"heatmap": "heatmap", "table": "table"}.get(kind, "time_series")
    return {
        "refId": letter,
        "datasource": _SOURCE,
        "expr": query.expression,
        "legendFormat": query.legend or "__auto",
        "instant": instant,
        "range": not instant,
        "format": form,
    }


def _source_choice() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(it: Variable) -> dict[str, Any]:
    named = {"name": it.name, "label": it.label, "hide": 0}
    if not it.metric:
        return named | {"type": "textbox", "query": it.value, "current": {"text": it.value, "value": it.value}}
    query = f"label_values({it.metric}, {it.name})"
    choice = {"multi": True, "includeAll": True, "allValue": ".+", "sort": 1, "refresh": 2}
    everything = {"text": "All", "value": "$__all"}
    return named | choice | {"type": "query", "datasource": _SOURCE, "query": query, "current": everything}


_OPTIONS: dict[Kind, dict[str, Any]] = {
    "timeseries": {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}},
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"},
    "table": {"showHeader": True},
    "heatmap": {"calculate": False, "yAxis": {"unit": "short"}},
}

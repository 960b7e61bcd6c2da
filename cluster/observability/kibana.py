"""Kibana's saved objects as it imports them (8.9 and later): data views, searches, pictures and one dashboard."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from taxiway.telemetry.elastic.documents import PREFIX

_PREDICTIONS, _LOGS = "taxiway-predictions", "taxiway-logs"
_SOURCE = "kibanaSavedObjectMeta.searchSourceJSON.index"
_VERSIONS = {"index-pattern": "8.0.0", "search": "8.0.0", "visualization": "8.5.0", "dashboard": "8.9.0"}
Object = dict[str, Any]


def saved_objects() -> str:
    """Lines of JSON for `POST /api/saved_objects/_import`."""
    return "".join(json.dumps(it) + "\n" for it in _objects())


def _objects() -> Iterator[Object]:
    yield _view(_PREDICTIONS, f"{PREFIX}*", "Taxiway: predictions")
    yield _view(_LOGS, "logs-taxiway.app-*", "Taxiway: application logs")
    found = ["endpoint", "variant", "version", "status", "latency_ms", "prediction_id"]
    yield _search("taxiway-failed", "Taxiway: predictions that failed", _PREDICTIONS, found, "not status : ok")
    yield _search(
        "taxiway-errors", "Taxiway: errors and warnings", _LOGS, ["message"], "message : (*ERROR* or *WARNING*)"
    )
    pictures = [
        _picture("taxiway-answers", "Answers by variant", _metric("count"), "variant"),
        _picture("taxiway-statuses", "Answers by status", _metric("count"), "status"),
        _picture(
            "taxiway-latency",
            "Latency, p99 in ms",
            _metric("percentiles", field="latency_ms", percents=[99]),
            "variant",
        ),
        _picture("taxiway-versions", "Answers by version", _metric("count"), "version"),
    ]
    yield from pictures
    yield _dashboard("taxiway-predictions-board", "Taxiway: predictions", [it["id"] for it in pictures])


def _object(kind: str, name: str, attributes: Object, references: Sequence[Object] = ()) -> Object:
    version = {"coreMigrationVersion": "8.8.0", "typeMigrationVersion": _VERSIONS[kind]}
    return {"id": name, "type": kind, "attributes": attributes, "references": list(references), **version}


def _view(name: str, pattern: str, title: str) -> Object:
    return _object("index-pattern", name, {"title": pattern, "name": title, "timeFieldName": "@timestamp"})


def _search(name: str, title: str, view: str, columns: Sequence[str], query: str) -> Object:
    shown = {"title": title, "columns": list(columns), "sort": [["@timestamp", "desc"]], "grid": {}, "hideChart": False}
    return _object("search", name, shown | _source(query), [_reference(view)])


def _picture(name: str, title: str, metric: Object, split: str) -> Object:
    """Lines over time, one for each value of a field."""
    over_time = {"id": "2", "type": "date_histogram", "schema": "segment", "params": _TIME}
    by = {
        "id": "3",
        "type": "terms",
        "schema": "group",
        "params": {"field": split, "size": 10, "order": "desc", "orderBy": "_key"},
    }
    state = {
        "title": title,
        "type": "line",
        "aggs": [metric, over_time, by],
        "params": {"addLegend": True, "addTooltip": True},
    }
    shown = {
        "title": f"Taxiway: {title}",
        "visState": json.dumps(state),
        "uiStateJSON": "{}",
        "description": "",
        "version": 1,
    }
    return _object("visualization", name, shown | _source("kind : live"), [_reference(_PREDICTIONS)])


def _metric(kind: str, **params: Any) -> Object:
    return {"id": "1", "type": kind, "schema": "metric", "params": params}


def _dashboard(name: str, title: str, pictures: Sequence[str]) -> Object:
    panels = [
        {
            "version": "8.9.0",
            "type": "visualization",
            "gridData": {"x": 24 * (place % 2), "y": 15 * (place // 2), "w": 24, "h": 15, "i": str(place)},
            "panelIndex": str(place),
            "embeddableConfig": {},
            "panelRefName": f"panel_{place}",
        }
        for place in range(len(pictures))
    ]
    references = [
        {"name": f"{place}:panel_{place}", "type": "visualization", "id": it} for place, it in enumerate(pictures)
    ]
    shown = {"title": title, "description": "", "panelsJSON": json.dumps(panels), "optionsJSON": "{}", "version": 1}
    empty = {"kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps({"query": _kuery(""), "filter": []})}}
    return _object("dashboard", name, shown | {"timeRestore": False} | empty, references)


def _source(query: str) -> Object:
    source = {"query": _kuery(query), "filter": [], "indexRefName": _SOURCE}
    return {"kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)}}


def _kuery(query: str) -> Mapping[str, str]:
    return {"query": query, "language": "kuery"}


def _reference(view: str) -> Object:
    return {"name": _SOURCE, "type": "index-pattern", "id": view}


_TIME = {"field": "@timestamp", "interval": "auto", "min_doc_count": 1, "useNormalizedEsInterval": True}

"""A real Prometheus scrapes a running Ray that serves: every panel that has something to show shows it."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.observability.generate import HERE, dashboards
from cluster.observability.grafana import Needs
from taxiway.registry import CHALLENGER, CHAMPION
from tests.integration.test_ingress import question
from tests.integration.test_variants import eventually
from tests.ports import free_port
from tests.prometheus import Prometheus, needs_prometheus, prometheus, targets_of
from tests.serving_cluster import serving
from tests.spoiled_model import fitted
from tests.tiny_model import parcels, register_fitted, registry_settings
from tests.unit.test_dashboards import substituted

pytestmark = [pytest.mark.timeout(300), needs_prometheus]

RUNNING: frozenset[Needs] = frozenset({"", "rollout", "shadow"})
"""What the application below has to show."""


def config(folder: Path, port: int) -> dict[str, Any]:
    variants = [{"name": it, "model": f"models:/parcel@{it}"} for it in (CHAMPION, CHALLENGER)]
    rollout = {"start": "automatic", "steps": [{"shadow": 100, "min_s": 600}]}
    arguments = {
        "endpoints": [{"name": "parcel", "variants": variants, "rollout": rollout}],
        "listener": {"host": "127.0.0.1", "port": port, "drain_s": 1},
        "ingress": {"cpus": 0.2},
        "registry": registry_settings(folder).model_dump(exclude_none=True),
        "predictions": {"flush_s": 0.5},
    }
    application = {"name": "parcels", "route_prefix": "/", "import_path": "serve.app:build", "args": arguments}
    return {"proxy_location": "Disabled", "applications": [application]}


def ask(url: str, stop: threading.Event) -> None:
    """Requests, some of them wrong, and ground truth."""
    with httpx.Client(base_url=f"{url}/v2/models/parcel", timeout=30) as client:
        seed = 0
        while not stop.wait(0.02):
            seed += 1
            answer = client.post("/infer", json=question(parcels(2, seed)) if seed % 20 else {"inputs": []})
            if answer.status_code == 200:
                label = {"prediction_id": answer.headers["taxiway-prediction-id"], "label": 1}
                client.post("/feedback", json={"labels": [label]})


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder, port, stop = tmp_path_factory.mktemp("home"), free_port(), threading.Event()
    for alias, model in ((CHAMPION, fitted(iterations=4)), (CHALLENGER, fitted())):
        register_fitted(registry_settings(folder), model, alias, "parcel")
    with serving(folder, config(folder, port)) as cluster:
        asking = threading.Thread(target=ask, args=(cluster.url("parcels"), stop))
        asking.start()
        with prometheus(folder, targets_of(cluster), HERE / "prometheus/rules.yaml") as found:
            yield found
            stop.set()
            asking.join()


def empty(found: Prometheus, needs: frozenset[Needs]) -> dict[str, str]:
    """The panels that should show something and have nothing, with the expression."""
    return {
        f"{board.title}, {panel.title}": query.expression
        for board in dashboards()
        for panel in board.panels()
        if panel.needs in needs
        for query in panel.queries
        if not found.query(substituted(query.expression))
    }


def test_every_panel_shows_something(scraped: Prometheus) -> None:
    missing = empty(scraped, RUNNING)
    deadline = time.monotonic() + 60
    while missing and time.monotonic() < deadline:
        time.sleep(2)
        missing = empty(scraped, RUNNING)
    assert missing == {}, json.dumps(missing, indent=1)


def test_rules_are_evaluated_without_an_error_and_no_alert_is_raised(scraped: Prometheus) -> None:
    eventually(lambda: all(rule["health"] == "ok" for group in scraped.rules() for rule in group["rules"]), 60)
    eventually(lambda: bool(scraped.query("endpoint:taxiway_requests:rate5m")), 60)
    assert scraped.query('ALERTS{alertstate="firing"}') == []

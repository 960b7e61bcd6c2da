"""The application `parcels`, whose rollouts go on while its processes are killed, and clients that never stop."""

import http.client
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion
from tests.integration.test_ingress import question
from tests.integration.test_variants import eventually
from tests.serving_cluster import Cluster
from tests.spoiled_model import fitted, truth
from tests.tiny_model import parcels, register_fitted, registry_settings

NAME = "parcels"
PARCEL, CRATE = "parcel", "crate"
"""Endpoints of one application, each with a model of its own: the challenger of one is good, the other's fails."""
CHECKS = {"errors": {"max_increase": 0.05}, "slow": None, "missing": None, "min_requests": 50}
QUALITY = {"quality": {"min_labels": 200, "max_loss_increase": 0.3}}
STEPS = {
    PARCEL: [{"shadow": 100, "min_s": 2, "max_s": 600}, {"weight": 50, "min_s": 2, "max_s": 900}],
    CRATE: [{"weight": 50, "min_s": 2, "max_s": 600}],
}
PREDICTION_ID = "taxiway-prediction-id"
Versions = dict[str, tuple[ModelVersion, ModelVersion]]


class Clients:
    """Ask an endpoint without end; a connection that breaks is noted and made anew.

    Args:
        labels: also report what proved true of every answer; may be changed.
    """

    def __init__(self, port: int, endpoint: str, threads: int, labels: bool) -> None:
        self._port, self._path, self.labels = port, f"/v2/models/{endpoint}", labels
        self._stop = threading.Event()
        self.answers: list[tuple[int, str]] = []
        self.broken: list[str] = []
        self.threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(threads)]
        for thread in self.threads:
            thread.start()

    def _ask(self, seed: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        round_ = 0
        while not self._stop.is_set():
            round_ += 1
            try:
                self._round(connection, parcels(20, seed=1_000 * seed + round_))
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(type(error).__name__)
                connection.close()
        connection.close()

    def _round(self, connection: http.client.HTTPConnection, columns: dict[str, Any]) -> None:
        told = []
        for row, label in enumerate(truth(columns)):
            one = {name: values[row : row + 1] for name, values in columns.items()}
            response = self._post(connection, "infer", question(one))
            self.answers.append((response.status, response.headers.get("taxiway-model-version", "")))
            if response.status == 200:
                told.append({"prediction_id": response.headers[PREDICTION_ID], "label": int(label)})
        if self.labels:
            assert self._post(connection, "feedback", {"labels": told}).status == 200

    def _post(self, connection: http.client.HTTPConnection, what: str, body: Any) -> http.client.HTTPResponse:
        connection.request("POST", f"{self._path}/{what}", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response

    def stop(self) -> None:
        self._stop.set()
        for thread in self.threads:
            thread.join()


def killed_application(folder: Path, port: int) -> dict[str, Any]:
    def endpoint(name: str) -> dict[str, Any]:
        checks = CHECKS | (QUALITY if name == PARCEL else {})
        variants = [{"name": it, "model": f"models:/{name}@{it}"} for it in (CHAMPION, CHALLENGER)]
        rollout = {"start": "automatic", "steps": STEPS[name], "checks": checks}
        return {"name": name, "variants": variants, "rollout": rollout}

    arguments = {
        "endpoints": [endpoint(PARCEL), endpoint(CRATE)],
        "listener": {"host": "127.0.0.1", "port": port, "drain_s": 1},
        "ingress": {"cpus": 0.2, "replicas": 2},
        "registry": registry_settings(folder).model_dump(exclude_none=True),
        "predictions": {"flush_s": 0.5},
    }
    application: dict[str, Any] = {"name": NAME, "import_path": "serve.app:build", "args": arguments}
    application["deployments"] = [{"name": name, "health_check_period_s": 1} for name in ("rollouts", "ingress")]
    return application


def registered(folder: Path) -> Versions:
    """Of each model a champion, and what is to challenge it; no alias names that yet."""
    settings, weak = registry_settings(folder), fitted(iterations=4)
    challengers = {PARCEL: fitted(), CRATE: fitted("fails")}
    return {
        name: (
            register_fitted(settings, weak, CHAMPION, name),
            register_fitted(settings, challenger, "candidate", name),
        )
        for name, challenger in challengers.items()
    }


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=30)


def kill_controller(cluster: Cluster) -> None:
    eventually(lambda: bool(cluster.processes(f"{NAME}:rollouts")), 120)
    kill(cluster.processes(f"{NAME}:rollouts"))


def kill_a_replica(cluster: Cluster, clients: Clients) -> list[str]:
    """The connections that broke of it, when another replica has taken its place."""
    before = cluster.processes(f"{NAME}:ingress")
    assert len(before) == 2
    assert clients.broken == []
    kill(before[:1])
    eventually(lambda: len({*cluster.processes(f"{NAME}:ingress")} - {*before}) == 1, 120)
    answered = len(clients.answers)
    eventually(lambda: len(clients.answers) > answered + 100, 60)
    return list(clients.broken)

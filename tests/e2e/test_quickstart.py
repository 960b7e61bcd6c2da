"""The road as a user walks it: `make run`, requests, jobs on the same cluster, Ctrl-C. One Ray for all tests."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from examples.flights.prepare import NOW, REQUEST_COLUMNS
from examples.flights.quickstart import infer_request
from taxiway.features import HistoricalFeatures, bind, open_store
from taxiway.settings import FeatureStoreSettings

URL = "http://127.0.0.1:8000"
INFER = f"{URL}/v2/models/flight-delay/infer"
NULLABLE_VIEWS = {"planes": "null", "route_history": "null"}

pytestmark = pytest.mark.timeout(1500)


@dataclass
class Quickstart:
    """A `make run` in the foreground of its own session, as a terminal would hold it."""

    home: Path
    process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        return (self.home / "make-run.log").read_text(errors="replace")

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"TAXIWAY_HOME": str(self.home), "RAY_AUTH_MODE": "token"}

    def submit(self, *command: str) -> str:
        """`ray job submit` as the README shows it; returns what the job printed."""
        done = subprocess.run(
            ["ray", "job", "submit", "--working-dir", ".", "--", "python", "-m", *command],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def stop(self) -> None:
        """What Ctrl-C does: SIGINT for the whole foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(120)


def start(home: Path) -> Quickstart:
    with (home / "make-run.log").open("wb") as log:
        process = subprocess.Popen(
            ["make", "run"],
            env=os.environ | {"TAXIWAY_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    quickstart = Quickstart(home, process)
    deadline = time.monotonic() + 900
    while "Ctrl-C stops everything" not in quickstart.output:
        assert process.poll() is None, quickstart.output[-5000:]
        assert time.monotonic() < deadline, quickstart.output[-5000:]
        time.sleep(0.5)
    return quickstart


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def quickstart(home: Path) -> Iterator[Quickstart]:
    quickstart = start(home)
    yield quickstart
    if quickstart.process.poll() is None:
        quickstart.stop()


def ask(flights: pd.DataFrame, features: dict[str, np.ndarray[Any, Any]] | None = None) -> np.ndarray[Any, Any]:
    """Probabilities through HTTP: many requests at a time, of one row to forty."""
    columns = {name: flights[name].tolist() for name in REQUEST_COLUMNS}

    def request(rows: slice) -> list[float]:
        body = infer_request({name: values[rows] for name, values in columns.items()})
        for name, values in (features or {}).items():
            data = [None if np.isnan(value) else value for value in values[rows].tolist()]
            body["inputs"].append({"name": name, "shape": [len(data)], "datatype": "FP64", "data": data})
        response = client.post(INFER, content=json.dumps(body))
        assert response.status_code == 200, response.text
        return list(response.json()["outputs"][0]["data"])

    sizes = np.random.default_rng(0).choice([1, 1, 1, 2, 7, 40], len(flights)).cumsum()
    bounds = [0, *sizes[sizes < len(flights)].tolist(), len(flights)]
    slices = [slice(begin, end) for begin, end in pairwise(bounds)]
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(16) as pool:
        return np.array([value for part in pool.map(request, slices) for value in part])


def score(quickstart: Quickstart, flights: pd.DataFrame, name: str) -> np.ndarray[Any, Any]:
    """Probabilities of a scoring job, in the order of `flights`."""
    job = yaml.safe_load(Path("configs/flights/score.yaml").read_text())
    job |= {"input": str(quickstart.home / f"{name}.parquet"), "output": str(quickstart.home / f"scored-{name}")}
    flights.to_parquet(job["input"], index=False, coerce_timestamps="us")
    config = quickstart.home / f"{name}.yaml"
    config.write_text(yaml.safe_dump(job))
    quickstart.submit("batch", str(config))
    scored = pd.read_parquet(job["output"]).set_index("flight_id")
    assert len(scored) == len(flights)
    return scored.loc[flights["flight_id"], "late_probability"].to_numpy()


def test_the_quickstart_ends_at_a_real_answer(quickstart: Quickstart) -> None:
    answer = json.loads(re.findall(r"^answer +(\{.*)$", quickstart.output, re.MULTILINE)[0])
    assert (answer["model_name"], answer["model_version"]) == ("flight-delay", "1")
    assert 0 < answer["outputs"][0]["data"][0] < 1


def test_the_first_champion_beats_the_target_on_the_later_months(quickstart: Quickstart) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{quickstart.home}/mlflow.db")
    version = mlflow.MlflowClient().get_model_version_by_alias("flight-delay", "champion")
    metrics = mlflow.get_run(version.run_id).data.metrics
    assert metrics["evaluate_auc"] > 0.72
    assert metrics["evaluate_average_precision"] > 0.41


def test_the_printed_curl_answers(quickstart: Quickstart) -> None:
    command = re.findall(r"^  (curl .* -d @.*)$", quickstart.output, re.MULTILINE)[0]
    answer = json.loads(subprocess.run(command, shell=True, capture_output=True, check=True).stdout)  # noqa: S602
    assert answer["outputs"][0]["name"] == "late_probability"


def test_the_commands_of_the_readme_work_as_they_are_written(quickstart: Quickstart) -> None:
    section = Path("README.md").read_text().partition("## While it runs")[2]
    commands = section.partition("```sh\n")[2].partition("```")[0]
    assert "ray job submit" in commands
    done = subprocess.run(
        ["bash", "-ec", commands],
        env=quickstart.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "flight-delay/champion: models:/flight-delay@champion is version 1" in done.stdout
    answer, _ = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index('{"model_name"') :])
    assert len(answer["outputs"][0]["data"]) == 2
    assert "written   27,268 rows" in done.stdout


def test_the_month_is_scored_whole_with_the_version_in_every_row(quickstart: Quickstart) -> None:
    output = quickstart.home / "flights" / "scores" / "2013-11"
    scored = pq.read_table(output).to_pandas()
    asked = pd.read_parquet(quickstart.home / "flights" / "scheduled" / "2013-11.parquet")
    assert sorted(scored["flight_id"]) == sorted(asked["flight_id"])
    assert set(scored["model_version"].astype(str)) == {"1"}
    assert scored["late_probability"].between(0, 1).all()


def test_http_and_batch_give_identical_probabilities_from_features_of_now(quickstart: Quickstart) -> None:
    """The promise: online store and point-in-time join, requests and pieces, bit by bit."""
    asked = pd.read_parquet(quickstart.home / "flights" / "scheduled" / "2013-11.parquet")
    flights = asked.sample(1000, random_state=1).assign(event_timestamp=NOW)
    np.testing.assert_array_equal(ask(flights), score(quickstart, flights, "now"))


def test_http_and_batch_give_identical_probabilities_over_the_month(quickstart: Quickstart) -> None:
    """Each flight as of its own moment: what batch joins, the requests bring."""
    asked = pd.read_parquet(quickstart.home / "flights" / "scheduled" / "2013-11.parquet")
    flights = asked.sample(1000, random_state=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAXIWAY_HOME", str(quickstart.home))
        store = open_store(FeatureStoreSettings(repository="examples/flights/feature_repo"))
        columns = {name: flights[name].to_numpy(dtype=object) for name in ("carrier", "origin", "dest", "tailnum")}
        views = bind(store, "flight_delay", {}).views
        features = HistoricalFeatures(store).read(views, columns, flights["event_timestamp"].to_numpy())
    np.testing.assert_array_equal(ask(flights, features), score(quickstart, flights, "month"))


def test_a_retraining_on_the_cluster_registers_a_challenger(quickstart: Quickstart) -> None:
    config = yaml.safe_load(Path("configs/flights/retrain.yaml").read_text())
    config["search"] = {"trials": 2, "max_iterations": 40, "report_every": 20}
    config["train"]["start"] = "2013-06-01T00:00-04:00"
    # So short a search on so few months is not as good as the champion, and shall be registered all the same.
    config["gate"] = {"min_auc_gain": -0.1, "max_log_loss_increase": None, "max_slice_auc_loss": None}
    path = quickstart.home / "retrain.yaml"
    path.write_text(yaml.safe_dump(config))
    quickstart.submit("retrain", str(path))
    mlflow.set_tracking_uri(f"sqlite:///{quickstart.home}/mlflow.db")
    client = mlflow.MlflowClient()
    assert str(client.get_model_version_by_alias("flight-delay", "challenger").version) == "2"
    assert str(client.get_model_version_by_alias("flight-delay", "champion").version) == "1"


def test_prometheus_can_scrape_the_replicas_counters(quickstart: Quickstart) -> None:
    targets = re.findall(r"http://\S+/metrics", quickstart.output)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pages = "".join(httpx.get(target.rstrip(",")).text for target in targets)
        counts = re.findall(r"^ray_taxiway_requests_total\{(.*)\} (\S+)", pages, re.MULTILINE)
        if any('code="ok"' in labels and 'endpoint="flight-delay"' in labels and float(n) > 0 for labels, n in counts):
            return
        time.sleep(2)
    raise AssertionError("no counter of the endpoint at any target")


def test_a_rolling_update_under_load_loses_no_request(quickstart: Quickstart) -> None:
    config = yaml.safe_load(Path("configs/flights/serve.yaml").read_text())
    config["applications"][0]["args"]["limits"] = {"rows": 7}
    path = quickstart.home / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    body = (quickstart.home / "flights" / "request.json").read_text()
    stop, answered, failed = threading.Event(), [], []

    def load() -> None:
        with httpx.Client(timeout=30) as client:
            while not stop.is_set():
                try:
                    answered.append(client.post(INFER, content=body).raise_for_status().status_code)
                except httpx.HTTPError as error:
                    failed.append(repr(error))
                stop.wait(0.05)  # the new replica needs the CPU to start

    def updated() -> bool:
        """The new replica takes at most seven rows; the old one, while it drains, more."""
        return all(httpx.post(INFER, content=eight, timeout=30).status_code == 413 for _ in range(5))

    asked = json.loads(body)["inputs"]
    eight = json.dumps({"inputs": [tensor | {"shape": [8], "data": tensor["data"] * 8} for tensor in asked]})
    assert not updated()
    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    subprocess.run(["serve", "deploy", str(path)], env=quickstart.environment, check=True, capture_output=True)
    deadline = time.monotonic() + 90
    while not updated() and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(2)
    stop.set()
    for thread in threads:
        thread.join()
    assert (failed, len(answered) > 100, updated()) == ([], True, True)


def test_a_killed_replica_is_replaced(quickstart: Quickstart) -> None:
    [replica] = [p for p in family(quickstart.process.pid) if "ServeReplica:flights" in " ".join(p.cmdline())]
    replica.kill()
    deadline = time.monotonic() + 90
    body = (quickstart.home / "flights" / "request.json").read_text()
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            assert httpx.post(INFER, content=body).status_code == 200
            return
        time.sleep(0.5)
    raise AssertionError("the replica did not come back")


def test_ctrl_c_leaves_no_process_and_no_port(quickstart: Quickstart) -> None:
    processes = family(quickstart.process.pid)
    assert len(processes) > 5
    quickstart.stop()
    assert "stopped" in quickstart.output, quickstart.output[-3000:]
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert [" ".join(p.cmdline())[:80] for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    for port in (8000, 8265):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def test_a_second_run_reuses_what_is_there(home: Path) -> None:
    again = start(home)
    try:
        assert "train:" not in again.output
        assert "prepared before" in again.output
        assert '"model_version": "1"' in again.output
    finally:
        again.stop()


def test_a_taken_port_is_said_before_anything_starts(home: Path) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 8000))
        holder.listen()
        done = subprocess.run(
            ["make", "run"], env=os.environ | {"TAXIWAY_HOME": str(home)}, capture_output=True, text=True
        )
    assert done.returncode != 0
    assert "port 8000 is taken" in done.stderr


def family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]

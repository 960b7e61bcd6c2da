"""`make run`: from nothing to a live answer, then in the foreground until Ctrl-C."""

import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from examples.flights import data
from examples.flights.memory import proportional_set_size_mb
from examples.flights.prepare import MONTH_TO_SCORE, NOW, REQUEST_COLUMNS, folder
from serve.settings import ListenerSettings, ServeSettings
from taxiway.errors import TaxiwayError
from taxiway.registry import CHAMPION, Registry
from taxiway.settings import home, parse, read_yaml

SERVE_FILE = "configs/flights/serve.yaml"
RETRAIN_FILE = "configs/flights/retrain.yaml"
SCORE_FILE = "configs/flights/score.yaml"
MODEL = "flight-delay"
_READY_TIMEOUT_S = 180.0
_USUAL_DASHBOARD = "http://127.0.0.1:8265"
_STOP_TIMEOUT_S = 60.0
_DATATYPES = {"distance": "INT64", "weekday": "INT64", "departure_hour": "FP64"}


# A proxy of the environment is not for 127.0.0.1.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StepFailedError(Exception):
    """A step failed; the message says which one, why and what to do."""


def main() -> int:
    """Prepares, trains when there is no champion, serves, asks, and waits."""
    # A shell that starts this in the background leaves SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    # MLflow tells how it makes its tables.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    started = time.monotonic()
    try:
        settings = _settings()
        listener = _listener(settings)
        _check_port(listener.host, listener.port)
        _run("prepare", "-m", "examples.flights.prepare")
        if Registry(settings.registry).alias(MODEL, CHAMPION) is None:
            print("train: the registry has no champion yet", flush=True)
            _run("train", "-m", "retrain", RETRAIN_FILE)
        with _serving(settings) as server:
            _show_answer(settings, time.monotonic() - started)
            server.wait()
            raise StepFailedError(f"serve: ended by itself; see {_log_file()}")
    except (StepFailedError, TaxiwayError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", flush=True)
    return 0


def _settings() -> ServeSettings:
    arguments = read_yaml(SERVE_FILE)["applications"][0]["args"]
    return parse(arguments, ServeSettings, f"{SERVE_FILE} args")


def _listener(settings: ServeSettings) -> ListenerSettings:
    if not isinstance(settings.listener, ListenerSettings):
        raise StepFailedError(f"serve: {SERVE_FILE} has listener: serve; the quickstart needs host and port there")
    return settings.listener


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            raise StepFailedError(
                f"serve: port {port} is taken; end the program that listens there, "
                f"or change listener.port in {SERVE_FILE}"
            )


def _run(step: str, *arguments: str) -> None:
    # In a session of its own, so that Ctrl-C reaches it once, from here.
    process = subprocess.Popen([sys.executable, *arguments], start_new_session=True)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        _stop(process)
        raise
    if status:
        raise StepFailedError(
            f"{step}: `python {' '.join(arguments)}` failed (exit status {status}), its message is above; "
            "mend that and run `make run` again: finished steps are not repeated"
        )


@contextmanager
def _serving(settings: ServeSettings) -> Iterator[subprocess.Popen[bytes]]:
    print(f"serve: serve run --address local {SERVE_FILE} (log: {_log_file()}) ...", end=" ", flush=True)
    start = time.monotonic()
    with _log_file().open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "serve", "run", "--address", "local", SERVE_FILE],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, _url(settings, "/v2/health/ready"))
        print(f"ready after {time.monotonic() - start:.1f} s", flush=True)
        yield process
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StepFailedError(f"serve: ended while starting, status {process.returncode}:\n{_log_tail()}")
        log = _log_file().read_text(errors="replace")
        if "failed with exception" in log or "DEPLOY_FAILED" in log:
            raise StepFailedError(f"serve: the application can't be deployed:\n{_log_tail()}")
        try:
            with _DIRECT.open(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise StepFailedError(f"serve: not ready after {_READY_TIMEOUT_S:.0f} s:\n{_log_tail()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C for the process; Ray ends what it has started. What still lives after a while is killed."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)  # a second Ctrl-C must not leave it half stopped
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _show_answer(settings: ServeSettings, seconds: float) -> None:
    flight = _a_flight()
    question = infer_request({name: [flight[name]] for name in REQUEST_COLUMNS})
    url = _url(settings, f"/v2/models/{MODEL}/infer")
    request = urllib.request.Request(url, json.dumps(question).encode(), {"content-type": "application/json"})  # noqa: S310
    try:
        with _DIRECT.open(request, timeout=30) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise StepFailedError(f"ask: {url} answered {error.code}: {error.read().decode()}") from error
    question_file = folder() / "request.json"
    question_file.write_text(json.dumps(question))
    probability = answer["outputs"][0]["data"][0]
    outcome = f"arrived {flight['arrival_delay_min']:+.0f} minutes" if pd.notna(flight["late"]) else "did not arrive"
    scheduled = f"{flight['scheduled_at']:%Y-%m-%d %H:%M} UTC"
    found = re.search(r"dashboard at \S*?(http://[\w.:]+)", _log_file().read_text(errors="replace"))
    dashboard = found[1] if found else _USUAL_DASHBOARD
    memory_mb = proportional_set_size_mb(os.getpid())
    print(
        f"""
question  POST {url}
          {json.dumps(question)}
answer    {json.dumps(answer)}

{flight["carrier"]} from {flight["origin"]} to {flight["dest"]}, {scheduled}, asked an hour before:
late with probability {probability:.3f} says version {answer["model_version"]}. In the end it {outcome}.
First answer {seconds:.0f} s after the start; memory of all processes {memory_mb:.0f} MB (PSS).

go on, in another shell:
  . ./env.sh{f"; export RAY_API_SERVER_ADDRESS={dashboard}" if dashboard != _USUAL_DASHBOARD else ""}
  curl -s {url} -d @{shlex.quote(str(question_file))}
  curl -s {_url(settings, f"/v2/models/{MODEL}")}
  ray job submit --working-dir . -- python -m batch {SCORE_FILE}       # scores {MONTH_TO_SCORE}
  ray job submit --working-dir . -- python -m retrain {RETRAIN_FILE}   # registers a challenger
  mlflow ui --backend-store-uri {shlex.quote(settings.registry.tracking_uri)}
metrics   Prometheus, for scraping: {", ".join(_metrics_targets()) or "see the Ray dashboard"}
dashboard {dashboard} (its token: ray get-auth-token)

Ctrl-C stops everything.""",
        flush=True,
    )


def _a_flight() -> dict[str, Any]:
    """The first flight that one asks about at the moment at which the online store stands."""
    flights = data.read_flights()
    asked = flights[(flights["asked_at"] >= NOW) & flights["tailnum"].notna()]
    return {str(name): value for name, value in asked.iloc[0].items()}


def infer_request(columns: dict[str, list[Any]]) -> dict[str, Any]:
    """An Open Inference Protocol request with one tensor for each column."""
    return {
        "inputs": [
            {
                "name": name,
                "shape": [len(values)],
                "datatype": _DATATYPES.get(name, "BYTES"),
                "data": [value.item() if hasattr(value, "item") else value for value in values],
            }
            for name, values in columns.items()
        ]
    }


def _metrics_targets() -> list[str]:
    discovery = Path("/tmp/ray/prom_metrics_service_discovery.json")  # noqa: S108 - where Ray puts it
    if not discovery.is_file():
        return []
    return [f"http://{target}/metrics" for group in json.loads(discovery.read_text()) for target in group["targets"]]


def _url(settings: ServeSettings, path: str) -> str:
    listener = _listener(settings)
    return f"http://{listener.host}:{listener.port}{path}"


def _log_file() -> Path:
    return home() / "serve.log"


def _log_tail(lines: int = 25) -> str:
    return "\n".join(_log_file().read_text(errors="replace").splitlines()[-lines:])


if __name__ == "__main__":
    sys.exit(main())

"""The servers of the comparison: how each is started on the model, and which protocol it is asked in."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks.serving import codecs
from benchmarks.serving.codecs import Codec
from benchmarks.serving.model import NAME, OUTPUT, Material

PEERS = Path(__file__).parent / "peers"
_ROOT = Path(__file__).parents[2]
_STICKY = "x-customer"


@dataclass(frozen=True)
class Start:
    """What a server's command may need; `folder` is its own, `programs` those of its environment."""

    material: Material
    folder: Path
    programs: Path
    port: int


@dataclass(frozen=True)
class Command:
    """A command line and what it adds to the environment."""

    words: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """One line of the comparison.

    `role` is what the ratios are made of. `environment` names the virtual environment, None is Taxiway's own.
    """

    key: str
    title: str
    role: Literal["peer", "ray", "limit", "taxiway"]
    environment: str | None
    command: Callable[[Start], Command]
    json: Codec
    binary: Codec | None = None
    by_column: Codec | None = None
    start_timeout_s: float = 90.0


def _program(file: str, *more: str, **environment: str) -> Callable[[Start], Command]:
    def command(start: Start) -> Command:
        words = [start.programs / "python", PEERS / file, start.material.joblib, start.port, *more]
        return Command(list(map(str, words)), environment)

    return command


def _mlflow(start: Start) -> Command:
    words = [start.programs / "mlflow", "models", "serve", "--env-manager", "local", "--workers", "1"]
    words += ["--host", "127.0.0.1", "--port", start.port, "--model-uri", start.material.mlflow]
    # It starts uvicorn by name; the access log is uvicorn's own setting.
    environment = {"PATH": f"{start.programs}:{os.environ['PATH']}", "UVICORN_ACCESS_LOG": "false"}
    return Command(list(map(str, words)), environment)


def _mlserver(**batching: float) -> Callable[[Start], Command]:
    def command(start: Start) -> Command:
        model: dict[str, Any] = {
            "name": NAME,
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(start.material.joblib)},
            **batching,
        }
        ports = {"http_port": start.port, "grpc_port": start.port + 1, "metrics_port": start.port + 2}
        server = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
        (start.folder / "model-settings.json").write_text(json.dumps(model))
        (start.folder / "settings.json").write_text(json.dumps(server))
        return Command([str(start.programs / "mlserver"), "start", str(start.folder)])

    return command


def _bentoml(service: str) -> Callable[[Start], Command]:
    def command(start: Start) -> Command:
        words = [start.programs / "bentoml", "serve", f"bentoml_app:{service}", "--working-dir", PEERS]
        words += ["--host", "127.0.0.1", "--port", start.port]
        home = {"BENTOML_HOME": str(start.folder), "BENTOML_DO_NOT_TRACK": "True", "BENTOML_PORT": str(start.port)}
        return Command(list(map(str, words)), home | {"MODEL": str(start.material.joblib)})

    return command


def _ray(application: str, **environment: str) -> Callable[[Start], Command]:
    def command(start: Start) -> Command:
        deploy: dict[str, Any] = {
            "http_options": {"host": "127.0.0.1", "port": start.port},
            "applications": [
                {
                    "name": "bench",
                    "import_path": f"{application}:build",
                    "args": {"model": str(start.material.joblib)},
                }
            ],
        }
        return _serve_run(start, deploy, PEERS, environment)

    return command


def _taxiway(replicas: int, variants: int = 1) -> Callable[[Start], Command]:
    def command(start: Start) -> Command:
        deploy = {
            "proxy_location": "Disabled",
            "applications": [
                {
                    "name": "bench",
                    "import_path": "serve.app:build",
                    "args": {
                        "endpoints": [_endpoint(variants)],
                        "registry": start.material.registry.model_dump(),
                        "listener": {"host": "127.0.0.1", "port": start.port},
                        "ingress": {"replicas": replicas},
                    },
                }
            ],
        }
        if variants > 1:
            weights = {f"v{number}": 100 // variants for number in range(variants)}
            deploy["applications"][0]["deployments"] = [  # type: ignore[index]
                {"name": "ingress", "user_config": {"traffic": {NAME: {"weights": weights}}}}
            ]
        return _serve_run(start, deploy, _ROOT, {})

    return command


def _endpoint(variants: int) -> dict[str, Any]:
    """Sticky by a header; with several variants the same version stands behind each."""
    model = f"models:/{NAME}@champion"
    named = [{"name": f"v{number}", "model": model} for number in range(variants)]
    return {"name": NAME, "variants": named, "split_by": {"header": _STICKY}}


def _serve_run(start: Start, deploy: Mapping[str, Any], code: Path, environment: Mapping[str, str]) -> Command:
    config = start.folder / "serve.yaml"
    config.write_text(yaml.safe_dump(deploy))
    words = [start.programs / "serve", "run", "--address", "local", config]
    # Ray's workers import the application, not this command alone.
    return Command(list(map(str, words)), {**environment, "PYTHONPATH": str(code)})


_PLAIN = codecs.plain("/predict")
_INFER = f"/v2/models/{NAME}/infer"
_MLSERVER = codecs.inference(_INFER, "predict_proba")
_TAXIWAY = {
    "json": codecs.inference(_INFER, OUTPUT, _STICKY),
    "binary": codecs.inference_binary(_INFER, OUTPUT, _STICKY),
    "by_column": codecs.inference_by_column(_INFER, OUTPUT, _STICKY),
}
_HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
OWN_PROGRAMS = Path(sys.executable).parent

SERVERS: tuple[Server, ...] = (
    Server("fastapi", "FastAPI + uvicorn", "peer", "plain", _program("fastapi_app.py"), _PLAIN),
    Server("mlflow", "mlflow models serve", "peer", "mlflow", _mlflow, codecs.mlflow_scoring("/invocations")),
    Server("mlserver", "MLServer", "peer", "mlserver", _mlserver(), _MLSERVER),
    Server(
        "mlserver-batched",
        "MLServer, adaptive batching",
        "peer",
        "mlserver",
        _mlserver(max_batch_size=32, max_batch_time=0.002),
        _MLSERVER,
    ),
    Server("bentoml", "BentoML", "peer", "bentoml", _bentoml("Plain"), _PLAIN),
    Server("bentoml-batched", "BentoML, adaptive batching", "peer", "bentoml", _bentoml("Batched"), _PLAIN),
    Server("litserve", "LitServe", "peer", "litserve", _program("litserve_app.py"), _PLAIN),
    Server("litserve-batched", "LitServe, batched", "peer", "litserve", _program("litserve_app.py", "32"), _PLAIN),
    Server("ray", "Ray Serve, stock", "ray", "ray", _ray("ray_stock"), _PLAIN, start_timeout_s=180),
    Server(
        "ray-haproxy",
        "Ray Serve, HAProxy, one hop, @serve.batch",
        "ray",
        "ray",
        _ray("ray_one_hop", **_HAPROXY),
        _PLAIN,
        start_timeout_s=180,
    ),
    Server(
        "limit",
        "limit: uvicorn + our batching",
        "limit",
        "plain",
        _program("limit.py", PYTHONPATH=str(_ROOT)),
        _PLAIN,
        codecs.inference_binary("/infer", OUTPUT),
    ),
    Server("taxiway", "Taxiway", "taxiway", None, _taxiway(1), **_TAXIWAY, start_timeout_s=180),
    Server("taxiway-2", "Taxiway, 2 replicas", "taxiway", None, _taxiway(2), **_TAXIWAY, start_timeout_s=180),
    Server(
        "taxiway-split",
        "Taxiway, split over 2 variants",
        "taxiway",
        None,
        _taxiway(1, variants=2),
        _TAXIWAY["json"],
        start_timeout_s=180,
    ),
)

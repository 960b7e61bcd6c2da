"""A PyTorch model that says where it has computed, its inputs, and what is right in twice the precision."""

import copy
from typing import Any

import mlflow
import numpy as np
from numpy.typing import NDArray

from examples.digits.network import network
from taxiway.flavors.library import library
from taxiway.package import ModelPackage, log_package
from taxiway.registry import CHAMPION, ModelVersion, Registry
from taxiway.settings import RegistrySettings
from taxiway.signature import Column, Signature

torch: Any = library("torch")

SIGNATURE = Signature(
    inputs=(Column(name="image", dtype="float32", shape=(1, 8, 8)),),
    outputs=(Column(name="logits", dtype="float32", shape=(10,)), Column(name="on_gpu", dtype="int64")),
)


class Digits(torch.nn.Module):  # type: ignore[misc]
    """[rows, 1, 8, 8] in, a dict of logits [rows, 10] and of ones where a GPU has computed [rows] out."""

    def __init__(self, seed: int = 0, ballast: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.network = network()
        self.register_buffer("ballast", torch.zeros(ballast, dtype=torch.uint8))

    def forward(self, image: Any) -> dict[str, Any]:
        return {
            "logits": self.network(image),
            "on_gpu": torch.full((len(image),), int(image.is_cuda), dtype=torch.int64, device=image.device),
        }


def images(rows: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((rows, 1, 8, 8), np.float32)


def exact(module: Any, inputs: NDArray[Any]) -> NDArray[np.float64]:
    """The logits in 64 bits, on the CPU."""
    double = copy.deepcopy(module).cpu().double().eval()
    with torch.inference_mode():
        answers: NDArray[np.float64] = double(torch.from_numpy(inputs.astype(np.float64)))["logits"].numpy()
    return answers


def distance(found: Any, expected: Any) -> float:
    """||found - expected|| / ||expected||; infinite where something is no number."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    away = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    return away if np.isfinite(away) else float("inf")


def register(name: str, seed: int = 0, ballast: int = 0) -> ModelVersion:
    """A version, as champion, in the registry of TAXIWAY_HOME.

    Args:
        ballast: bytes that it takes beside its weights.
    """
    registry = Registry(RegistrySettings())
    package = ModelPackage(flavor="torch", signature=SIGNATURE, output_kind="tensor")
    with mlflow.start_run(experiment_id=registry.experiment(name)) as run:
        uri = log_package(Digits(seed, ballast).eval(), package, {"torch": torch.__version__.partition("+")[0]})
    version = registry.register(name, uri, run.info.run_id, {})
    registry.point(CHAMPION, version)
    return version

"""The networks that are measured, and their registered versions."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from taxiway.flavors.library import library
from taxiway.package import ModelPackage, log_package
from taxiway.registry import CHAMPION, Registry
from taxiway.settings import RegistrySettings
from taxiway.signature import Array, Column, Signature

torch: Any = library("torch")
nn: Any = torch.nn

CLASSES = 10


@dataclass(frozen=True)
class Network:
    """What is measured.

    Args:
        job_rows: that a scoring job gets.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    make: Callable[[], Any]
    job_rows: int

    def inputs(self, rows: int) -> Array:
        """Random, for zeros compute faster."""
        return np.random.default_rng(rows).standard_normal((rows, *self.shape), np.float32)


def _perceptron() -> Any:
    """256 numbers, three hidden layers of 2,048: 9 million multiplications a row."""
    sizes = (256, 2_048, 2_048, 2_048)
    layers = [part for here, there in pairwise(sizes) for part in (nn.Linear(here, there), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], CLASSES))


def _convolution() -> Any:
    """Images of 3 x 64 x 64, five layers: 115 million multiplications a row."""
    sizes, strides = (3, 64, 128, 128, 256, 256), (2, 2, 1, 2, 1)
    layers = [
        part
        for (here, there), stride in zip(pairwise(sizes), strides, strict=True)
        for part in (nn.Conv2d(here, there, 3, stride, padding=1), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sizes[-1], CLASSES))


NETWORKS = (
    Network("perceptron", "perceptron", (256,), _perceptron, 200_000),
    Network("convolution", "convolution", (3, 64, 64), _convolution, 8_000),
)


def registered(network: Network) -> Path:
    """The files of a version that is registered as champion."""
    registry, columns = Registry(RegistrySettings()), (Column(name="x", dtype="float32", shape=network.shape),)
    signature = Signature(inputs=columns, outputs=(Column(name="logits", dtype="float32", shape=(CLASSES,)),))
    package = ModelPackage(flavor="torch", signature=signature, output_kind="tensor")
    torch.manual_seed(0)
    with mlflow.start_run(experiment_id=registry.experiment(network.name)) as run:
        version = torch.__version__.partition("+")[0]
        uri = log_package(network.make().eval(), package, {"torch": version})
    registered = registry.register(network.name, uri, run.info.run_id, {})
    registry.point(CHAMPION, registered)
    return registry.fetch(registered)

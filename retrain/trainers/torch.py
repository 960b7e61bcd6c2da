"""PyTorch: a small network, trained with Adam on the CPU or on a GPU."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from pydantic import Field

from retrain.dataset import Dataset
from retrain.model import Layout, Parameters
from retrain.trainers.contract import (
    FitSteps,
    FittedModel,
    Labels,
    Matrix,
    Probabilities,
    SearchData,
    Trainer,
    behind_encoder,
)
from retrain.trainers.space import LogInt, LogUniform, Space, Uniform
from taxiway.errors import ConfigError
from taxiway.flavors.library import library
from taxiway.settings import FileSettings, parse


class TorchOptions(FileSettings):
    """The options of `trainer: {name: torch}`. An iteration is `batches` mini-batches of `batch_rows` rows."""

    batch_rows: int = Field(default=512, ge=1)
    batches: int = Field(default=8, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Torch(Trainer):
    """A multilayer perceptron (Gorishniy et al. 2021: a baseline that is hard to beat on tables).

    On a GPU it computes in mixed precision. On one device, the same seed gives the same weights.

    Raises:
        ConfigError: an option has a wrong value.
    """

    def __init__(self, batch_rows: int = 512, batches: int = 8, device: str = "auto") -> None:
        given = {"batch_rows": batch_rows, "batches": batches, "device": device}
        self.options = parse(given, TorchOptions, "trainer.options")

    def space(self) -> Space:
        return Space(
            {
                "learning_rate": LogUniform(3e-4, 1e-2),
                "width": LogInt(32, 513),
                "depth": LogInt(1, 5),
                "dropout": Uniform(0.0, 0.5),
                "weight_decay": LogUniform(1e-6, 1e-1),
            },
            {"learning_rate": 1e-3, "width": 128, "depth": 2, "dropout": 0.1, "weight_decay": 1e-4},
        )

    def fit_steps(self, data: SearchData, parameters: Parameters, seed: int) -> FitSteps:
        fit = NetworkFit(data.inputs, data.labels, data.layout, parameters, seed, self.options, self.threads)
        return _Steps(data, fit)

    def final(
        self, examples: Dataset, layout: Layout, parameters: Parameters, iterations: int, seed: int
    ) -> FittedModel:
        """A bare module where the package's columns are numbers; behind an encoder where some are texts."""
        from retrain.trainers.network import NetworkClassifier

        inputs = layout.encoder().transform(examples.columns)
        fit = NetworkFit(inputs, examples.labels, layout, parameters, seed, self.options, self.threads)
        fit.learn(iterations)
        network = fit.network.cpu().eval()
        # Without the build's own part ("+cpu"), which is on no index.
        requirements = {"torch": library("torch").__version__.partition("+")[0]}
        if layout.is_numeric:
            return FittedModel(network, "torch", requirements, layout.inputs)
        return behind_encoder(NetworkClassifier(network), layout, requirements)


class NetworkFit:
    """A network that learns. All randomness comes from the seed and the count of what has been learned."""

    def __init__(
        self,
        inputs: Matrix,
        labels: Labels,
        layout: Layout,
        parameters: Parameters,
        seed: int,
        options: TorchOptions,
        threads: int,
    ) -> None:
        from retrain.trainers.network import TabularNetwork

        self._torch = torch = library("torch")
        self._seed, self._options, self._threads = seed, options, threads
        self.iterations = 0
        self.device = _device(torch, options.device)
        self._reduced = _reduced_precision(torch, self.device)
        matrix = inputs.astype(np.float32)
        self._inputs = torch.from_numpy(matrix).to(self.device)
        self._labels = torch.from_numpy(labels.astype(np.float32)).to(self.device)
        sizes = [len(layout.categories.get(name, ())) for name in layout.columns]
        shape = {name: parameters[name] for name in ("width", "depth", "dropout")}
        with self._random(0):
            network = TabularNetwork(matrix, sizes, **shape, base_rate=float(labels.mean()))
        self.network = network.to(self.device)
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=parameters["learning_rate"], weight_decay=parameters["weight_decay"]
        )
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._reduced == torch.float16)
        self._epoch = -1
        self._order: Any = None

    def learn(self, iterations: int) -> None:
        """Goes on until there are so many iterations in all."""
        self.network.train()
        with limited_threads(self._threads):
            for iteration in range(self.iterations, iterations):
                with self._random(1, iteration):
                    for batch in range(self._options.batches):
                        self._learn_from(self._rows(iteration * self._options.batches + batch))
                self.iterations = iteration + 1

    def _learn_from(self, rows: Any) -> None:
        torch, reduced = self._torch, self._reduced
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=reduced, enabled=reduced is not None):
            logits = self.network.logits(self._inputs[rows])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), self._labels[rows])
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def _rows(self, batch: int) -> Any:
        """The rows of a mini-batch, counted from the first; every epoch has an order of its own."""
        rows, size = len(self._labels), self._options.batch_rows
        epoch, place = divmod(batch, -(-rows // size))
        if epoch != self._epoch:
            generator = self._torch.Generator().manual_seed(_mixed(self._seed, 2, epoch))
            self._order = self._torch.randperm(rows, generator=generator).to(self.device)
            self._epoch = epoch
        return self._order[place * size : (place + 1) * size]

    @contextmanager
    def _random(self, *stage: int) -> Iterator[None]:
        """PyTorch's own random numbers, seeded for one stage; what they were before comes back."""
        devices = [self._torch.cuda.current_device()] if self.device.type == "cuda" else []
        with self._torch.random.fork_rng(devices):
            self._torch.manual_seed(_mixed(self._seed, *stage))
            yield

    def state(self) -> dict[str, Any]:
        return {
            "iterations": self.iterations,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.iterations = state["iterations"]
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])


class _Steps(FitSteps):
    def __init__(self, data: SearchData, fit: NetworkFit) -> None:
        super().__init__(data)
        self._torch = library("torch")
        self._fit = fit
        self._validation = self._torch.from_numpy(data.validation_inputs.astype(np.float32)).to(fit.device)

    def learn(self, iterations: int) -> None:
        self._fit.learn(iterations)

    def validate(self) -> Probabilities:
        from retrain.trainers.network import probabilities

        return probabilities(self._fit.network, self._validation).astype(np.float64)

    def save(self) -> bytes:
        buffer = io.BytesIO()
        self._torch.save(self._fit.state(), buffer)
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        self._fit.load(self._torch.load(io.BytesIO(state), map_location=self._fit.device, weights_only=True))


def _mixed(seed: int, *stage: int) -> int:
    """A seed of 63 bits for one stage of a fit."""
    return int(np.random.SeedSequence([seed, *stage]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _device(torch: Any, wanted: str) -> Any:
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise ConfigError("trainer.options.device: PyTorch finds no GPU here; say cpu or auto, or set search.gpus")
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


def _reduced_precision(torch: Any, device: Any) -> Any:
    """What autocast computes in; None on the CPU. 16 bits of float need their gradients scaled, bfloat16's don't."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


@contextmanager
def limited_threads(limit: int) -> Iterator[None]:
    """PyTorch's threads on the CPU; what they were before comes back."""
    torch = library("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(limit)
    try:
        yield
    finally:
        torch.set_num_threads(before)

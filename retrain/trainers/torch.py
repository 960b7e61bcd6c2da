"""PyTorch: a small network, trained with Adam on the CPU or on a GPU."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from retrain.dataset import Dataset
from retrain.learner import Learner, Precision, RowLosses, Task, seeded
from retrain.model import Layout, Parameters
from retrain.tasks import TASKS, Answers, Classes, Labels
from retrain.trainers.contract import FitSteps, FittedModel, Matrix, SearchData, Trainer, behind_encoder
from retrain.trainers.space import LogInt, LogUniform, Space, Uniform
from taxiway.errors import ConfigError
from taxiway.flavors.library import library
from taxiway.settings import FileSettings, parse
from taxiway.signature import Array


class TorchOptions(FileSettings):
    """The options of `trainer: {name: torch}`. An iteration is `batches` mini-batches of `batch_rows` rows."""

    batch_rows: int = Field(default=512, ge=1)
    batches: int = Field(default=8, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = Field(default="auto", description="of a GPU; auto: bf16 where it has that, else fp16")
    workers: int = Field(default=1, ge=1, description="processes of the last fit (Ray Train); a trial is one process")
    cpus: float = Field(default=1.0, gt=0, description="of each worker, where there are several or it has gpus")
    gpus: int = Field(
        default=0, ge=0, description="of each worker; 0 with one worker: it learns where the command runs"
    )
    retries: int = Field(default=3, ge=0, description="how often the last fit goes on after a worker has died")

    @model_validator(mode="after")
    def _one_device(self) -> "TorchOptions":
        if self.gpus and self.device == "cpu":
            raise ValueError("gpus are of workers that may use them; leave gpus out, or say device: auto")
        if self.workers > 1 and self.device == "cuda" and not self.gpus:
            raise ValueError("gpus: with device cuda and several workers each needs one; say gpus: 1")
        return self


class Torch(Trainer):
    """A multilayer perceptron (Gorishniy et al. 2021: a baseline that is hard to beat on tables).

    On a GPU it computes in mixed precision. On one kind of device, the same seed and the same number of workers
    give the same weights. With several workers or with `gpus` the last fit is Ray Train's (`retrain.distributed`):
    on a node that has them, whatever the machine of the command has.

    Args:
        options: the fields of `TorchOptions`.

    Raises:
        ConfigError: an option has a wrong value.
    """

    tasks = tuple(TASKS)

    def __init__(
        self,
        batch_rows: int = 512,
        batches: int = 8,
        device: str = "auto",
        precision: str = "auto",
        workers: int = 1,
        cpus: float = 1.0,
        gpus: int = 0,
        retries: int = 3,
    ) -> None:
        given = {"batch_rows": batch_rows, "batches": batches, "device": device, "precision": precision}
        given |= {"workers": workers, "cpus": cpus, "gpus": gpus, "retries": retries}
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
        # A trial learns as far as it is told to: the epochs of its task are not asked for.
        task = self._task(data.inputs, data.labels, data.layout, parameters, 0, seed)
        return _Steps(data, Learner(task, _device(library("torch"), self.options.device)), self.threads)

    def final(
        self, examples: Dataset, layout: Layout, parameters: Parameters, iterations: int, seed: int
    ) -> FittedModel:
        """A bare module where the package's columns are numbers; behind an encoder where some are texts.

        Raises:
            JobError: a worker has failed more often than it may.
        """
        from retrain.trainers.network import NetworkClassifier, NetworkRegressor

        inputs = layout.encoder().transform(examples.columns)
        task = self._task(inputs, examples.labels, layout, parameters, iterations, seed)
        self._learn(task)
        network = task.network.network.cpu().eval()
        # Without the build's own part ("+cpu"), which is on no index.
        requirements = {"torch": library("torch").__version__.partition("+")[0]}
        if layout.is_numeric:
            return FittedModel(network, "torch", requirements, layout.inputs, layout.task)
        step = NetworkClassifier if layout.task.answers_probabilities else NetworkRegressor
        return behind_encoder(step(network), layout, requirements)

    def _task(
        self, inputs: Matrix, labels: Labels, layout: Layout, parameters: Parameters, iterations: int, seed: int
    ) -> Task:
        matrix, torch = inputs.astype(np.float32), library("torch")
        sizes = [len(layout.categories.get(name, ())) for name in layout.columns]
        shape = {name: parameters[name] for name in ("width", "depth", "dropout")}
        with seeded(torch.device("cpu"), seed, 0):
            network, losses, targets = _learned(layout, matrix, labels, {"categories": sizes, **shape})
        return Task(
            network=network,
            losses=losses,
            arrays=(matrix, targets),
            optimizer="AdamW",
            options={"lr": parameters["learning_rate"], "weight_decay": parameters["weight_decay"]},
            epochs=iterations,
            batch_rows=self.options.batch_rows,
            seed=seed,
            steps=self.options.batches,
            precision=self.options.precision,
        )

    def _learn(self, task: Task) -> None:
        """Leaves what was learned in the task's network."""
        options = self.options
        if options.workers == 1 and not options.gpus:
            with limited_threads(self.threads):
                Learner(task, _device(library("torch"), options.device)).learn(task.epochs)
            return
        from retrain.distributed import Workers, learn

        # An iteration may take less time than a checkpoint: ten of them are enough.
        save_every = max(1, task.epochs // 10)
        learned = learn(task, Workers(options.workers, options.cpus, options.gpus, options.retries, save_every))
        task.network.load_state_dict(learned.state)


def _learned(
    layout: Layout, matrix: NDArray[np.float32], labels: Labels, shape: dict[str, Any]
) -> tuple[Any, RowLosses, Array]:
    """Of the layout's task: the network as it begins, the losses of its rows, and what it learns of each label."""
    from retrain.trainers import network as kinds

    if isinstance(layout.task, Classes):
        shares = np.bincount(labels, minlength=len(layout.task.classes)) / len(labels)
        network: Any = kinds.ClassNetwork(matrix, **shape, start=np.log(shares).tolist())
        return kinds.Logits(network), kinds.class_losses, labels
    if layout.task.name == "regression":
        mean, scale = float(labels.mean()), float(labels.std())
        network = kinds.NumberNetwork(matrix, **shape, start=[0.0], mean=mean, scale=scale)
        return kinds.Logits(network), kinds.number_losses, ((labels - mean) / scale).astype(np.float32)
    rate = float(labels.mean())
    network = kinds.TabularNetwork(matrix, **shape, start=[float(np.log(rate / (1.0 - rate)))])
    return kinds.Logits(network), kinds.row_losses, labels.astype(np.float32)


class _Steps(FitSteps):
    def __init__(self, data: SearchData, learner: Learner, threads: int) -> None:
        super().__init__(data)
        self._torch = library("torch")
        self._learner, self._threads = learner, threads
        self._validation = self._torch.from_numpy(data.validation_inputs.astype(np.float32)).to(learner.device)

    def learn(self, iterations: int) -> None:
        with limited_threads(self._threads):
            self._learner.learn(iterations)

    def validate(self) -> Answers:
        from retrain.trainers.network import answers

        return answers(self._learner.network.network, self._validation).astype(np.float64)

    def save(self) -> bytes:
        buffer = io.BytesIO()
        self._torch.save(self._learner.state(), buffer)
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        self._learner.load(self._torch.load(io.BytesIO(state), map_location=self._learner.device, weights_only=True))


def _device(torch: Any, wanted: str) -> Any:
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise ConfigError("trainer.options.device: PyTorch finds no GPU here; say cpu or auto, or set search.gpus")
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


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

"""A PyTorch module that learns by mini-batches: alone, or as one of several workers that share each mini-batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from taxiway.errors import ConfigError
from taxiway.flavors.library import library
from taxiway.signature import Array

Precision = Literal["auto", "fp32", "fp16", "bf16"]
"""What a GPU computes in; auto is bf16 where it has that, else fp16. A CPU computes in fp32."""
RowLosses = Callable[[Any, Sequence[Any]], Any]


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Args:
        network: a `torch.nn.Module` as it begins. A learner in this process changes it.
        losses: (network, the rows of a mini-batch as a tensor for each of `arrays`) -> [rows], the loss of each.
            It calls the network itself: a method of it would bypass the exchange of gradients.
        arrays: numbers, [rows, ...], as many rows in each. They have to fit into a device's memory.
        optimizer, options: a class of `torch.optim` and its arguments.
        batch_rows: of a mini-batch, all workers together.
        steps: mini-batches of an epoch; None: as many as go once through the rows.
    """

    network: Any
    losses: RowLosses
    arrays: tuple[Array, ...]
    optimizer: str
    options: Mapping[str, Any]
    epochs: int
    batch_rows: int
    seed: int
    steps: int | None = None
    precision: Precision = "auto"

    @property
    def rows(self) -> int:
        return len(self.arrays[0])

    @property
    def steps_of_an_epoch(self) -> int:
        return self.steps or -(-self.rows // self.batch_rows)


@dataclass(frozen=True)
class Part:
    """A worker's place among those that learn a task together.

    Args:
        share: makes of the network one whose gradients are the mean over workers (DDP).
        add_up: replaces a tensor by its sum over workers.
    """

    rank: int = 0
    workers: int = 1
    share: Callable[[Any], Any] = lambda network: network
    add_up: Callable[[Any], Any] = lambda sums: None


ALONE = Part()


class Learner:
    """One worker's part in a task. All randomness comes from the seed, the count of epochs and the worker's rank.

    Mini-batches are the same however many workers there are: a network without dropout and batch norm learns the
    same, but for rounding. Batch norm sees a worker's own rows, and rank 0's running statistics are kept.

    Args:
        device: of torch.
    """

    def __init__(self, task: Task, device: Any, part: Part = ALONE) -> None:
        self._torch = torch = library("torch")
        self.task, self.device, self._part = task, device, part
        self.network = task.network.to(device)
        self._shared = part.share(self.network)
        self._tensors = [_tensor(torch, values).to(device) for values in task.arrays]
        self._optimizer = getattr(torch.optim, task.optimizer)(self.network.parameters(), **task.options)
        self._reduced = reduced_precision(torch, device, task.precision)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._reduced == torch.float16)
        self.losses: list[float] = []
        self._pass = -1
        self._order: Any = None

    @property
    def epochs(self) -> int:
        """So many are learned."""
        return len(self.losses)

    def learn(self, epochs: int) -> None:
        """Goes on until there are so many epochs in all."""
        while self.epochs < epochs:
            self.learn_epoch()

    def learn_epoch(self) -> float:
        """One more epoch; the mean loss of its rows over all workers, each row's as it was when it was learned."""
        torch, epoch = self._torch, self.epochs
        self._shared.train()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        # Seeded anew in each epoch and for each worker: a checkpoint of rank 0 is one of all workers.
        with seeded(self.device, self.task.seed, 1, epoch, *([self._part.rank] if self._part.rank else [])):
            for step in range(self.task.steps_of_an_epoch):
                sums += self._step(self._rows(epoch * self.task.steps_of_an_epoch + step))
        self._part.add_up(sums)
        self.losses.append(float(sums[0] / sums[1]))
        return self.losses[-1]

    def _step(self, rows: Any) -> Any:
        """Learns from this worker's share of a mini-batch; the sum of its losses and the number of its rows."""
        torch = self._torch
        mine = rows[share(len(rows), self._part.rank, self._part.workers)]
        self._optimizer.zero_grad(set_to_none=True)
        # Who has no row computes with another's, and weighs it with zero: the exchange waits for every worker.
        taken, weight = (mine, 1.0) if len(mine) else (rows[:1], 0.0)
        with torch.autocast(self.device.type, dtype=self._reduced, enabled=self._reduced is not None):
            losses = self.task.losses(self._shared, [values[taken] for values in self._tensors])
        total = losses.float().sum() * weight
        # The exchange takes the mean over workers: this makes of it the gradient of the mean over rows.
        self._scaler.scale(total * (self._part.workers / len(rows))).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        learned = total.detach().double()
        # Filled in on the device: to copy a number there would wait for all that it has still to do.
        return torch.stack((learned, learned.new_full((), len(mine))))

    def _rows(self, batch: int) -> Any:
        """The rows of a mini-batch, counted from the first; each pass over the rows has an order of its own."""
        rows, size = self.task.rows, self.task.batch_rows
        number, place = divmod(batch, -(-rows // size))
        if number != self._pass:
            generator = self._torch.Generator().manual_seed(mixed(self.task.seed, 2, number))
            self._order = self._torch.randperm(rows, generator=generator).to(self.device)
            self._pass = number
        return self._order[place * size : (place + 1) * size]

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on as if nothing had happened; plain values and tensors."""
        return {
            "losses": list(self.losses),
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.losses = list(state["losses"])
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])


def share(rows: int, rank: int, workers: int) -> slice:
    """A worker's part of a mini-batch: consecutive rows, at most one more than any other's."""
    each, left = divmod(rows, workers)
    start = rank * each + min(rank, left)
    return slice(start, start + each + (rank < left))


def mixed(seed: int, *stage: int) -> int:
    """A seed of 63 bits for one stage of a fit."""
    return int(np.random.SeedSequence([seed, *stage]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(device: Any, seed: int, *stage: int) -> Iterator[None]:
    """PyTorch's own random numbers, seeded for one stage; what they were before comes back."""
    torch = library("torch")
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(mixed(seed, *stage))
        yield


def reduced_precision(torch: Any, device: Any, precision: Precision) -> Any:
    """What autocast computes in; None is fp32. 16 bits of float need their gradients scaled, bfloat16's don't.

    Raises:
        ConfigError: the GPU has no bfloat16.
    """
    if device.type != "cuda" or precision == "fp32":
        return None
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise ConfigError("precision: this GPU has no bf16; say fp16 or auto")
    return torch.bfloat16 if has_bf16 and precision != "fp16" else torch.float16


def _tensor(torch: Any, values: Array) -> Any:
    """A tensor on the same memory, or on a copy where that can't be written: PyTorch knows no other."""
    return torch.from_numpy(np.require(values, requirements=("C", "W")))

"""A task learned in parts is the task learned alone; what workers get, and what makes two fits the same."""

import copy
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import cloudpickle

from retrain.learner import Learner, Part, Task, reduced_precision, share
from taxiway.errors import ConfigError

torch = pytest.importorskip("torch")
distributed = pytest.importorskip("retrain.distributed")  # Ray Train asks for PyTorch
CPU = torch.device("cpu")


def squares(network: Any, rows: Any) -> Any:
    inputs, targets = rows
    return (network(inputs)[:, 0] - targets) ** 2


def task(rows: int = 23, **changes: Any) -> Task:
    random = np.random.default_rng(4)
    inputs = random.normal(size=(rows, 3)).astype(np.float32)
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Dropout(0.0))
        network.append(torch.nn.Linear(4, 1))
    begun = Task(
        network=network,
        losses=squares,
        arrays=(inputs, (inputs[:, 0] - 2.0 * inputs[:, 1]).astype(np.float32)),
        optimizer="AdamW",
        options={"lr": 0.02, "weight_decay": 0.0},
        epochs=6,
        batch_rows=5,
        seed=11,
    )
    return replace(begun, **changes)


def with_dropout(share: float) -> Any:
    network = copy.deepcopy(task().network)
    network[2] = torch.nn.Dropout(share)
    return network


def weights(network: Any) -> Any:
    return torch.cat([it.detach().reshape(-1).clone() for it in network.parameters()])


@given(st.integers(0, 200), st.integers(1, 12))
def test_shares_are_a_partition_and_differ_by_one_row_at_most(rows: int, workers: int) -> None:
    parts = [range(rows)[share(rows, rank, workers)] for rank in range(workers)]
    assert [row for part in parts for row in part] == list(range(rows))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("rows", "workers"), [(8, 2), (7, 2), (7, 3), (2, 3), (1, 4)])
def test_the_mean_of_the_workers_gradients_is_that_of_the_mean_over_rows(rows: int, workers: int) -> None:
    def step(part: Part) -> Any:
        """One step of gradient descent at rate 1: the weights move by the gradient."""
        whole = task(rows, batch_rows=rows, optimizer="SGD", options={"lr": 1.0}, precision="fp32")
        before = weights(whole.network)
        Learner(whole, CPU, part).learn(1)
        return before - weights(whole.network)

    parts = [step(Part(rank, workers)) for rank in range(workers)]
    torch.testing.assert_close(torch.stack(parts).mean(dim=0), step(Part()), rtol=1e-5, atol=1e-7)


def test_a_step_over_all_rows_is_gradient_descent() -> None:
    line = torch.nn.Linear(3, 1)
    begun = task(batch_rows=23, network=line, optimizer="SGD", options={"lr": 0.1})
    inputs, targets = (values.astype(np.float64) for values in begun.arrays)
    weight, bias = (it.detach().double().numpy().copy() for it in (line.weight[0], line.bias))
    residuals = inputs @ weight + bias - targets
    learner = Learner(begun, CPU)
    assert learner.learn_epoch() == pytest.approx((residuals**2).mean(), rel=1e-5)
    np.testing.assert_allclose(
        line.weight.detach().numpy()[0], weight - 0.2 * (residuals @ inputs) / 23, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(line.bias.detach().numpy(), bias - 0.2 * residuals.mean(), rtol=1e-4, atol=1e-6)


def test_every_row_is_learned_once_in_a_pass_and_in_another_order_each_time() -> None:
    seen: list[float] = []

    def noting(network: Any, rows: Any) -> Any:
        seen.extend(rows[1].tolist())
        return squares(network, rows)

    begun = task(losses=noting, steps=5)
    Learner(begun, CPU).learn(2)
    first, second = seen[:23], seen[23:]
    assert sorted(first) == sorted(second) == sorted(begun.arrays[1].tolist())
    assert first != second


def test_workers_see_other_random_numbers_and_the_same_ones_again() -> None:
    def drawn(rank: int) -> list[float]:
        found: list[float] = []

        def drawing(network: Any, rows: Any) -> Any:
            found.append(float(torch.rand(())))
            return squares(network, rows)

        Learner(task(losses=drawing), CPU, Part(rank, 2)).learn(2)
        return found

    assert drawn(0) == drawn(0)
    assert not set(drawn(0)) & set(drawn(1))
    assert len(set(drawn(1))) == 10


def test_a_learner_that_was_killed_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = Learner(task(network=with_dropout(0.4)), CPU)
    whole.learn(6)
    killed = Learner(task(network=with_dropout(0.4)), CPU)
    killed.learn(2)
    torch.save(killed.state(), tmp_path / "state.pt")
    resumed = Learner(task(network=with_dropout(0.4)), CPU)
    resumed.load(torch.load(tmp_path / "state.pt", weights_only=True))
    resumed.learn(6)
    assert torch.equal(weights(resumed.network), weights(whole.network))
    assert resumed.losses == whole.losses
    assert whole.losses[-1] < whole.losses[0]


def test_arrays_that_cannot_be_written_are_learned_and_stay_as_they_were() -> None:
    begun = task()
    for values in begun.arrays:
        values.setflags(write=False)
    Learner(begun, CPU).learn(1)


@pytest.mark.parametrize(
    ("device", "wanted", "has_bf16", "found"),
    [
        ("cpu", "bf16", True, None),
        ("cuda", "fp32", True, None),
        ("cuda", "auto", True, torch.bfloat16),
        ("cuda", "auto", False, torch.float16),
        ("cuda", "fp16", True, torch.float16),
    ],
)
def test_a_gpu_computes_in_what_it_has(device: str, wanted: Any, has_bf16: bool, found: Any) -> None:
    assert reduced_precision(card(has_bf16), torch.device(device), wanted) == found


def test_bf16_on_a_gpu_without_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="say fp16 or auto"):
        reduced_precision(card(False), torch.device("cuda"), "bf16")


def card(has_bf16: bool) -> Any:
    cuda = SimpleNamespace(is_bf16_supported=lambda including_emulation: has_bf16)
    return SimpleNamespace(cuda=cuda, float16=torch.float16, bfloat16=torch.bfloat16)


def test_the_same_task_made_twice_is_the_same_fit() -> None:
    assert distributed.identity(task()) == distributed.identity(task())


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 24},
        {"seed": 12},
        {"epochs": 7},
        {"batch_rows": 6},
        {"steps": 3},
        {"options": {"lr": 0.03, "weight_decay": 0.0}},
        {"optimizer": "SGD"},
        {"precision": "fp32"},
        {"network": with_dropout(0.1)},
        {"losses": test_bf16_on_a_gpu_without_it_is_refused},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_task_is_another_fit(changes: dict[str, Any]) -> None:
    assert distributed.identity(task(**changes)) != distributed.identity(task())


def test_other_weights_to_begin_with_are_another_fit() -> None:
    begun = task()
    with torch.no_grad():
        begun.network[0].bias[0] += 1.0
    assert distributed.identity(begun) != distributed.identity(task())


OWN_MODULE = """
import torch

SCALE = 3.0

class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(3, 1)

    def forward(self, rows):
        return SCALE * self.line(rows)

def losses(network, rows):
    return network(rows[0])[:, 0].abs()
"""


def test_workers_need_not_be_able_to_import_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys_network.py").write_text(OWN_MODULE)
    with monkeypatch.context() as patched:
        patched.syspath_prepend(tmp_path)
        import somebodys_network  # type: ignore[import-not-found]

        begun = task(network=somebodys_network.Scaled(), losses=somebodys_network.losses)
        expected = Learner(copy.deepcopy(begun), CPU).learn_epoch()
        carried = distributed.carried(begun)
    del sys.modules["somebodys_network"]
    assert Learner(cloudpickle.loads(carried), CPU).learn_epoch() == expected
    assert "somebodys_network" not in sys.modules
    assert "somebodys_network" not in cloudpickle.list_registry_pickle_by_value()


def test_ctrl_c_is_an_interrupt_and_is_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    @distributed.interrupts_as_before()  # type: ignore[untyped-decorator]
    def as_ray_train_does() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(0)

    with pytest.raises(KeyboardInterrupt):
        as_ray_train_does()
    assert signal.getsignal(signal.SIGINT) is before

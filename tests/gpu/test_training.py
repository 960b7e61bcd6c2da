"""Fits on a GPU: trials that share it, a worker of Ray Train, mixed precision, and going on after a death."""

import copy
import io
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from retrain.learner import Learner, Task
from retrain.model import layout
from retrain.search import search
from retrain.settings import SearchSettings
from retrain.trainers.choice import TrainerSettings, open_trainer
from retrain.trainers.torch import limited_threads
from tests.toy_examples import NUMBERS, examples, toy_data

torch = pytest.importorskip("torch")
distributed = pytest.importorskip("retrain.distributed")
digits = pytest.importorskip("examples.digits.network")
data = pytest.importorskip("examples.digits.data")

pytestmark = pytest.mark.timeout(300)
EPOCHS = 3


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_worker_niceness", "0")
        patched.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
        patched.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}")
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def task(**changes: Any) -> Task:
    begun: Task = digits.task(data.read_digits(), EPOCHS, seed=4)
    return replace(begun, **changes)


def on_gpu(task: Task, epochs: int = EPOCHS) -> Learner:
    """As a worker does: of several algorithms on a GPU, some add up in a different order each time."""
    torch.backends.cudnn.deterministic = True
    learner = Learner(task, torch.device("cuda"))
    learner.learn(epochs)
    return learner


def trainer(**options: Any) -> Any:
    return open_trainer(TrainerSettings(name="torch", options=options))


@pytest.mark.parametrize(("precision", "near"), [("fp32", 0.01), ("bf16", 0.05), ("fp16", 0.05)])
def test_a_gpu_learns_what_a_cpu_learns(precision: Any, near: float) -> None:
    """Without dropout, whose random numbers are each device's own."""
    begun = task(precision=precision)
    begun.network[6].p = 0.0
    cpu = Learner(replace(begun, network=copy.deepcopy(begun.network)), torch.device("cpu"))
    with limited_threads(1):
        cpu.learn(EPOCHS)
    gpu = on_gpu(begun)
    assert gpu.losses == pytest.approx(cpu.losses, rel=near)
    assert gpu.losses[-1] < 0.5 * gpu.losses[0]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_fit_that_goes_on_is_one_that_was_not_disturbed(precision: Any) -> None:
    whole, begun = on_gpu(task(precision=precision)), on_gpu(task(precision=precision), 1)
    kept = io.BytesIO()
    torch.save(begun.state(), kept)
    resumed = Learner(task(precision=precision), torch.device("cuda"))
    kept.seek(0)
    resumed.load(torch.load(kept, map_location="cuda", weights_only=True))
    resumed.learn(EPOCHS)
    assert resumed.losses == whole.losses
    for name, expected in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], expected), name
    scaler = whole.state()["scaler"]
    assert bool(scaler) is (precision == "fp16")  # bfloat16 has the range of fp32: nothing is scaled
    assert resumed.state()["scaler"] == scaler


class DiesOnce:
    """Cross-entropy on a GPU; in its third epoch the process is killed, the first time."""

    def __init__(self, folder: Path, storage: Path, steps: int) -> None:
        self.folder, self.storage, self.left = folder, storage, 2 * steps + 2

    def __call__(self, network: Any, rows: Any) -> Any:
        assert rows[0].is_cuda
        self.left -= 1
        if self.left == 0 and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            self._wait_for_a_checkpoint()
            os.kill(os.getpid(), signal.SIGKILL)
        return digits.row_losses(network, rows)

    def _wait_for_a_checkpoint(self) -> None:
        for _ in range(300):
            if list(self.storage.glob("*/checkpoint_manager_snapshot.json")):
                return
            time.sleep(0.1)


@pytest.mark.usefixtures("_cluster")
def test_a_killed_worker_with_a_gpu_goes_on_to_what_a_process_learns_alone(tmp_path: Path) -> None:
    begun = task()
    deadly = replace(begun, losses=DiesOnce(tmp_path, tmp_path / "fits", begun.steps_of_an_epoch))
    workers = distributed.Workers(1, cpus=1.0, gpus=1, retries=1)
    found = distributed.learn(deadly, workers, tmp_path / "fits")
    assert (tmp_path / "died").exists()
    alone = on_gpu(task())
    assert found.losses == pytest.approx(alone.losses, rel=1e-5)
    for name, expected in alone.network.state_dict().items():
        torch.testing.assert_close(found.state[name], expected.cpu(), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_cluster")
def test_trials_share_a_gpu(tmp_path: Path) -> None:
    settings = SearchSettings(trials=4, max_iterations=20, report_every=10, cpus=1, gpus=0.25)
    looks = search(toy_data(), settings, trainer(device="cuda"), tmp_path)
    assert len({it.trial for it in looks}) == 4
    assert min(it.loss for it in looks) < 0.6  # of a coin's 0.69


@pytest.mark.usefixtures("_cluster")
@pytest.mark.parametrize("options", [{"device": "cuda"}, {"gpus": 1}])
def test_the_last_fit_leaves_a_model_that_needs_no_gpu(
    options: dict[str, Any], monkeypatch: Any, tmp_path: Any
) -> None:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    rows, made = examples(2_000, 1), trainer(**options)
    fitted = made.final(rows, layout(NUMBERS, ["speed"]), made.space().defaults, 20, seed=3)
    assert {it.device.type for it in fitted.model.parameters()} == {"cpu"}
    answers = fitted.predict(rows.columns)
    losses = -np.log(np.where(rows.labels == 1, answers, 1 - answers))
    assert losses.mean() < 0.6

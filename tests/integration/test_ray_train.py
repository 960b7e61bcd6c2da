"""Ray Train for real: two workers, one is killed twice; the second time the driver gives up and is restarted."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from retrain.learner import Learner, Task
from taxiway.errors import JobError

torch = pytest.importorskip("torch")
distributed = pytest.importorskip("retrain.distributed")

STEPS = 7
EPOCHS = 4
DEATHS = 2


class Deadly:
    """Cross-entropy. The process of worker 1 is killed in the middle of its second epoch, until it was killed twice.

    Each process leaves a file as long as it has made steps.
    """

    def __init__(self, folder: Path, storage: Path) -> None:
        self.folder, self.storage = folder, storage
        self.steps, self.began = 0, 0.0

    def __call__(self, network: Any, rows: Any) -> Any:
        inputs, labels = rows
        if torch.distributed.get_rank() == 1:
            self.began = self.began or time.time()
            self.steps += 1
            with (self.folder / f"{os.getpid()}.steps").open("a") as file:
                file.write(".")
            if self.steps == STEPS + 3 and len(list(self.folder.iterdir())) <= DEATHS:
                self._wait_for_a_checkpoint()
                os.kill(os.getpid(), signal.SIGKILL)
        return torch.nn.functional.cross_entropy(network(inputs), labels, reduction="none")

    def _wait_for_a_checkpoint(self) -> None:
        """Ray's controller asks for reports now and then: by default less often than these epochs end."""
        for _ in range(600):
            if any(it.stat().st_mtime > self.began for it in self.storage.glob("*/checkpoint_manager_snapshot.json")):
                return
            time.sleep(0.1)


def losses(network: Any, rows: Any) -> Any:
    return torch.nn.functional.cross_entropy(network(rows[0]), rows[1], reduction="none")


def task(losses: Any) -> Task:
    """103 rows in mini-batches of 15: the last one has 13, and no mini-batch can be halved."""
    random = np.random.default_rng(2)
    inputs = random.normal(size=(103, 5)).astype(np.float32)
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        network = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    return Task(
        network=network,
        losses=losses,
        arrays=(inputs, inputs[:, :3].argmax(axis=1).astype(np.int64)),
        optimizer="AdamW",
        options={"lr": 0.02},
        epochs=EPOCHS,
        batch_rows=15,
        seed=6,
    )


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_worker_niceness", "0")
        patched.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
        patched.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # one process less to start
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.mark.usefixtures("_cluster")
def test_killed_workers_and_a_restarted_driver_come_to_what_one_undisturbed_process_learns(tmp_path: Path) -> None:
    deaths, storage = tmp_path / "deaths", tmp_path / "fits"
    deaths.mkdir()
    workers = distributed.Workers(2, cpus=1.0, retries=1)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(JobError, match="on 2 workers failed: the process of worker 1 died"):
        distributed.learn(task(Deadly(deaths, storage)), workers, storage)
    found = distributed.learn(task(Deadly(deaths, storage)), workers, storage)
    alone = Learner(task(losses), torch.device("cpu"))
    alone.learn(EPOCHS)
    assert found.losses == pytest.approx(alone.losses, rel=1e-5)
    assert list(found.state) == list(alone.network.state_dict())
    for name, expected in alone.network.state_dict().items():
        torch.testing.assert_close(found.state[name], expected, rtol=1e-4, atol=1e-5)
    # Each went on from the last whole epoch: killed in epochs 2 and 3, and then epochs 3 and 4.
    processes = sorted(deaths.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert [path.stat().st_size for path in processes] == [STEPS + 3, STEPS + 3, 2 * STEPS]
    with suppress(FileNotFoundError):
        assert not list(storage.iterdir())
    assert signal.getsignal(signal.SIGINT) is before

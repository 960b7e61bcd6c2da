"""Ray Train: a task learned by several workers at once (DDP), which goes on from its last checkpoint."""

import hashlib
import signal
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import cloudpickle, train
from ray.exceptions import RayError

from retrain.cluster import connected
from retrain.learner import Learner, Part, Task
from taxiway.errors import JobError
from taxiway.flavors.library import library
from taxiway.settings import home

_STATE = "state.pt"
_STARTS = 10
"""Tries to find room for all workers, of a minute each; a cluster that grows needs some."""


@dataclass(frozen=True)
class Workers:
    """The processes that learn together.

    Args:
        cpus, gpus: of each.
        retries: how often the fit begins anew from its last checkpoint when a worker dies or fails.
        save_every: epochs from one checkpoint to the next.
    """

    count: int = 1
    cpus: float = 1.0
    gpus: int = 0
    retries: int = 3
    save_every: int = 1


@dataclass(frozen=True)
class Learned:
    """The network's state dict, on the CPU, and the mean loss of each epoch."""

    state: dict[str, Any]
    losses: tuple[float, ...]


def learn(task: Task, workers: Workers, storage: str | Path | None = None) -> Learned:
    """Learns a task on the cluster that this process is connected to, else on one of its own.

    The same task and number of workers give the same result on the same kind of device. Where the driver dies or
    the retries are used up, the same call goes on from the last checkpoint; the result takes the checkpoints away.

    Args:
        storage: a folder that every node sees, or a URI; ${TAXIWAY_HOME}/retrain/fits unless given.

    Raises:
        ConfigError: no cluster can be reached or started.
        JobError: a worker has failed more often than it may; what was learned stays in `storage`.
    """
    with connected():
        _say_what_is_missing(workers)
        trainer = _trainer(task, workers, str(storage or home() / "retrain" / "fits"))
        try:
            with interrupts_as_before():
                result = trainer.fit()
        except (train.TrainingFailedError, RayError) as error:
            raise JobError(f"the training on {workers.count} workers failed: {_cause(error)}") from error
        learned = _read(result.checkpoint)
        result.filesystem.delete_dir(result.path)
        return learned


def _trainer(task: Task, workers: Workers, storage: str) -> Any:
    from ray.train.torch import TorchTrainer

    return TorchTrainer(
        _learn,
        train_loop_config={
            "task": carried(replace(task, arrays=())),
            "arrays": [ray.put(np.ascontiguousarray(values)) for values in task.arrays],
            "save_every": workers.save_every,
            "threads": max(1, int(workers.cpus)),
        },
        scaling_config=train.ScalingConfig(
            num_workers=workers.count, use_gpu=workers.gpus > 0, resources_per_worker=_resources(workers)
        ),
        run_config=train.RunConfig(
            name=f"fit-{identity(task)[:32]}",  # Ray Train takes up a run of the same name
            storage_path=storage,
            failure_config=train.FailureConfig(max_failures=workers.retries, controller_failure_limit=_STARTS),
            checkpoint_config=train.CheckpointConfig(num_to_keep=2),
            logging_config=train.LoggingConfig(log_level="ERROR"),
        ),
    )


def _resources(workers: Workers) -> dict[str, float]:
    return {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}


def _learn(config: dict[str, Any]) -> None:
    """What each worker does. It knows nothing of the driver's files: the task and its arrays come with it."""
    from ray.train.torch import get_device

    torch, device, context = library("torch"), get_device(), train.get_context()
    torch.set_num_threads(config["threads"])
    # Of several algorithms on a GPU, some add up in a different order each time.
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    task = replace(cloudpickle.loads(config["task"]), arrays=tuple(ray.get(config["arrays"])))
    rank, workers = context.get_world_rank(), context.get_world_size()
    add_up = {"add_up": torch.distributed.all_reduce} if workers > 1 else {}
    learner = Learner(task, device, Part(rank, workers, _shared, **add_up))
    if (checkpoint := train.get_checkpoint()) is not None:
        learner.load(_state(torch, checkpoint, device))
    while learner.epochs < task.epochs:
        learner.learn_epoch()
        if learner.epochs % config["save_every"] == 0 or learner.epochs == task.epochs:
            _report(torch, learner, rank == 0)


def _shared(network: Any) -> Any:
    from ray.train.torch import prepare_model

    return prepare_model(network, parallel_strategy_kwargs={"broadcast_buffers": False})


def _report(torch: Any, learner: Learner, saves: bool) -> None:
    """Every worker reports, for each waits for the others; one state is that of all."""
    with tempfile.TemporaryDirectory(prefix="taxiway-checkpoint-") as folder:
        if saves:
            torch.save(learner.state(), Path(folder) / _STATE)
        checkpoint = train.Checkpoint.from_directory(folder) if saves else None
        train.report({"epoch": learner.epochs, "loss": learner.losses[-1]}, checkpoint=checkpoint)


def _state(torch: Any, checkpoint: Any, device: Any) -> dict[str, Any]:
    with checkpoint.as_directory() as folder:
        state: dict[str, Any] = torch.load(Path(folder) / _STATE, map_location=device, weights_only=True)
        return state


def _read(checkpoint: Any) -> Learned:
    state = _state(library("torch"), checkpoint, "cpu")
    return Learned(state["network"], tuple(state["losses"]))


def identity(task: Task) -> str:
    """What must be the same for a fit to go on: everything but the number of workers."""
    losses = task.losses if hasattr(task.losses, "__qualname__") else type(task.losses)
    kept = (task.optimizer, sorted(task.options.items()), task.epochs, task.batch_rows, task.seed)
    by = f"{task.network!r} {losses.__module__}.{losses.__qualname__} {kept} {task.steps} {task.precision}"
    sha = hashlib.sha256(by.encode())
    torch = library("torch")
    for name, tensor in task.network.state_dict().items():
        sha.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    for values in task.arrays:
        sha.update(f"\0{values.dtype} {values.shape}\0".encode())
        sha.update(np.ascontiguousarray(values).data)
    return sha.hexdigest()


def carried(task: Task) -> bytes:
    """The task in a form that workers can read which can't import the modules of its network and its losses."""
    kinds = [*map(type, task.network.modules()), task.losses, type(task.losses)]
    names = {str(getattr(kind, "__module__", None)) for kind in kinds}
    modules = [sys.modules[name] for name in sorted(names) if name in sys.modules and not _is_installed(name)]
    known = cloudpickle.list_registry_pickle_by_value()
    added = [module for module in modules if module.__name__ not in known]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(task))
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)


def _is_installed(name: str) -> bool:
    """Whether a module is Python's, Taxiway's or a package's: every worker has those."""
    file = getattr(sys.modules[name], "__file__", None)
    if file is None or name.partition(".")[0] in ("retrain", "taxiway"):
        return True
    return any(Path(file).is_relative_to(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib"))


def _say_what_is_missing(workers: Workers) -> None:
    there = ray.cluster_resources()
    for name, each in _resources(workers).items():
        if (wanted := each * workers.count) > there.get(name, 0.0):
            print(f"  {wanted:g} {name}s are asked for, the cluster has {there.get(name, 0.0):g}: waits", flush=True)


def _cause(error: Exception) -> str:
    """What has failed first: Ray's own exceptions render as remote tracebacks."""
    failures: dict[int, Any] = getattr(error, "worker_failures", {})
    for rank, failure in failures.items():
        if hasattr(failure, "health_check_failure"):  # the others fail when one is gone
            return f"the process of worker {rank} died"
    found = next(iter(failures.values()), None) or getattr(error, "controller_failure", None) or error
    return f"{type(found).__name__}: {(str(found).strip().splitlines() or [''])[-1]}"


@contextmanager
def interrupts_as_before() -> Iterator[None]:
    """Ray Train takes Ctrl-C for itself, ends the process with status 0 after it, and does not give it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as left:
        raise KeyboardInterrupt from left
    finally:
        signal.signal(signal.SIGINT, before)

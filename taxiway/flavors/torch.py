"""PyTorch modules, on the CPU or on a GPU."""

import logging
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from taxiway.errors import PackageError
from taxiway.flavors.inputs import Inputs
from taxiway.flavors.library import library
from taxiway.flavors.verified import Ask
from taxiway.signature import Array, Columns

Precision = Literal["fp32", "fp16", "bf16"]
_log = logging.getLogger(__name__)
_gone = threading.Event()
"""A module that was on a GPU is no more: what PyTorch keeps of its memory can go to the GPU's other processes."""


def load(folder: Path, said: Mapping[str, Any], device: str) -> Any:
    """A module on `device`; "auto" is a GPU where there is one.

    Raises:
        PackageError: there is no such device, or the files can't be loaded there.
    """
    torch = library("torch")
    try:
        chosen = _device(torch, device)
        if chosen.type == "cpu":
            torch.set_num_threads(1)
        if torch.__version__ != said["pytorch_version"]:
            _log.warning(
                "%s was logged with PyTorch %s, this is %s", folder, said["pytorch_version"], torch.__version__
            )
        path = str(folder / said["model_data"])
        module = library("mlflow.pytorch")._load_model(
            path, map_location=chosen, device=str(chosen), weights_only=False
        )
    except RuntimeError as error:
        raise PackageError(f"{folder}: this PyTorch model can't be loaded on the device {device!r}: {error}") from error
    if chosen.type == "cuda":
        _keep_to_fp32(torch)
        weakref.finalize(module, _gone.set).atexit = False
    return module


def _device(torch: Any, wanted: str) -> Any:
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(wanted)
    if chosen.type != "cuda":
        return chosen
    if not torch.cuda.is_available():
        raise PackageError(
            f"device: {wanted} is asked for, and PyTorch finds no GPU here; say cpu or auto, or give it one with gpus"
        )
    if (chosen.index or 0) >= (found := torch.cuda.device_count()):
        raise PackageError(
            f"device: {wanted} is asked for, and this process sees {found} of them, from cuda:0 on; under Ray it sees "
            "those that it holds: say cuda"
        )
    return chosen


def _keep_to_fp32(torch: Any) -> None:
    """cuDNN computes in TF32 unless told otherwise, 10 bits where fp32 has 23: a CPU would answer something else."""
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cudnn.rnn.fp32_precision = "ieee"


def ask(module: Any, inputs: Inputs, precision: Precision) -> Ask:
    """Raises PackageError for inputs that are no numbers."""
    torch = library("torch")
    for column in inputs.columns:
        if column.is_object:
            raise PackageError(f"{column.name}: a PyTorch model takes numbers, not {column.dtype}")
    device = next((held.device for held in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    reduced = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]

    def on_device(values: Array) -> Any:
        tensor = torch.from_numpy(np.require(values, requirements=("C", "W")))
        return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)

    def predict(columns: Columns) -> Any:
        arguments = (
            [inputs.matrix(columns, np.float32)] if inputs.is_frame else [columns[name] for name in inputs.names]
        )
        # Autocast, because it keeps in 32 bits what needs them: norms, sums, softmax.
        with torch.inference_mode(), torch.autocast(device.type, dtype=reduced, enabled=reduced is not None):
            answer = _on_host(module(*map(on_device, arguments)), torch)
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
            _give_back(torch)
        return _as_arrays(answer, torch)

    return predict


def _give_back(torch: Any) -> None:
    """Here, and not when the module goes: its memory is free only after its finalizer has run."""
    if _gone.is_set():
        _gone.clear()
        torch.cuda.empty_cache()


def _on_host(answer: Any, torch: Any) -> Any:
    """Starts the copies to pinned memory; they are complete when the stream is."""
    if isinstance(answer, Mapping):
        return {name: _on_host(value, torch) for name, value in answer.items()}
    if isinstance(answer, list | tuple):
        return tuple(_on_host(value, torch) for value in answer)
    if not isinstance(answer, torch.Tensor):
        raise TypeError(f"the module must answer tensors, it answered {type(answer).__name__}")
    widened = answer.float() if answer.dtype == torch.bfloat16 else answer
    if widened.device.type == "cpu":
        return widened
    return torch.empty(widened.shape, dtype=widened.dtype, pin_memory=True).copy_(widened, non_blocking=True)


def _as_arrays(answer: Any, torch: Any) -> Any:
    if isinstance(answer, dict):
        return {name: _as_arrays(value, torch) for name, value in answer.items()}
    if isinstance(answer, tuple):
        return tuple(_as_arrays(value, torch) for value in answer)
    return answer.numpy()

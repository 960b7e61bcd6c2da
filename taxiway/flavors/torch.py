"""PyTorch modules, on the CPU or on a GPU."""

import logging
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


def load(folder: Path, device: str) -> Any:
    """A module on `device`; "auto" is a GPU where there is one."""
    torch = library("torch")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        if chosen.type == "cuda" and not torch.cuda.is_available():
            raise PackageError(f"device: {device} is asked for, and PyTorch finds no GPU here; say cpu or auto")
        if chosen.type == "cpu":
            torch.set_num_threads(1)
        return library("mlflow.pytorch").load_model(
            str(folder), map_location=chosen, device=str(chosen), weights_only=False
        )
    except RuntimeError as error:
        raise PackageError(f"{folder}: this PyTorch model can't be loaded on the device {device!r}: {error}") from error


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
        return _as_arrays(answer, torch)

    return predict


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

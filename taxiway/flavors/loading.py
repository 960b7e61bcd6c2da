"""Which flavor a logged model has, and how it is loaded and asked."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from mlflow.models import Model

from taxiway.errors import PackageError, TaxiwayError
from taxiway.flavors import lightgbm, pyfunc, sklearn, torch, xgboost
from taxiway.flavors.inputs import Inputs
from taxiway.flavors.logged import flavor_of
from taxiway.flavors.verified import Ask

Flavor = Literal["sklearn", "xgboost", "lightgbm", "torch", "pyfunc"]
_MLFLOW_NAMES: dict[Flavor, str] = {
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "torch": "pytorch",
    "pyfunc": "python_function",
}
"""The fastest first: nearly every logged model is a python_function too."""


@dataclass(frozen=True)
class Placement:
    """Where a model computes and how exactly. Only PyTorch models heed it; the others stay on the CPU."""

    device: str = "auto"
    precision: torch.Precision = "fp32"


def best_flavor(found: Collection[str]) -> Flavor:
    """Raises PackageError when nothing here can run the model."""
    for flavor, name in _MLFLOW_NAMES.items():
        if name in found:
            return flavor
    raise PackageError(
        f"the model was logged as {', '.join(sorted(found)) or 'nothing'}; "
        f"it must be one of {', '.join(_MLFLOW_NAMES.values())}"
    )


def load_native(flavor: Flavor, folder: Path, logged: Model, placement: Placement) -> Any:
    """The model as its own library knows it.

    Args:
        logged: what the folder's `MLmodel` says.

    Raises:
        PackageError: it can't be loaded.
    """
    try:
        if flavor == "pyfunc":
            return pyfunc.load(folder)
        said = flavor_of(logged, _MLFLOW_NAMES[flavor], folder)
        if flavor == "torch":
            return torch.load(folder, said, placement.device)
        return {"sklearn": sklearn, "xgboost": xgboost, "lightgbm": lightgbm}[flavor].load(folder, said)
    except TaxiwayError:
        raise
    except Exception as error:
        raise PackageError(f"{folder}: this model can't be loaded: {type(error).__name__}: {error}") from error


def ask_of(flavor: Flavor, model: Any, inputs: Inputs, method: str, placement: Placement) -> Ask:
    """How a loaded model is asked; `method` is for models that have several."""
    if flavor == "torch":
        return torch.ask(model, inputs, placement.precision)
    if flavor == "pyfunc":
        return pyfunc.ask(model, inputs)
    tabular = {"sklearn": sklearn, "xgboost": xgboost, "lightgbm": lightgbm}[flavor]
    return cast("Ask", tabular.ask(model, inputs, method))

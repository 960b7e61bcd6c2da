"""Models that were logged with plain MLflow, and nothing of ours: what they take and answer is found out."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from mlflow.models import Model

from taxiway.errors import PackageError
from taxiway.flavors.answers import NamedPredictor, settled
from taxiway.flavors.inputs import Inputs, empty_values
from taxiway.flavors.loading import Flavor, Placement, ask_of, best_flavor, load_native
from taxiway.flavors.mlflow_signature import read_columns, read_inputs
from taxiway.flavors.verified import Ask
from taxiway.signature import Array, Column, Columns, Signature

OutputKind = Literal["probability", "value", "label", "tensor"]
_log = logging.getLogger(__name__)
_NO_SIGNATURE = (
    "this model has no signature, so nobody knows what it takes: "
    "mlflow.models.set_signature(uri, mlflow.models.infer_signature(inputs, outputs)) adds one to a logged model; "
    "register that as a new version"
)


@dataclass(frozen=True)
class PlainModel:
    """A loaded model and what is known of it. `method` is the one that MLflow's pyfunc calls."""

    flavor: Flavor
    signature: Signature
    output_kind: OutputKind
    method: str
    predictor: NamedPredictor


def load_plain(folder: Path, logged: Model, placement: Placement, require_signature: bool) -> PlainModel:
    """Raises PackageError: it has no usable signature, or it can't be loaded or asked."""
    flavor = best_flavor(logged.flavors)
    has_inputs = logged.signature is not None and logged.signature.inputs is not None
    if require_signature and not has_inputs:
        raise PackageError(f"{folder}: {_NO_SIGNATURE}")
    known = read_inputs(logged.signature.inputs) if has_inputs else None
    model = load_native(flavor, folder, logged, placement)
    inputs = known or Inputs(_own_names(model, folder), "frame")
    method = logged.flavors.get("python_function", {}).get("predict_fn", "predict")
    ask = ask_of(flavor, model, inputs, method, placement)
    outputs = _outputs(logged, folder, inputs, ask)
    kind = output_kind(outputs, has_classes=hasattr(model, "classes_"))
    return PlainModel(
        flavor, Signature(inputs=inputs.columns, outputs=outputs), kind, method, NamedPredictor(ask, outputs)
    )


def output_kind(outputs: tuple[Column, ...], has_classes: bool) -> OutputKind:
    """What can be told from the outputs themselves; a float may be a probability, but nothing says so."""
    if len(outputs) != 1 or outputs[0].shape:
        return "tensor"
    return "value" if outputs[0].dtype.startswith("float") and not has_classes else "label"


def _own_names(model: Any, folder: Path) -> tuple[Column, ...]:
    """The inputs that a model of numbers knows by itself."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        names = getattr(model, "feature_names", None)  # a booster of XGBoost
    if names is None and callable(getattr(model, "feature_name", None)):
        names = model.feature_name()  # a booster of LightGBM
    if names is None and isinstance(count := getattr(model, "n_features_in_", None), int):
        names = [f"input_{place}" for place in range(count)]
    if names is None or not len(names):
        raise PackageError(f"{folder}: {_NO_SIGNATURE}; this model does not know the names of its inputs itself")
    return tuple(Column(name=str(name), dtype="float64", nullable=True, required=True, finite=False) for name in names)


def _outputs(logged: Model, folder: Path, inputs: Inputs, ask: Ask) -> tuple[Column, ...]:
    declared = _declared_outputs(logged)
    example = example_columns(folder, logged, inputs)
    trials = [example] if example is not None else []
    trials += [{column.name: empty_values(column, rows) for column in inputs.columns} for rows in (2, 1)]
    try:
        return settled(declared, lambda: _first_answer(ask, trials))
    except ValueError as error:
        raise PackageError(
            f"{folder}: the signature names no outputs, and a first prediction to find them failed: {error}; "
            "log the model with its outputs in the signature, or with an input example"
        ) from error


def _declared_outputs(logged: Model) -> tuple[Column, ...]:
    """Nothing where the signature says nothing that a column can be: an answer will tell."""
    schema = logged.signature.outputs if logged.signature is not None else None
    try:
        return read_columns(schema, "output") if schema is not None else ()
    except PackageError as error:
        _log.info("the outputs are found by a prediction: %s", error)
        return ()


def _first_answer(ask: Ask, trials: Sequence[Columns]) -> Any:
    for trial in trials[:-1]:
        try:
            return ask(trial)
        except Exception as error:  # noqa: BLE001 - invented rows may be impossible ones
            _log.debug("a trial prediction failed", exc_info=error)
    return ask(trials[-1])


def example_columns(folder: Path, logged: Model, inputs: Inputs) -> dict[str, Array] | None:
    """The input example that was logged with a model; None where there is none of this form."""
    try:
        example = logged.load_input_example(str(folder))
        return None if example is None else _columns_of(example, inputs)
    except Exception as error:  # noqa: BLE001 - an example is a convenience, and may be anything
        _log.warning("the input example of %s can't be used: %s", folder, error)
        return None


def _columns_of(example: Any, inputs: Inputs) -> dict[str, Array]:
    if inputs.form == "tensor" and not isinstance(example, Mapping):
        values: list[Any] = [example]
    elif isinstance(example, Mapping):
        values = [np.atleast_1d(example[name]) for name in inputs.names]
    else:
        table = pd.DataFrame(example)
        by_name = set(inputs.names) <= set(table.columns)
        values = [table[name] if by_name else table.iloc[:, place] for place, name in enumerate(inputs.names)]
    return {
        column.name: np.asarray(given, dtype=column.numpy_dtype)
        for column, given in zip(inputs.columns, values, strict=True)
    }

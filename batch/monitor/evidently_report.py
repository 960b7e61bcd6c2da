"""Evidently's reports of the same window: data drift, and performance where ground truth is there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from batch.monitor.quality import Judged, Task
from batch.monitor.reference import Reference
from batch.monitor.window import Current
from taxiway.errors import ConfigError
from taxiway.signature import Array, Column, Columns

_MISSING = "evidently: Evidently is not installed; `pip install 'taxiway[monitoring]'`, or set evidently: false"


def check_installed() -> None:
    """Raises ConfigError when it is not."""
    try:
        import evidently  # noqa: F401
    except ImportError as error:
        raise ConfigError(_MISSING) from error


def drift_files(columns: Sequence[Column], current: Current, reference: Reference) -> dict[str, str]:
    """`evidently_drift.html` and `.json`; nothing without rows of a reference. Tensors and bytes are left out."""
    if not reference.has_rows:
        return {}
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    shown = [it for it in columns if not it.shape and it.dtype != "bytes"]
    frames = [frame(shown, it.columns, it.outputs) for it in (current, reference)]
    kept = [it for it in shown if all(it.name in one and one[it.name].notna().any() for one in frames)]
    if not kept:
        return {}
    definition = DataDefinition(
        numerical_columns=[it.name for it in kept if _is_number(it)],
        categorical_columns=[it.name for it in kept if not _is_number(it)],
    )
    sets = [Dataset.from_pandas(one[[it.name for it in kept]], data_definition=definition) for one in frames]
    return _files("evidently_drift", Report([DataDriftPreset()]).run(*sets))


def performance_files(rows: Judged, reference: Reference, output: str) -> dict[str, str]:
    """`evidently_performance.html` and `.json`, beside the reference where that has labels."""
    from evidently import Dataset, Report
    from evidently.presets import ClassificationPreset, RegressionPreset

    current = _labelled(rows.task, rows.labels, rows.outputs)
    beside = None
    if reference.labels is not None and rows.task != "label":
        beside = _labelled(rows.task, reference.labels, reference.outputs[output])
    definition = _definition(rows.task, current)
    sets = [it if it is None else Dataset.from_pandas(it, data_definition=definition) for it in (current, beside)]
    preset: Any = RegressionPreset() if rows.task == "value" else ClassificationPreset()
    return _files("evidently_performance", Report([preset]).run(*sets))


def _definition(task: Task, labelled: pd.DataFrame) -> Any:
    from evidently import BinaryClassification, DataDefinition, MulticlassClassification, Regression

    names = {"target": "target"}
    if task == "value":
        return DataDefinition(
            numerical_columns=list(labelled), regression=[Regression(prediction="prediction", **names)]
        )
    if task == "probability":
        binary = BinaryClassification(prediction_probas="prediction", pos_label=1, **names)
        return DataDefinition(numerical_columns=["prediction"], categorical_columns=["target"], classification=[binary])
    classes = sorted({*labelled["target"], *labelled["prediction"]})
    # Of two classes Evidently wants to know which one is the positive one.
    kind: Any = MulticlassClassification if len(classes) > 2 else BinaryClassification
    positive = {} if len(classes) > 2 else {"pos_label": classes[-1]}
    labels = kind(prediction_labels="prediction", **names, **positive)
    return DataDefinition(categorical_columns=list(labelled), classification=[labels])


def frame(columns: Sequence[Column], given: Columns, outputs: Columns) -> pd.DataFrame:
    """Inputs, features and outputs as one table; Evidently takes no infinite numbers."""
    values = dict(given) | dict(outputs)
    return pd.DataFrame({it.name: _plain(it, values[it.name]) for it in columns if it.name in values})


def _plain(column: Column, values: Array) -> Array:
    if _is_number(column):
        numbers = values.astype(np.float64)
        return np.where(np.isfinite(numbers), numbers, np.nan)
    return np.array([None if value is None or value != value else str(value) for value in values], np.object_)


def _is_number(column: Column) -> bool:
    return column.dtype not in ("string", "bool")


def _labelled(task: Task, labels: Array, outputs: Array) -> pd.DataFrame:
    if task == "label":
        return pd.DataFrame({"target": labels.astype(str), "prediction": outputs.astype(str)})
    kept = np.isfinite(labels.astype(np.float64)) & np.isfinite(outputs.astype(np.float64))
    target = labels[kept].astype(np.int64 if task == "probability" else np.float64)
    return pd.DataFrame({"target": target, "prediction": outputs[kept].astype(np.float64)})


def _files(name: str, snapshot: Any) -> dict[str, str]:
    return {f"{name}.html": str(snapshot.get_html_str(as_iframe=False)), f"{name}.json": str(snapshot.json())}

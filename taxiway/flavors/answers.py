"""What a model's predict answers, in whatever form, as named outputs of the declared types."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from taxiway.flavors.verified import Ask
from taxiway.signature import Array, Column, Columns, ColumnType


@dataclass(frozen=True)
class NamedPredictor:
    """A loaded model of any flavor: a `taxiway.scoring.Predictor`."""

    ask: Ask
    outputs: tuple[Column, ...]

    def predict(self, columns: Columns) -> dict[str, Array]:
        """Raises ValueError when the model's answer is not what its signature says."""
        return named(self.ask(columns), self.outputs)


def positive(ask: Ask) -> Ask:
    """Of the probabilities of two classes, the second; a single probability stays."""

    def probability(columns: Columns) -> Any:
        answer = ask(columns)
        return answer[:, 1] if answer.ndim == 2 and answer.shape[1] == 2 else answer

    return probability


def named(answer: Any, outputs: Sequence[Column]) -> dict[str, Array]:
    """The outputs of an answer by name; by position where it has no names.

    Raises:
        ValueError: the answer does not hold them.
    """
    if len(outputs) == 1 and type(answer) is np.ndarray:
        return {outputs[0].name: _fitted(answer, outputs[0])}
    found = unnamed_or_named(answer)
    if not all(column.name in found for column in outputs):
        found = dict(zip((column.name for column in outputs), _in_order(list(found.values()), outputs), strict=True))
    return {column.name: _fitted(found[column.name], column) for column in outputs}


def unnamed_or_named(answer: Any) -> dict[str, Array]:
    """Every part of an answer; those without a name are `output`, or `output_0` and so on."""
    if isinstance(answer, list) and answer and all(isinstance(row, Mapping) for row in answer):
        answer = pd.DataFrame(answer)
    if isinstance(answer, pd.DataFrame):
        parts = [array_of(answer.iloc[:, place]) for place in range(answer.shape[1])]
        has_names = all(isinstance(name, str) for name in answer.columns)
        return dict(zip(answer.columns, parts, strict=True)) if has_names else _numbered(parts)
    if isinstance(answer, Mapping):
        return {str(name): array_of(values) for name, values in answer.items()}
    return _numbered([array_of(part) for part in answer] if isinstance(answer, tuple) else [array_of(answer)])


def _numbered(parts: Sequence[Array]) -> dict[str, Array]:
    return {"output": parts[0]} if len(parts) == 1 else {f"output_{place}": part for place, part in enumerate(parts)}


def _in_order(parts: list[Array], outputs: Sequence[Column]) -> list[Array]:
    if len(parts) == len(outputs):
        return parts
    if len(outputs) == 1 and all(part.ndim == 1 for part in parts):
        return [np.column_stack(parts)]
    if len(parts) == 1 and parts[0].ndim == 2 and parts[0].shape[1] == len(outputs):
        return list(parts[0].T)
    wanted = ", ".join(column.name for column in outputs)
    raise ValueError(f"the model's signature has the outputs {wanted}; it answered {len(parts)} others")


def array_of(values: Any) -> Array:
    """One part of an answer as an array; texts and bytes as objects.

    Raises:
        ValueError: rows of different shapes, or objects that are neither numbers nor texts.
    """
    if hasattr(values, "detach"):
        detached = values.detach().cpu()
        return np.asarray((detached if detached.dtype.itemsize != 2 else detached.float()).numpy())
    if hasattr(values, "toarray"):
        return np.asarray(values.toarray())
    if isinstance(values, pd.Series | pd.api.extensions.ExtensionArray):
        values = _of_pandas(pd.Series(values))
    found = np.atleast_1d(np.asarray(values))
    if found.dtype.kind == "M":
        found = np.datetime_as_string(found)
    if found.dtype.kind in "US":
        return found.astype(np.object_)
    return _of_objects(found) if found.dtype.kind == "O" else found


def _of_pandas(values: "pd.Series[Any]") -> Array:
    if not isinstance(values.dtype, pd.api.extensions.ExtensionDtype):
        return values.to_numpy()
    if pd.api.types.is_numeric_dtype(values.dtype) and values.hasnans:
        return values.to_numpy(np.float64, na_value=np.nan)
    return values.to_numpy(values.dtype.numpy_dtype if hasattr(values.dtype, "numpy_dtype") else None)


def _of_objects(found: Array) -> Array:
    """Python objects: texts and bytes stay, numbers and lists of numbers become arrays."""
    kinds = {type(value) for value in found.flat if value is not None and value == value}
    if kinds <= {str, np.str_} or kinds <= {bytes, np.bytes_}:
        return found
    converted = np.array([np.nan if value is None else value for value in found.tolist()])
    if converted.dtype.kind not in "biuf":
        raise ValueError(f"the model answered {', '.join(sorted(kind.__name__ for kind in kinds))}; expected numbers")
    return converted


def _fitted(values: Array, column: Column) -> Array:
    """The values in the column's own type and shape, where that loses nothing."""
    if values.dtype != column.numpy_dtype:
        values = _of_type(array_of(values), column)
    if column.takes_shape(values.shape[1:]):
        return values
    if values.shape[1:] == (1,) and not column.shape:
        return values[:, 0]
    if values.ndim == 1 and column.takes_shape((1,)):
        return values[:, None]
    raise ValueError(f"{column.name}: expected values of shape {list(column.shape)}, got {list(values.shape[1:])}")


def _of_type(values: Array, column: Column) -> Array:
    if column.is_object != (values.dtype.kind == "O") or not np.can_cast(values.dtype, column.numpy_dtype, "safe"):
        raise ValueError(f"{column.name}: the signature says {column.dtype}, the model answered {values.dtype}")
    return values.astype(column.numpy_dtype, copy=False)


def described(parts: Mapping[str, Array]) -> tuple[Column, ...]:
    """The columns that an answer's parts are."""
    return tuple(
        Column(name=name, dtype=_column_type(values), shape=values.shape[1:]) for name, values in parts.items()
    )


def _column_type(values: Array) -> ColumnType:
    if values.dtype.kind != "O":
        return cast("ColumnType", values.dtype.name)
    return "bytes" if any(isinstance(value, bytes) for value in values.flat) else "string"


def settled(declared: Sequence[Column], trial: Callable[[], Any]) -> tuple[Column, ...]:
    """The outputs as the signature declares them, unless a first answer shows that they are others.

    Raises:
        ValueError: nothing is declared, and there is no answer to learn from.
    """
    try:
        answer = trial()
    except Exception as error:
        if declared:
            return tuple(declared)
        raise ValueError(f"{type(error).__name__}: {error}") from error
    try:
        if declared:
            named(answer, declared)
            return tuple(declared)
    except ValueError:
        pass
    return described(unnamed_or_named(answer))

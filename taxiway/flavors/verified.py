"""A faster way to ask a model, taken only when it answers the same bits as the way that MLflow goes."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from taxiway.flavors.inputs import Inputs, empty_values
from taxiway.signature import Array, Column, Columns

Ask = Callable[[Columns], Any]
"""Columns to whatever the model's own predict answers."""
_PROBE_ROWS = 256


def verified(faster: Ask, reference: Ask, inputs: Inputs) -> Ask:
    """`faster`, when on random rows, one and many, with and without missing values, it does what `reference` does."""
    probes = [_probe(inputs, rows, missing) for rows in (1, _PROBE_ROWS) for missing in (0.0, 0.2)]
    outcomes = [(_outcome(faster, probe, may_warn=False), _outcome(reference, probe)) for probe in probes]
    # A model that refuses every probe has not been compared with anything.
    if all(expected is None for _, expected in outcomes):
        return reference
    return faster if all(_same(found, expected) for found, expected in outcomes) else reference


def _probe(inputs: Inputs, rows: int, missing: float) -> dict[str, Array]:
    random = np.random.default_rng(rows)
    return {column.name: _values(column, rows, missing, random) for column in inputs.columns}


def _values(column: Column, rows: int, missing: float, random: np.random.Generator) -> Array:
    values = empty_values(column, rows)
    kind = values.dtype.kind
    if kind in "iu":
        # Few digits, so that known categories are among them.
        return random.integers(0, 100, values.shape).astype(values.dtype)
    if kind == "f":
        scale = 10.0 ** random.integers(-2, 4, values.shape)
        values[:] = random.standard_normal(values.shape) * scale
        values[random.random(values.shape) < missing] = np.nan
    return values


def _outcome(ask: Ask, probe: Columns, may_warn: bool = True) -> Array | None:
    """The answer; None when it raises."""
    # Recorded, not raised: the filters are the whole process's, and other threads may be predicting.
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            answer = np.asarray(ask(probe))
        except Exception:  # noqa: BLE001 - models raise what they like
            return None
    return answer if may_warn or not any(issubclass(it.category, UserWarning) for it in warned) else None


def _same(found: Array | None, expected: Array | None) -> bool:
    if found is None or expected is None:
        return found is expected
    same_form = found.dtype == expected.dtype and found.shape == expected.shape
    return same_form and np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")

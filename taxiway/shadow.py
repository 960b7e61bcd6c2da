"""How far a shadow's answers are from the live ones."""

import numpy as np

from taxiway.signature import Columns


def differences(live: Columns, shadow: Columns) -> dict[str, float]:
    """For each output that both gave: the mean absolute difference of numbers, the share of other values that differ.

    A value that is missing (NaN) on both sides is equal, on one side it differs by 1. Outputs of another
    shape are left out: they can't be compared value by value.
    """
    return {
        name: _difference(values, shadow[name])
        for name, values in live.items()
        if name in shadow and shadow[name].shape == values.shape and values.size
    }


def _difference(
    live: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]",
    shadow: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]",
) -> float:
    if live.dtype.kind not in "iuf" or shadow.dtype.kind not in "iuf":
        return float(np.mean(live != shadow))
    one, other = live.astype(np.float64), shadow.astype(np.float64)
    missing = np.isnan(one) | np.isnan(other)
    apart = np.abs(one - other)
    apart[missing] = 1.0
    apart[np.isnan(one) & np.isnan(other)] = 0.0
    return float(np.mean(apart))

"""Which branch of a switch each row takes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taxiway.graph.columns import is_number, shown
from taxiway.graph.settings import SwitchCase
from taxiway.signature import Array, Column


def in_the_way(column: Column, case: SwitchCase) -> str | None:
    """Why a case can't be judged on a column; None when it can."""
    if column.shape or column.dtype == "bytes":
        return f"a switch looks at a string, a number or a boolean, and {column.name!r} is {shown(column)}"
    if case.one_of is None:
        return (
            None
            if is_number(column)
            else f"at_least and below are for numbers, and {column.name!r} is a {column.dtype}"
        )
    for value in case.one_of:
        kind = "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        if kind != ("number" if is_number(column) else column.dtype):
            return f"{value!r} is no value of {column.name!r}, a {column.dtype}"
        if column.categories is not None and value not in column.categories:
            return f"{value!r} is no category of {column.name!r}; its categories are {', '.join(column.categories)}"
    return None


def branches(values: Array, cases: Sequence[SwitchCase]) -> NDArray[np.intp]:
    """The position of the first case that holds for each value, `len(cases)` where none does."""
    chosen = np.full(len(values), len(cases), np.intp)
    for position in reversed(range(len(cases))):
        chosen[_holds(values, cases[position])] = position
    return chosen


def _holds(values: Array, case: SwitchCase) -> NDArray[np.bool_]:
    """A missing value is in no set and in no range."""
    if case.one_of is not None:
        if values.dtype != np.object_:
            return np.isin(values, case.one_of)
        wanted = set(case.one_of)
        return np.fromiter((value in wanted for value in values), np.bool_, len(values))
    holds = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), np.bool_)
    if case.at_least is not None:
        holds &= values >= case.at_least
    if case.below is not None:
        holds &= values < case.below
    return holds

"""Values as text gives them, in CSV or in a form's fields, to what JSON would have given."""

from math import nan
from typing import Any

from taxiway.errors import InvalidInput
from taxiway.json_values import shown_value
from taxiway.signature import Column, RejectCode

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none"})
"""How pandas, R and SQL write a missing number; in a string these are letters."""


def from_text(column: Column, text: str) -> Any:
    """The value of one cell; an empty one is missing, a string is kept as it is.

    Raises:
        InvalidInput: the text is no value of the column's type.
    """
    if column.shape:
        reason = f"a tensor of shape {list(column.shape)} can't come as text; send JSON"
        raise InvalidInput(RejectCode.WRONG_SHAPE, column.name, reason)
    if text == "":
        return None
    if column.is_object:
        return text
    text = text.strip()
    if text.casefold() in _MISSING:
        return nan if column.dtype.startswith("float") else None
    found = _number(column, text)
    if found is None:
        reason = f"expected a {column.dtype}, got {shown_value(text)}"
        raise InvalidInput(RejectCode.WRONG_TYPE, column.name, reason)
    return found


def _number(column: Column, text: str) -> bool | int | float | None:
    if column.dtype == "bool":
        return _BOOLEANS.get(text.casefold())
    if "_" in text:  # Python reads 1_000 as a number; nobody who writes CSV means that
        return None
    try:
        return float(text) if column.dtype.startswith("float") else int(text)
    except ValueError:
        return _whole(text)


def _whole(text: str) -> int | None:
    """An integer that was written as a float, which is what pandas does to a column with missing values."""
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None

"""The `filter` of a scoring job: a condition over columns, written as in Python, read without running it."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
}
_MIRRORED = {"less": "greater", "greater": "less", "less_equal": "greater_equal", "greater_equal": "less_equal"}
_EXPECTED = "expected COLUMN == VALUE and the like, joined by and, or, not"
Mask = Callable[[pa.Table], Any]


@dataclass(frozen=True)
class Filter:
    """A condition; `columns` are those that it reads."""

    columns: tuple[str, ...]
    _mask: Mask

    def mask(self, table: pa.Table) -> "pa.ChunkedArray[Any]":
        """Which rows stay; a comparison with a missing value is false, as in SQL.

        Raises:
            ValueError: a column's type can't be compared with the value that the condition names.
        """
        try:
            mask: pa.ChunkedArray[Any] = pc.fill_null(self._mask(table), cast("Any", False))
        except pa.ArrowException as error:
            raise ValueError(f"filter: {error}") from error
        return mask


def parse_filter(text: str) -> Filter:
    """Raises ValueError for what is no condition."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(f"filter: {text!r}: {error.msg}") from error
    mask = _condition(tree.body, text)
    names = dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    return Filter(tuple(names), mask)


def _condition(node: ast.expr, text: str) -> Mask:
    if isinstance(node, ast.BoolOp):
        parts = [_condition(part, text) for part in node.values]
        join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        return lambda table: reduce(join, [part(table) for part in parts])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _condition(node.operand, text)
        return lambda table: pc.invert(inner(table))
    if isinstance(node, ast.Name):
        name = node.id
        return lambda table: table.column(name).cast(pa.bool_())
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        pairs = [
            _comparison(left, op, right, text) for left, op, right in zip(sides, node.ops, sides[1:], strict=False)
        ]
        return lambda table: reduce(pc.and_kleene, [pair(table) for pair in pairs])
    raise ValueError(f"filter: {ast.unparse(node)!r} in {text!r}: {_EXPECTED}")


def _comparison(left: ast.expr, op: ast.cmpop, right: ast.expr, text: str) -> Mask:
    if isinstance(op, ast.Is | ast.IsNot | ast.In | ast.NotIn):
        return _membership(_name(left, text), op, _value(right, text), text)
    function = _COMPARE[type(op)]
    if isinstance(left, ast.Name) and isinstance(right, ast.Name):
        first, second = left.id, right.id
        return lambda table: pc.call_function(function, [table.column(first), table.column(second)])
    if not isinstance(left, ast.Name):
        left, right, function = right, left, _MIRRORED.get(function, function)
    name, value = _name(left, text), _value(right, text)
    if value is None:
        raise ValueError(f"filter: {text!r}: compare with `is None` or `is not None`")
    return lambda table: pc.call_function(function, [table.column(name), _scalar(value, table.column(name).type)])


def _membership(name: str, op: ast.cmpop, value: Any, text: str) -> Mask:
    negated = isinstance(op, ast.IsNot | ast.NotIn)
    if isinstance(op, ast.Is | ast.IsNot):
        if value is not None:
            raise ValueError(f"filter: {text!r}: `is` is for None; compare values with ==")

        def missing(table: pa.Table) -> Any:
            found = pc.is_null(table.column(name), nan_is_null=True)
            return pc.invert(found) if negated else found

        return missing
    if not isinstance(value, tuple):
        raise ValueError(f"filter: {text!r}: `in` needs values in brackets")

    def member(table: pa.Table) -> Any:
        column = table.column(name)
        values = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        found = pc.is_in(
            values, value_set=pa.array([_scalar(item, values.type).as_py() for item in value], values.type)
        )
        known = pc.is_valid(values)
        return pc.and_(pc.invert(found) if negated else found, known)

    return member


def _name(node: ast.expr, text: str) -> str:
    if not isinstance(node, ast.Name):
        raise ValueError(f"filter: {ast.unparse(node)!r} in {text!r}: expected a column's name")
    return node.id


def _value(node: ast.expr, text: str) -> Any:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"filter: {ast.unparse(node)!r} in {text!r}: expected a value") from None
    return tuple(value) if isinstance(value, list | set) else value


def _scalar(value: Any, kind: pa.DataType) -> "pa.Scalar[Any]":
    """A value in the column's own type, where it is a text that means a moment."""
    if isinstance(value, str) and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        moment = datetime.fromisoformat(value)
        day: date = moment.date()
        return pa.scalar(day if pa.types.is_date(kind) else moment, kind)
    found: pa.Scalar[Any] = pa.scalar(value)
    return found

"""What present callers of a champion would notice of a challenger's signature."""

from collections.abc import Iterator

import numpy as np

from taxiway.signature import Column, Signature


def breaking_changes(champion: Signature, challenger: Signature) -> tuple[str, ...]:
    """A sentence for everything in which the challenger refuses, or answers otherwise, what callers send today.

    What only adds does not break: optional inputs, wider ranges, more categories, a further output beside
    several.
    """
    return (*_broken_inputs(champion, challenger), *_broken_outputs(champion, challenger))


def _broken_inputs(champion: Signature, challenger: Signature) -> Iterator[str]:
    offered = challenger.input_by_name
    for present in champion.inputs:
        if (column := offered.get(present.name)) is None:
            yield f"input {present.name} is gone, and a request that brings it is refused"
        else:
            yield from (f"input {present.name} {what}" for what in _narrowed(present, column))
    for column in challenger.inputs:
        if column.name not in champion.input_by_name and column.is_required:
            yield f"input {column.name} is new and required"
    kept = [column.name for column in challenger.inputs if column.name in champion.input_by_name]
    before = [column.name for column in champion.inputs if column.name in offered]
    if kept != before:
        yield (
            f"the inputs come in another order ({', '.join(kept)} in place of {', '.join(before)}): rows without names "
            "would be misread"
        )


def _narrowed(present: Column, column: Column) -> Iterator[str]:
    """In what `column` takes less than `present`."""
    if column.dtype != present.dtype:
        yield f"was {present.dtype} and is {column.dtype}"
        return
    if not _takes_all_shapes(column, present):
        yield f"had rows of shape {list(present.shape)} and has {list(column.shape)}"
    if column.is_required and not present.is_required:
        yield "could be left out and is required"
    if present.nullable and not column.nullable:
        yield "could be missing in a row and must have a value"
    if column.finite and not present.finite:
        yield "could be infinite and must be finite"
    yield from _fewer_categories(present, column)
    yield from _narrower_range(present, column)


def _takes_all_shapes(column: Column, present: Column) -> bool:
    return len(column.shape) == len(present.shape) and all(
        taken in (-1, size) for taken, size in zip(column.shape, present.shape, strict=True)
    )


def _fewer_categories(present: Column, column: Column) -> Iterator[str]:
    if column.categories is None:
        return
    if present.categories is None:
        yield "took any string and takes listed categories only"
    elif gone := [it for it in present.categories if it not in column.category_index]:
        yield f"no longer takes {', '.join(gone)}"


def _narrower_range(present: Column, column: Column) -> Iterator[str]:
    lowest, highest = _range(present)
    if column.minimum is not None and column.minimum > lowest:
        yield f"must be at least {column.minimum:g}, and was taken from {lowest:g}"
    if column.maximum is not None and column.maximum < highest:
        yield f"must be at most {column.maximum:g}, and was taken up to {highest:g}"


def _range(column: Column) -> tuple[float, float]:
    """The smallest and the largest value that a column takes; what its integer type can't hold does not count."""
    lowest, highest = -np.inf, np.inf
    if column.numpy_dtype.kind in "iu":
        lowest, highest = float(np.iinfo(column.numpy_dtype).min), float(np.iinfo(column.numpy_dtype).max)
    return (
        lowest if column.minimum is None else max(lowest, column.minimum),
        highest if column.maximum is None else min(highest, column.maximum),
    )


def _broken_outputs(champion: Signature, challenger: Signature) -> Iterator[str]:
    given = {column.name: column for column in challenger.outputs}
    for present in champion.outputs:
        column = given.get(present.name)
        if column is None:
            yield f"output {present.name} is gone"
        elif (column.dtype, column.shape) != (present.dtype, present.shape):
            yield f"output {present.name} was {_typed(present)} and is {_typed(column)}"
        elif column.nullable and not present.nullable:
            yield f"output {present.name} may be missing in a row and had always a value"
    if len(champion.outputs) == 1 < len(challenger.outputs):
        yield "a single output has become several, and TensorFlow Serving and MLflow answer with names then"


def _typed(column: Column) -> str:
    return f"{column.dtype} {list(column.shape)}" if column.shape else column.dtype

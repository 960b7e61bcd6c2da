"""What the nodes of a graph ask for together: one rule for each column, one reading of each feature view."""

from collections.abc import Iterable, Sequence

import numpy as np

from taxiway.errors import ConfigError
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding, OnMissing
from taxiway.signature import Column, ColumnType

_FLOATS: tuple[ColumnType, ...] = ("float16", "float32", "float64")


def is_number(column: Column) -> bool:
    return not column.is_object and column.dtype != "bool"


def is_label(column: Column) -> bool:
    return not column.shape and column.dtype not in _FLOATS


def shown(column: Column) -> str:
    """A column's type in a sentence."""
    article = "an" if column.dtype.startswith("i") else "a"
    return f"{article} {column.dtype}" + (f" of shape {list(column.shape)}" if column.shape else "")


def in_the_way(given: Column, taken: Column) -> str | None:
    """Why a node can't take what another one gives; None when it can.

    A number may become wider where nothing is lost.
    """
    wider = is_number(given) and is_number(taken) and np.can_cast(given.dtype, taken.dtype, "safe")
    fits = len(given.shape) == len(taken.shape) and all(
        -1 in (one, other) or one == other for one, other in zip(given.shape, taken.shape, strict=True)
    )
    if not fits or (given.dtype != taken.dtype and not wider):
        return f"it takes {shown(taken)}, and gets {shown(given)}"
    if given.nullable and not taken.nullable:
        return "it takes no missing values, and some may be missing in what it gets"
    return None


def common(columns: Sequence[Column]) -> Column | None:
    """The one type of answers that stand in for each other: floats become the widest; None when they differ."""
    dtypes = {column.dtype for column in columns}
    if len(dtypes) > 1 and not dtypes <= set(_FLOATS):
        return None
    return _answer(columns, max(dtypes, key=lambda dtype: _FLOATS.index(dtype) if dtype in _FLOATS else 0))


def averaged(columns: Sequence[Column]) -> Column | None:
    """The type of an average of numbers: the widest float, float64 when one of them is none."""
    dtypes = {column.dtype for column in columns}
    return _answer(columns, max(dtypes, key=_FLOATS.index) if dtypes <= set(_FLOATS) else "float64")


def _answer(columns: Sequence[Column], dtype: ColumnType) -> Column | None:
    first = columns[0]
    if any(column.shape != first.shape for column in columns):
        return None
    nullable = any(column.nullable for column in columns)
    return Column(name=first.name, dtype=dtype, shape=first.shape, nullable=nullable, description=first.description)


def merged_column(first: Column, second: Column) -> Column:
    """The rules of both.

    Raises:
        ValueError: no value can obey both; the message says what is in the way.
    """
    if first.dtype != second.dtype:
        raise ValueError(f"one takes {shown(first)}, the other {shown(second)}")
    required = first.is_required or second.is_required
    nullable = first.nullable and second.nullable
    return Column(
        name=first.name,
        dtype=first.dtype,
        shape=_merged_shape(first, second),
        nullable=nullable,
        required=required if required == nullable else None,
        finite=first.finite or second.finite,
        categories=_merged_categories(first, second),
        description=first.description or second.description,
        **_merged_range(first, second),
    )


def _merged_shape(first: Column, second: Column) -> tuple[int, ...]:
    sizes = list(zip(first.shape, second.shape, strict=False))
    if len(first.shape) != len(second.shape) or any(-1 not in pair and pair[0] != pair[1] for pair in sizes):
        raise ValueError(f"one takes {shown(first)}, the other {shown(second)}")
    return tuple(max(pair) for pair in sizes)


def _merged_categories(first: Column, second: Column) -> tuple[str, ...] | None:
    if first.categories is None or second.categories is None:
        return first.categories or second.categories
    both = tuple(category for category in first.categories if category in second.category_index)
    if not both:
        raise ValueError("they have no category in common")
    return both


def _merged_range(first: Column, second: Column) -> dict[str, float | None]:
    low = max((it for it in (first.minimum, second.minimum) if it is not None), default=None)
    high = min((it for it in (first.maximum, second.maximum) if it is not None), default=None)
    if low is not None and high is not None and low > high:
        raise ValueError(f"one takes at least {low:g}, the other at most {high:g}")
    return {"minimum": low, "maximum": high}


def merged_features(bindings: Iterable[FeatureBinding | None]) -> FeatureBinding | None:
    """What all models of a graph read, each view once: its columns united, the strictest policy.

    Raises:
        ConfigError: a view is read under two keys, or two views have a feature of one name.
    """
    found = [binding for binding in bindings if binding is not None]
    views: dict[str, FeatureViewBinding] = {}
    for view in (view for binding in found for view in binding.views):
        views[view.name] = _merged_view(views[view.name], view) if view.name in views else view
    brought: dict[str, str] = {}
    for view in views.values():
        for column in view.columns:
            if column in brought:
                raise ConfigError(f"features: {brought[column]!r} and {view.name!r} both have a feature {column!r}")
            brought[column] = view.name
    if not found:
        return None
    service = "+".join(dict.fromkeys(binding.service for binding in found))
    return FeatureBinding(service=service, views=tuple(views.values()))


def _merged_view(first: FeatureViewBinding, second: FeatureViewBinding) -> FeatureViewBinding:
    if first.entity_keys != second.entity_keys:
        keys = f"{', '.join(first.entity_keys)} and {', '.join(second.entity_keys)}"
        raise ConfigError(f"features: the view {first.name!r} is read under different keys, {keys}")
    policies = (first.on_missing, second.on_missing)
    strictest: OnMissing = next(policy for policy in ("refuse", "default", "null") if policy in policies)
    if _defaults_differ(first, second, strictest):
        raise ConfigError(f"features: the view {first.name!r} has other defaults, or another policy, in another model")
    return FeatureViewBinding(
        name=first.name,
        entity_keys=first.entity_keys,
        columns=tuple(dict.fromkeys(first.columns + second.columns)),
        on_missing=strictest,
        defaults=first.defaults | second.defaults,
    )


def _defaults_differ(first: FeatureViewBinding, second: FeatureViewBinding, policy: OnMissing) -> bool:
    """Whether one of the models would meet values for an unknown entity that it was not trained with."""
    for name in set(first.columns) & set(second.columns):
        values = {view.defaults[name] for view in (first, second) if name in view.defaults}
        if len(values) > 1:
            return True
        if policy == "default" and values and not all(name in view.defaults for view in (first, second)):
            return True
    return policy == "default" and any(view.on_missing == "null" and view.defaults for view in (first, second))

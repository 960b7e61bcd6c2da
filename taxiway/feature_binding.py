"""Which columns of a model come from the feature store, under which keys, and what a missing entity means."""

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, FiniteFloat, model_validator

from taxiway.settings import OnFailure, Settings
from taxiway.signature import Array, Column, Columns, Reject, RejectCode

OnMissing = Literal["refuse", "null", "default"]


class FeatureViewBinding(Settings):
    """One Feast feature view: its join keys (request columns) and the features that the model takes."""

    name: str
    entity_keys: tuple[str, ...]
    columns: tuple[str, ...]
    on_missing: OnMissing = "refuse"
    defaults: dict[str, FiniteFloat] = Field(
        default_factory=dict, description="what stands for features of an unknown entity; null for those not listed"
    )

    @model_validator(mode="after")
    def _usable_defaults(self) -> "FeatureViewBinding":
        if strangers := sorted(set(self.defaults) - set(self.columns)):
            raise ValueError(f"defaults: {strangers} not among the features of {self.name!r}")
        if self.on_missing == "default" and not self.defaults:
            raise ValueError(f"on_missing: {self.name!r} has no defaults; give some, or use null or refuse")
        return self

    @property
    def references(self) -> list[str]:
        """Feast's names of the features: `view:feature`."""
        return [f"{self.name}:{column}" for column in self.columns]

    def unknown(self, features: Columns) -> Array:
        """Which rows the store knows nothing of: every feature of the view is null.

        Judged by values, so that the online and the offline store cannot disagree about it.
        """
        return np.asarray(np.all([np.isnan(features[column]) for column in self.columns], axis=0))

    def unknown_entities(self, features: Columns, keys: Columns) -> list[Reject]:
        """The unknown rows, with a reason for each, where the policy is to refuse them."""
        if self.on_missing != "refuse":
            return []
        rows = np.flatnonzero(self.unknown(features))
        if not len(rows):
            return []
        reasons = [
            f"the feature view {self.name!r} knows no "
            + ", ".join(f"{key}={keys[key][row]!r}" for key in self.entity_keys)
            for row in rows
        ]
        return [Reject(rows, RejectCode.UNKNOWN_ENTITY, ", ".join(self.entity_keys), reasons)]

    def with_defaults(self, features: Columns) -> dict[str, Array]:
        """The view's features, the unknown rows filled in where the policy says so."""
        found = {column: features[column] for column in self.columns}
        if self.on_missing == "default" and (unknown := self.unknown(features)).any():
            found |= {column: np.where(unknown, value, found[column]) for column, value in self.defaults.items()}
        return found

    def fallback(self, rows: int, on_failure: OnFailure) -> dict[str, Array]:
        """What stands for the view's features when the store does not answer."""
        values = self.defaults if on_failure == "default" else {}
        return {column: np.full(rows, values.get(column, np.nan)) for column in self.columns}


class FeatureBinding(Settings):
    """What a model reads from one Feast feature service."""

    service: str
    views: tuple[FeatureViewBinding, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column for view in self.views for column in view.columns)

    @cached_property
    def optional_inputs(self) -> tuple[Column, ...]:
        """The features as columns that a request may bring itself."""
        return tuple(Column(name=name, dtype="float64", nullable=True) for name in self.columns)

    def views_to_read(self, brought: Collection[str]) -> tuple[FeatureViewBinding, ...]:
        """The views of which a request does not bring every feature itself."""
        return tuple(view for view in self.views if not set(view.columns) <= set(brought))


def apply_policies(
    views: Sequence[FeatureViewBinding], read: Columns, keys: Columns
) -> tuple[dict[str, Array], list[Reject]]:
    """What was read, by each view's policy for unknown entities: their defaults filled in, or refused.

    Requests, scoring jobs and training sets all pass here, so that a model meets what it was trained on.
    """
    rejects = [reject for view in views for reject in view.unknown_entities(read, keys)]
    completed: dict[str, Array] = {}
    for view in views:
        completed |= view.with_defaults(read)
    return completed, rejects


def entity_values(keys: Array) -> Array:
    """Keys as the stores take them: a missing one becomes the empty string, which is nobody's key."""
    if keys.dtype != np.object_:
        return keys
    return np.array(["" if key is None else key for key in keys], dtype=np.object_)

"""Which columns of a model come from the feature store, under which keys, and what a missing entity means."""

from collections.abc import Collection
from functools import cached_property
from typing import Literal

import numpy as np

from taxiway.settings import Settings
from taxiway.signature import Array, Column, Columns, Reject, RejectCode

OnMissing = Literal["null", "refuse"]


class FeatureViewBinding(Settings):
    """One Feast feature view: its join keys (request columns) and the features that the model takes."""

    name: str
    entity_keys: tuple[str, ...]
    columns: tuple[str, ...]
    on_missing: OnMissing = "refuse"

    @property
    def references(self) -> list[str]:
        """Feast's names of the features: `view:feature`."""
        return [f"{self.name}:{column}" for column in self.columns]

    def unknown_entities(self, features: Columns, keys: Columns) -> list[Reject]:
        """The rows of which the store knows nothing: every feature of the view is null.

        Judged by values, so that the online and the offline store cannot disagree about it.
        """
        if self.on_missing == "null":
            return []
        nothing = np.all([np.isnan(features[column]) for column in self.columns], axis=0)
        if not nothing.any():
            return []
        rows = np.flatnonzero(nothing)
        reasons = [
            f"the feature view {self.name!r} knows no "
            + ", ".join(f"{key}={keys[key][row]!r}" for key in self.entity_keys)
            for row in rows
        ]
        return [Reject(rows, RejectCode.UNKNOWN_ENTITY, ", ".join(self.entity_keys), reasons)]


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


def entity_values(keys: Array) -> Array:
    """Keys as the stores take them: a missing one becomes the empty string, which is nobody's key."""
    if keys.dtype != np.object_:
        return keys
    return np.array(["" if key is None else key for key in keys], dtype=np.object_)

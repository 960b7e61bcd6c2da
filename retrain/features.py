"""The features of each example as they were known at its moment."""

from collections import Counter
from typing import TYPE_CHECKING

from retrain.dataset import Dataset
from retrain.settings import RetrainSettings
from taxiway.errors import ConfigError, JobError
from taxiway.feature_binding import FeatureBinding, apply_policies
from taxiway.signature import row_count

if TYPE_CHECKING:
    from taxiway.features import HistoricalFeatures


def open_features(
    settings: RetrainSettings,
) -> "tuple[FeatureBinding, HistoricalFeatures] | tuple[None, None]":
    """The binding of the model's feature service and its history; Nones for a model without one.

    Raises:
        ConfigError: the store can't be opened, or the inputs do not bring the keys that it needs.
    """
    if settings.features is None or settings.feature_store is None:
        return None, None
    # Feast takes seconds to import: only a model with features pays for it.
    from taxiway.features import HistoricalFeatures, bind, open_store

    store = open_store(settings.feature_store)
    binding = bind(store, settings.features.service, settings.features.on_missing, settings.features.defaults)
    inputs = {column.name for column in settings.inputs}
    for view in binding.views:
        if missing := sorted(set(view.entity_keys) - inputs):
            raise ConfigError(f"inputs: {', '.join(missing)} is missing, a key of the feature view {view.name!r}")
    return binding, HistoricalFeatures(store)


def join_features(
    examples: Dataset, binding: FeatureBinding | None, history: "HistoricalFeatures | None"
) -> tuple[Dataset, Counter[str]]:
    """The examples with their features; those of unknown entities are set aside as the binding says."""
    views = binding.views_to_read(examples.columns) if binding else ()
    if history is None or not views or not len(examples):
        return examples, Counter()
    features = history.read(views, examples.columns, examples.moments)
    if row_count(features) != len(examples):
        raise JobError(f"the feature store answered {row_count(features)} rows for {len(examples)}")
    features, rejects = apply_policies(views, features, examples.columns)
    return examples.with_features(features).without(rejects)

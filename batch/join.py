"""The features of a piece's rows, each as of its own moment."""

import logging
from collections.abc import Sequence

from batch.scorer import JoinFeatures, ScorerSpec
from taxiway.errors import JobError
from taxiway.feature_binding import FeatureViewBinding
from taxiway.signature import Array, Columns

_log = logging.getLogger(__name__)


def join_of(spec: ScorerSpec) -> JoinFeatures:
    """How an actor joins features, opened once; raises ConfigError when the store can't be opened."""
    settings = spec.settings.feature_store
    if settings is None or not spec.settings.join_features or all(model.features is None for model in spec.models):
        return _nothing
    from taxiway.features import HistoricalFeatures, open_store  # takes seconds; many models read no features

    features = HistoricalFeatures(open_store(settings))

    def join(views: Sequence[FeatureViewBinding], columns: Columns, when: Array) -> dict[str, Array]:
        try:
            return features.read(views, columns, when)
        except Exception as error:
            _log.exception("the join of features failed")
            names = ", ".join(view.name for view in views)
            raise JobError(f"the features of {names} can't be joined: {type(error).__name__}: {error}") from error

    return join


def _nothing(views: Sequence[FeatureViewBinding], columns: Columns, when: Array) -> dict[str, Array]:
    raise JobError("feature_store: the model reads features, and no store is configured")

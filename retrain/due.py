"""What the registry, the labels and the alarms say about whether a retraining is due."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import mlflow
import pyarrow as pa
import pyarrow.dataset as ds
from mlflow.exceptions import MlflowException

from retrain.publish import RETRAINING_TAG
from retrain.settings import RetrainSettings
from retrain.source import LabelsFile
from retrain.triggers import Situation, alarms
from retrain.unfinished import began_of
from taxiway.errors import ConfigError, RegistryError
from taxiway.lineage import WINDOW_TAG
from taxiway.registry import Registry


def situation(
    registry: Registry, settings: RetrainSettings, labels: Callable[[], LabelsFile], now: datetime
) -> Situation:
    """
    Args:
        labels: asked only where new rows are counted.

    Raises:
        RegistryError: the registry does not answer.
        ConfigError: the labels can't be read.
        JobError: an alarm can't be read.
    """
    found = next(_retrained(registry, settings.model), None)
    if found is None:
        return Situation(now, None, None, None, ())
    began, created, window = found
    end = window.partition("/")[2]
    counted = settings.triggers.new_rows is not None and end
    rows = _rows_since(settings, labels().path, datetime.fromisoformat(end)) if counted else None
    return Situation(now, began, created, rows, tuple(alarms(settings.model).values()))


def _retrained(registry: Registry, model: str) -> Iterator[tuple[datetime, datetime, str]]:
    """When retrainings began and have registered their versions, and from which window; the last one first."""
    registry.alias(model, "champion")  # says what is wrong with the registry, if anything is
    try:
        versions = mlflow.search_model_versions(
            filter_string=f"name = '{model}'", order_by=["creation_timestamp DESC"], max_results=100
        )
    except MlflowException as error:
        raise RegistryError(f"the versions of {model!r} can't be had: {error.message}") from error
    for version in versions:
        if RETRAINING_TAG in version.tags:
            created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
            began = began_of(version.tags[RETRAINING_TAG]) or created
            yield began, created, version.tags.get(WINDOW_TAG, "")


def _rows_since(settings: RetrainSettings, path: str, end: datetime) -> int:
    """Labelled rows from a moment on."""
    try:
        source = ds.dataset(path, format="parquet")
        kind = source.schema.field(settings.event_timestamp).type
        moment = pa.scalar(end, pa.timestamp("us", "UTC")).cast(kind, safe=False)
        is_new = (ds.field(settings.event_timestamp) >= moment) & ds.field(settings.label).is_valid()
        return source.count_rows(filter=is_new)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ConfigError(f"labels: the rows of {path} can't be counted: {error}") from error

"""Where a registered version comes from and what became of it, as far as the registry knows."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from pydantic import ValidationError

from taxiway.errors import RegistryError
from taxiway.history import Record, entries
from taxiway.package import METADATA_KEY, ModelPackage
from taxiway.promotion import REJECTED_TAG, STAGE_TAG, VERDICT_TAG
from taxiway.registry import CHAMPION, ModelVersion, Registry, VersionState
from taxiway.settings import Settings

TRIGGER_TAG = "taxiway.trigger"
"""Of a version or its run: what set the retraining off; JSON or text."""
WINDOW_TAG = "taxiway.window"
"""Of a version or its run: the span of event time that it learned from, START/END (ISO 8601)."""
SERVICE_VERSION_TAG = "taxiway.feature_service_version"
"""Of a version or its run."""
LABELS_TAG = "taxiway.labels"
"""Of a version or its run: where the labels came from, JSON with path, and of DVC repo, rev, commit and md5."""
ENVIRONMENT_TAG = "taxiway.environment"
"""Of a version or its run: what it was made with, JSON as `taxiway.environment.Environment.summary` has it."""
ENVIRONMENT_FILE = "environment.txt"
"""Among the artifacts of the run: every installed distribution, one `name==version` a line."""
VERDICT_FILE = "verdict.json"
"""Among the artifacts of the run, where there is no tag."""
_DIGEST_TAG = "data_digest"
_REVISION_TAGS = ("code_revision", "mlflow.source.git.commit")


class LineageReport(Settings):
    """The origin of a version. A field in `unknown` is null because nothing in the registry says it.

    Attributes:
        created: UTC; when the version was registered, as `trained` is when its run began.
        aliases: that point to it now.
        stage: as the MLflow UI shows it.
        data_digest: SHA-256 of the training set's rows.
        data_window: START/END of event time (ISO 8601).
        labels: where they came from: path, and where DVC tracks them repo, rev as it was asked for, commit and md5.
        feature_service: of Feast; null and not unknown where the model reads no features.
        environment: what it was made with: python, platform, number of distributions, SHA-256 of the run's
            environment.txt, and the container image where somebody has said it.
        verdict: what its gate found, and `rejected` why it was rejected.
        trigger: what set the retraining off.
        promoted: the last record by which it became champion; null and not unknown where it never did.
        unreadable: why the package that was logged with it could not be read.
    """

    model: str
    version: str
    created: datetime
    aliases: tuple[str, ...]
    stage: str | None = None
    trained: datetime | None = None
    run_id: str | None = None
    data_digest: str | None = None
    data_rows: int | None = None
    data_window: str | None = None
    labels: Any = None
    feature_service: str | None = None
    feature_service_version: str | None = None
    feature_views: tuple[str, ...] | None = None
    code_revision: str | None = None
    environment: Any = None
    parameters: dict[str, Any] | None = None
    metrics: dict[str, float] | None = None
    trigger: Any = None
    verdict: Any = None
    rejected: str | None = None
    promoted: Record | None = None
    unreadable: str | None = None
    unknown: tuple[str, ...]


def lineage(registry: Registry, uri: str) -> LineageReport:
    """What is known of `models:/NAME/VERSION` or `models:/NAME@ALIAS`.

    What was logged with the version counts first, then tags of the version, then its run; the model itself is not
    downloaded.

    Raises:
        ConfigError: `uri` has another form.
        RegistryError: there is no such version, or the registry does not answer.
    """
    version = registry.resolve(uri)
    state = registry.describe(version)
    if state is None:
        raise RegistryError(f"{version.uri} is not in the registry any more")
    live, run = registry.live(version.name), registry.run(version.run_id)
    package, unreadable = _package(version)
    records = [entry.record for entry in entries(version.name, live.tags)]
    aliases = tuple(sorted(alias for alias, holder in live.aliases.items() if holder == version.version))
    known = {
        "model": version.name,
        "version": version.version,
        "created": state.created,
        "aliases": aliases,
        "rejected": state.tags.get(REJECTED_TAG),
        "unreadable": unreadable,
        **_origin(package, state, run),
        **_features(package, _tags(state, run)),
        **_verdict(state, run),
        **_promoted(records, version.version, CHAMPION in aliases),
    }
    unknown = tuple(name for name in LineageReport.model_fields if name not in {*known, "unknown"})
    return LineageReport.model_validate({**known, "unknown": unknown})


def _origin(package: ModelPackage | None, state: VersionState, run: Run | None) -> dict[str, Any]:
    logged = package.lineage if package else None
    tags = _tags(state, run)
    revisions = (logged.code_revision if logged else None, *(tags.get(name) for name in _REVISION_TAGS))
    return _said(
        stage=state.tags.get(STAGE_TAG),
        trained=datetime.fromtimestamp(run.info.start_time / 1000, UTC) if run else None,
        run_id=state.version.run_id or None,
        data_digest=logged.data_digest if logged else tags.get(_DIGEST_TAG),
        data_rows=logged.data_rows if logged else None,
        data_window=tags.get(WINDOW_TAG),
        labels=_value(tags.get(LABELS_TAG)),
        environment=_value(tags.get(ENVIRONMENT_TAG)),
        code_revision=next((it for it in revisions if it not in (None, "", "unknown")), None),
        parameters=logged.parameters if logged else dict(run.data.params) if run else None,
        metrics=logged.metrics if logged else dict(run.data.metrics) if run else None,
        trigger=_value(tags.get(TRIGGER_TAG)),
    )


def _features(package: ModelPackage | None, tags: Mapping[str, str]) -> dict[str, Any]:
    if package is None:
        return {}
    if package.features is None:
        return {"feature_service": None, "feature_service_version": None, "feature_views": ()}
    views = tuple(view.name for view in package.features.views)
    version = _said(feature_service_version=tags.get(SERVICE_VERSION_TAG))
    return {"feature_service": package.features.service, "feature_views": views, **version}


def _verdict(state: VersionState, run: Run | None) -> dict[str, Any]:
    told = _tags(state, run).get(VERDICT_TAG)
    return _said(verdict=_value(told if told is not None else _verdict_file(run)))


def _verdict_file(run: Run | None) -> str | None:
    if run is None:
        return None
    try:
        found = mlflow.artifacts.list_artifacts(run_id=run.info.run_id)
        if not any(item.path == VERDICT_FILE for item in found):
            return None
        return str(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{VERDICT_FILE}"))
    except Exception:  # noqa: BLE001 - each storage's client raises errors of its own
        return None


def _promoted(records: Sequence[Record], version: str, is_champion: bool) -> dict[str, Any]:
    """Unknown where it is or was champion and no record says since when."""
    moves = [record for record in records if record.alias == CHAMPION and record.state != "abandoned"]
    ours = [record for record in moves if record.to_version == version]
    if ours:
        return {"promoted": ours[-1]}
    was_champion = is_champion or any(record.from_version == version for record in moves)
    return {} if was_champion else {"promoted": None}


def _package(version: ModelVersion) -> tuple[ModelPackage | None, str | None]:
    """What Taxiway logged with the version, None for a model of somebody else; and why it can't be read."""
    try:
        metadata = (Model.load(version.uri).metadata or {}).get(METADATA_KEY)
        return (ModelPackage.model_validate(metadata) if metadata is not None else None), None
    except ValidationError as error:
        return None, f"its package was written by another version of Taxiway: {error.errors()[0]['msg']}"
    except Exception as error:  # noqa: BLE001 - each storage's client raises errors of its own
        told = error.message if isinstance(error, MlflowException) else str(error)
        return None, f"its artifacts can't be read: {told}"


def _tags(state: VersionState, run: Run | None) -> dict[str, str]:
    """A run is of one version here: what its tags say holds where the version's don't."""
    return {**(run.data.tags if run else {}), **state.tags}


def _value(told: str | None) -> Any:
    """JSON, or a text as it stands."""
    if told is None:
        return None
    try:
        return json.loads(told)
    except ValueError:
        return told


def _said(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}

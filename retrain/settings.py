"""The config file of a retraining."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from retrain.checks import CheckSettings
from retrain.gate import GateSettings, misplaced
from retrain.labels_settings import LabelsField
from retrain.relative import is_relative, resolve, time_zone
from retrain.tasks import TASKS, Task, TaskName, task_of
from retrain.trainers.choice import DEFAULT_TRAINER, TrainerSettings
from retrain.triggers import TriggerSettings
from taxiway.errors import ConfigError
from taxiway.feature_binding import OnMissing
from taxiway.settings import FeatureStoreSettings, FileSettings, RegistrySettings, Settings, parse, read_yaml
from taxiway.signature import Column

MAX_CATEGORIES = 255
"""As many as a histogram of HistGradientBoostingClassifier can tell apart."""
_FEWEST_CLASSES = 3


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ClassName = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | int), Field(min_length=1)]
Moment = Annotated[
    datetime,
    AfterValidator(_in_utc),
    WithJsonSchema(
        {"type": "string", "description": "ISO 8601, or relative to the date of the run: now-90d, now-1M/M"}
    ),
]


class WindowSettings(Settings):
    """A span of event time, `start` inclusive, `end` exclusive.

    Either is ISO 8601 (UTC unless it says otherwise), or relative to the date of the run: `now-90d/d`.
    """

    start: Moment
    end: Moment

    @field_validator("end")
    @classmethod
    def _not_empty(cls, end: datetime, info: ValidationInfo) -> datetime:
        if "start" in info.data and end <= info.data["start"]:
            raise ValueError("must lie after the window's start")
        return end


class FeaturesSettings(Settings):
    """What the model reads from the feature store."""

    service: str = Field(description="a Feast feature service")
    on_missing: dict[str, OnMissing] = Field(
        default_factory=dict, description="per feature view: what an unknown entity means; `refuse` unless listed"
    )
    defaults: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="per feature view: what its features are where on_missing is `default`"
    )


class SearchSettings(Settings):
    """The hyperparameter search."""

    trials: int = Field(default=12, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    seeds: int = Field(
        default=1,
        ge=1,
        le=50,
        description="so many fits by the best parameters, each with a seed of its own, show how much of the challenger "
        "is chance; the first is the challenger, 1 makes no further one",
    )
    max_iterations: int = Field(
        default=300, ge=1, description="of a trial that is not stopped: trees, or what the trainer counts"
    )
    report_every: int = Field(default=50, ge=1, description="iterations between two looks at a trial")
    parallel: int | None = Field(
        default=None, ge=1, description="trials at a time; default: as many as there are free CPUs and GPUs for"
    )
    time_budget_s: float | None = Field(
        default=None, gt=0, description="after so long no further trial is begun; those that run go on to their end"
    )
    algorithm: Literal["random", "optuna"] = Field(
        default="random", description="optuna learns from the trials that have ended; it must be installed"
    )
    cpus: float = Field(default=1.0, gt=0, description="of one trial; below 1 several share a CPU")
    gpus: float = Field(default=0.0, ge=0, description="of one trial; below 1 several share a GPU")

    @field_validator("cpus", "gpus")
    @classmethod
    def _whole_above_one(cls, number: float) -> float:
        if number > 1 and number != int(number):
            raise ValueError("above 1, Ray lends whole ones only")
        return number


class RetrainSettings(FileSettings):
    """A retraining: training set, search, evaluation, registration."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the registered model's name")
    labels: LabelsField = Field(
        description="a Parquet file with row id, event timestamp, request columns and label: its path, or where it "
        "lies in a DVC repository"
    )
    task: TaskName = Field(
        default="binary",
        description="what the label is: 0 or 1; one of several `classes`; or, with regression, a number",
    )
    classes: tuple[ClassName, ...] = Field(
        default=(),
        validate_default=True,
        description="of the task `classes`: the label's values, in the order of the answer's probabilities",
    )
    label: str = Field(description="the column to predict; rows without it are left out")
    label_arrived: str | None = Field(
        default=None,
        description="the column with the moment at which each label was known; what came after the date of the run "
        "counts as not labelled",
    )
    row_id: str = "row_id"
    event_timestamp: str = "event_timestamp"
    inputs: tuple[Column, ...] = Field(min_length=1, description="the columns that a request will bring")
    output: str = Field(
        default="",
        validate_default=True,
        description="the name of the answer's column; if empty probability, probabilities or value, by task",
    )
    time_zone: str = Field(
        default="UTC", description="in which relative moments count days and months, and triggers.cron is meant"
    )
    train: WindowSettings
    validate_from: Moment = Field(description="from here on, the end of the training window judges trials")
    evaluate: WindowSettings
    slices: tuple[str, ...] = Field(default=(), description="inputs by whose values the evaluation is split")
    features: FeaturesSettings | None = None
    search: SearchSettings = SearchSettings()
    trainer: TrainerSettings = Field(default=DEFAULT_TRAINER, description="what fits the model")
    checks: CheckSettings = Field(default=CheckSettings(), description="what the training set must keep to")
    gate: GateSettings = Field(default=GateSettings(), description="what a challenger must fulfil")
    triggers: TriggerSettings = Field(default=TriggerSettings(), description="when --if-due retrains")
    intended_use: str = Field(default="", description="Markdown of the model's owner for its card")
    limits: str = Field(default="", description="likewise: what the model is not for, and where it fails")
    resume_h: float = Field(
        default=24.0, ge=0, description="hours after which a run that was killed begins anew rather than goes on"
    )
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    feature_store: FeatureStoreSettings | None = Field(default=None, validate_default=True)

    @property
    def learning_task(self) -> Task:
        return task_of(self.task, self.classes)

    @field_validator("classes")
    @classmethod
    def _of_the_task(cls, classes: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("task") != "classes":
            if classes:
                raise ValueError("is for `task: classes`; leave it out, or say that task")
        elif len(classes) < _FEWEST_CLASSES:
            raise ValueError("`task: classes` needs the label's values, three or more; two classes are `task: binary`")
        elif len(set(classes)) < len(classes):
            raise ValueError("lists a class twice")
        return classes

    @field_validator("output")
    @classmethod
    def _named(cls, output: str, info: ValidationInfo) -> str:
        return output or TASKS[info.data.get("task", "binary")].default_output

    @field_validator("inputs")
    @classmethod
    def _usable(cls, inputs: tuple[Column, ...], info: ValidationInfo) -> tuple[Column, ...]:
        names = [column.name for column in inputs]
        if len(set(names)) < len(names):
            raise ValueError("two columns have the same name")
        if info.data.get("label") in names:
            raise ValueError(f"the label {info.data['label']!r} is what the model answers, not an input")
        for column in inputs:
            if len(column.categories or ()) > MAX_CATEGORIES:
                raise ValueError(f"{column.name}: more than {MAX_CATEGORIES} categories")
        return inputs

    @field_validator("validate_from")
    @classmethod
    def _inside_train(cls, moment: datetime, info: ValidationInfo) -> datetime:
        train = info.data.get("train")
        if train is not None and not train.start < moment < train.end:
            raise ValueError("must lie inside the training window")
        return moment

    @field_validator("evaluate")
    @classmethod
    def _after_train(cls, evaluate: WindowSettings, info: ValidationInfo) -> WindowSettings:
        train = info.data.get("train")
        if train is not None and evaluate.start < train.end:
            raise ValueError("must begin after the training window has ended")
        return evaluate

    @field_validator("slices")
    @classmethod
    def _known(cls, slices: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        names = [column.name for column in info.data.get("inputs", ())]
        if names and (strangers := sorted(set(slices) - set(names))):
            raise ValueError(f"{', '.join(strangers)} not among the inputs {', '.join(names)}")
        return slices

    @field_validator("gate")
    @classmethod
    def _measured(cls, gate: GateSettings, info: ValidationInfo) -> GateSettings:
        search = info.data.get("search")
        spreads = [gate.max_auc_spread, *(rule.max_spread for rule in gate.metrics.values())]
        if search is not None and search.seeds < 2 and any(it is not None for it in spreads):
            which = "max_auc_spread" if gate.max_auc_spread is not None else "max_spread"
            raise ValueError(f"{which} needs search.seeds of at least 2: one fit has no spread")
        if "task" in info.data and (wrong := misplaced(gate, TASKS[info.data["task"]])):
            raise ValueError(wrong)
        return gate

    @field_validator("feature_store")
    @classmethod
    def _needed(cls, store: FeatureStoreSettings | None, info: ValidationInfo) -> FeatureStoreSettings | None:
        if store is None and info.data.get("features") is not None:
            raise ValueError("is required when the model has features")
        return store


def load_retraining(path: str | Path, now: datetime) -> RetrainSettings:
    """The file, with what is relative in it counted from `now`.

    Raises:
        ConfigError: as `taxiway.settings.load`.
    """
    return parse(_resolved(read_yaml(path), now, str(path)), RetrainSettings, str(path))


def _resolved(data: Any, now: datetime, source: str) -> Any:
    if not isinstance(data, dict):
        return data
    try:
        zone = time_zone(str(data.get("time_zone", "UTC")))
    except ConfigError as error:
        raise ConfigError(f"{source}: key 'time_zone': {error}") from error

    def moment(value: Any, key: str) -> Any:
        if not (isinstance(value, str) and is_relative(value)):
            return value
        try:
            return resolve(value, now, zone)
        except ConfigError as error:
            raise ConfigError(f"{source}: key {key!r}: {error}") from error

    found = dict(data)
    for window in ("train", "evaluate"):
        if isinstance(found.get(window), dict):
            found[window] = {key: moment(value, f"{window}.{key}") for key, value in found[window].items()}
    if "validate_from" in found:
        found["validate_from"] = moment(found["validate_from"], "validate_from")
    return found

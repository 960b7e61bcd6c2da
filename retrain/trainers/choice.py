"""Which trainer a config file names: a given one, or a class of the user's own."""

import importlib
import inspect
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import Field, model_validator

from retrain.tasks import TaskName
from retrain.trainers.contract import Trainer
from taxiway.errors import ConfigError
from taxiway.settings import Settings

TrainerName = Literal["boosting", "xgboost", "lightgbm", "torch"]
_GIVEN: dict[TrainerName, str] = {
    "boosting": "retrain.trainers.boosting:Boosting",
    "xgboost": "retrain.trainers.xgboost:XGBoost",
    "lightgbm": "retrain.trainers.lightgbm:LightGBM",
    "torch": "retrain.trainers.torch:Torch",
}


class TrainerSettings(Settings):
    """What fits the model: `name` one of Taxiway's, or give a class of your own."""

    name: TrainerName | None = Field(default=None, description="a trainer of Taxiway's")
    class_: str | None = Field(
        default=None,
        alias="class",
        pattern=r"^[\w.]+:\w+$",
        description="package.module:Class, a retrain.trainers.contract.Trainer that Python can import",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the trainer")

    @model_validator(mode="after")
    def _one(self) -> "TrainerSettings":
        if (self.name is None) == (self.class_ is None):
            raise ValueError(f"give either a name ({', '.join(_GIVEN)}) or a class (package.module:Class)")
        return self


DEFAULT_TRAINER = TrainerSettings(name="boosting")


def open_trainer(settings: TrainerSettings, task: TaskName = "binary") -> Trainer:
    """
    Raises:
        ConfigError: its library is not installed, the class can't be imported or is no trainer, its options don't
            fit, or it can't fit the task.
    """
    if settings.name in ("xgboost", "lightgbm", "torch") and find_spec(settings.name) is None:
        raise ConfigError(f"trainer.name: {settings.name} is not installed; pip install 'taxiway[{settings.name}]'")
    kind = _imported(_GIVEN[settings.name] if settings.name else str(settings.class_))
    trainer = _made(kind, settings.options)
    if task not in trainer.tasks:
        fits = ", ".join(trainer.tasks)
        raise ConfigError(f"trainer: {kind.__name__} fits {fits}, not {task}; where it can, its `tasks` must say so")
    try:
        trainer.space()
    except Exception as error:
        raise ConfigError(f"trainer: the search space of {kind.__name__} can't be used: {error}") from error
    return trainer


def _imported(path: str) -> type[Trainer]:
    module, name = path.split(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ConfigError(f"trainer.class: {path} can't be imported: {type(error).__name__}: {error}") from error
    if not (inspect.isclass(found) and issubclass(found, Trainer)):
        raise ConfigError(f"trainer.class: {path} must be a class that extends retrain.trainers.contract.Trainer")
    return found


def _made(kind: type[Trainer], options: dict[str, Any]) -> Trainer:
    signature = inspect.signature(kind)
    try:
        signature.bind(**options)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "no options"
        raise ConfigError(f"trainer.options: {error}; {kind.__name__} takes {known}") from error
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"trainer.options: {kind.__name__} can't be made: {error}") from error

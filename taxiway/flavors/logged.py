"""The file `MLmodel` of a logged model, read once: MLflow's own `load_model` of a flavor reads it again, in Python."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from taxiway.errors import PackageError

_NAME = "MLmodel"


def read(folder: Path) -> Model:
    """What a folder's `MLmodel` says.

    Raises:
        PackageError: it has none, or one that MLflow did not write.
    """
    try:
        # MLflow itself takes the safe loader that is written in Python, for no reason.
        said = yaml.load((folder / _NAME).read_text(), yaml.CSafeLoader)
        return Model.from_dict(said)
    except (MlflowException, OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise PackageError(f"{folder}: this is no model that MLflow logged: {error}") from error


def flavor_of(logged: Model, name: str, folder: Path) -> Mapping[str, Any]:
    """What is said of one flavor. Code that was logged with the model can be imported from now on.

    Raises:
        PackageError: the model has not this flavor.
    """
    said = logged.flavors.get(name)
    if said is None:
        raise PackageError(f'{folder}: this model can\'t be loaded: it does not have the "{name}" flavor')
    if said.get("code") and (code := str(folder / said["code"])) not in sys.path:
        sys.path.insert(0, code)
    return dict(said)

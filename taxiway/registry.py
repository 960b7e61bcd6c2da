"""MLflow's model registry: resolve a model URI, load a version, register one, move an alias."""

import os
import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion as MlflowModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SADeprecationWarning, SQLAlchemyError

from taxiway.errors import ConfigError, RegistryError
from taxiway.package import ModelPackage, load_package
from taxiway.scoring import Predictor
from taxiway.settings import RegistrySettings

CHAMPION = "champion"
CHALLENGER = "challenger"
_PASSWORD = re.compile(r"//[^/@]*@")
_MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


@dataclass(frozen=True)
class ModelVersion:
    """An immutable registered artifact."""

    name: str
    version: str
    run_id: str

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class LoadedModel:
    """A model version in this process's memory."""

    version: ModelVersion
    package: ModelPackage
    predictor: Predictor


class Registry:
    """One MLflow registry. MLflow's tracking URI is global: a process works with one registry."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        # MLflow's own defaults keep a caller waiting for minutes when a server is away.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        mlflow.set_tracking_uri(settings.tracking_uri)
        # MLflow 3.17 uses a loader that SQLAlchemy 2.1 deprecates.
        warnings.filterwarnings("ignore", message="The ``noload`` loader", category=SADeprecationWarning)

    @property
    def _where(self) -> str:
        """The tracking URI without a user's password."""
        return _PASSWORD.sub("//***@", self._settings.tracking_uri)

    @cached_property
    def _client(self) -> MlflowClient:
        uri = self._settings.tracking_uri
        try:
            if uri.startswith("sqlite:///"):
                Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            return MlflowClient(uri)
        except (MlflowException, OSError, ImportError, SQLAlchemyError) as error:
            raise RegistryError(f"registry.tracking_uri: {self._where} can't be opened: {error}") from error

    def resolve(self, uri: str) -> ModelVersion:
        """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` means now.

        Raises:
            ConfigError: `uri` has another form.
            RegistryError: there is no such model, alias or version, or no registry.
        """
        match = _MODEL_URI.fullmatch(uri)
        if match is None:
            raise ConfigError(f"{uri!r} is no model: expected models:/NAME@ALIAS or models:/NAME/VERSION")
        name, alias, version = match["name"], match["alias"], match["version"]
        try:
            found = (
                self._client.get_model_version_by_alias(name, alias)
                if alias
                else self._client.get_model_version(name, version)
            )
        except MlflowException as error:
            raise RegistryError(f"{uri} is not in the registry {self._where}: {error.message}") from error
        return _model_version(found)

    def load(self, version: ModelVersion) -> LoadedModel:
        """Downloads and loads a version.

        Raises:
            RegistryError: its artifacts can't be had.
            PackageError: it is no Taxiway package.
        """
        try:
            folder = mlflow.artifacts.download_artifacts(
                artifact_uri=version.uri, tracking_uri=self._settings.tracking_uri
            )
        except (MlflowException, OSError) as error:
            raise RegistryError(f"the artifacts of {version.uri} can't be had: {error}") from error
        package, predictor = load_package(Path(folder))
        return LoadedModel(version, package, predictor)

    def register(self, name: str, model_uri: str, run_id: str, tags: dict[str, str]) -> ModelVersion:
        """Makes a logged model the next version of `name`."""
        if not self._client.search_registered_models(filter_string=f"name = '{name}'"):
            self._client.create_registered_model(name)
        return _model_version(self._client.create_model_version(name, model_uri, run_id, tags=tags))

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to; None while nothing has it."""
        try:
            return _model_version(self._client.get_model_version_by_alias(name, alias))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise RegistryError(f"the registry {self._where} failed: {error.message}") from error

    def point(self, alias: str, version: ModelVersion) -> None:
        """Moves an alias to a version."""
        self._client.set_registered_model_alias(version.name, alias, version.version)

    def experiment(self, name: str) -> str:
        """The id of the experiment `name`, made when it does not exist."""
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = self._settings.artifact_location
        if location is not None and "://" not in location:
            Path(location).mkdir(parents=True, exist_ok=True)
        return str(self._client.create_experiment(name, artifact_location=location))


def _model_version(found: MlflowModelVersion) -> ModelVersion:
    return ModelVersion(str(found.name), str(found.version), str(found.run_id or ""))

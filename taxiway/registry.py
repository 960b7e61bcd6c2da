"""MLflow's model registry: resolve a model URI, load a version, register one, move an alias."""

import os
import re
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion as MlflowModelVersion
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.tracking import MlflowClient
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import OperationalError, SADeprecationWarning, SQLAlchemyError

from taxiway.errors import ConfigError, RegistryAway, RegistryError, TaxiwayError
from taxiway.flavors.torch import Precision
from taxiway.local_copies import local_copies
from taxiway.mlflow_headers import leave_feast_alone
from taxiway.package import ModelPackage, load_package
from taxiway.registry_errors import is_away, told, without_password
from taxiway.registry_names import PLAIN, pieces
from taxiway.scoring import Predictor
from taxiway.settings import RegistrySettings

CHAMPION = "champion"
CHALLENGER = "challenger"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the latter for an alias
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_LOGGED_MODEL = re.compile(r"models:/(?P<id>[^/@]+)")
_PAGE = 1_000
"""Models; MLflow gives no more at once."""
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


@dataclass(frozen=True)
class LiveModel:
    """What may change about a registered model: alias -> version, tag -> value."""

    aliases: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class VersionState:
    """A version with what the registry says about it.

    Attributes:
        created: UTC.
        status: MLflow's; one that is `READY` can be used.
        tags: may change.
    """

    version: ModelVersion
    created: datetime
    status: str
    tags: Mapping[str, str]


class Registry:
    """One MLflow registry, for any thread. MLflow's tracking URI is global: a process works with one registry."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self._opened: MlflowClient | None = None
        # MLflow's own defaults keep a caller waiting for minutes when a server is away.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        mlflow.set_tracking_uri(settings.tracking_uri)
        leave_feast_alone()
        # MLflow 3.17 uses a loader that SQLAlchemy 2.1 deprecates.
        warnings.filterwarnings("ignore", message="The ``noload`` loader", category=SADeprecationWarning)

    @property
    def tracking_uri(self) -> str:
        """As it was given, a password in it too: not for messages."""
        return self._settings.tracking_uri

    @property
    def _where(self) -> str:
        return without_password(self._settings.tracking_uri)

    @property
    def _client(self) -> MlflowClient:
        """Opened once: a database is made and migrated then."""
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> MlflowClient:
        uri = self._settings.tracking_uri
        try:
            if uri.startswith("sqlite:///"):
                Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            elif not uri.startswith(("http://", "https://")):
                _check_that_it_answers(uri)
            return MlflowClient(uri)
        except OperationalError as error:
            raise RegistryAway(f"the registry {self._where} does not answer: {told(error)}") from error
        except (MlflowException, OSError, ImportError, SQLAlchemyError) as error:
            raise RegistryError(f"registry.tracking_uri: {self._where} can't be opened: {told(error)}") from error

    @contextmanager
    def _asking(self, what: str) -> Iterator[MlflowClient]:
        client = self._client
        try:
            yield client
        except MlflowException as error:
            kind = RegistryAway if is_away(error) else RegistryError
            raise kind(f"{what}: the registry {self._where} says: {told(error)}") from error
        except (OSError, SQLAlchemyError) as error:
            raise RegistryAway(f"{what}: the registry {self._where} does not answer: {told(error)}") from error

    def resolve(self, uri: str) -> ModelVersion:
        """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` means now.

        Raises:
            ConfigError: `uri` has another form.
            RegistryError: there is no such model, alias or version, or no registry.
        """
        name, alias, version = parts_of(uri)
        with self._asking(uri) as client:
            try:
                return _model_version(
                    client.get_model_version(name, version)
                    if version
                    else client.get_model_version_by_alias(name, str(alias))
                )
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                raise RegistryError(f"{uri} is not in the registry {self._where}: {told(error)}") from error

    def fetch(self, version: ModelVersion) -> Path:
        """A folder of this machine with the files of a version. What lies elsewhere is copied; `release` the folder.

        Raises:
            RegistryError: they can't be had.
        """
        try:
            return _fetched(version.uri, self._settings.tracking_uri)
        except TaxiwayError:
            raise
        except Exception as error:  # each storage's client raises errors of its own
            kind = RegistryAway if is_away(error) else RegistryError
            raise kind(f"the artifacts of {version.uri} can't be had: {told(error)}") from error

    def release(self, folder: Path) -> None:
        """Nobody reads a folder of `fetch` any more: if it is a copy, it is removed."""
        local_copies().drop(folder)

    def load(
        self,
        version: ModelVersion,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        accept_without_signature: bool = False,
    ) -> LoadedModel:
        """Loads a version; the arguments are those of `load_package`. A copy of its files is there while it is.

        Raises:
            RegistryError: its artifacts can't be had.
            PackageError: it can't be used.
        """
        folder = self.fetch(version)
        try:
            package, predictor = load_package(
                folder, require_signature=not accept_without_signature, device=device, precision=precision
            )
        except BaseException:
            self.release(folder)
            raise
        local_copies().keep_for(predictor, folder)
        return LoadedModel(version, package, predictor)

    def register(self, name: str, model_uri: str, run_id: str, tags: dict[str, str]) -> ModelVersion:
        """Makes a logged model the next version of `name`."""
        logged = _LOGGED_MODEL.fullmatch(model_uri)
        with self._asking(f"model {name!r}") as client:
            try:
                client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                _create(client, name)
            # A server takes `models:/ID` only from who names that model once more.
            model_id = logged["id"] if logged else None
            return _model_version(client.create_model_version(name, model_uri, run_id, tags=tags, model_id=model_id))

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to; None while nothing has it."""
        with self._asking(f"alias {alias!r} of model {name!r}") as client:
            try:
                return _model_version(client.get_model_version_by_alias(name, alias))
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                return None

    def point(self, alias: str, version: ModelVersion) -> None:
        """Moves an alias to a version."""
        with self._asking(f"alias {alias!r} of {version.uri}") as client:
            client.set_registered_model_alias(version.name, alias, version.version)

    def remove_alias(self, name: str, alias: str) -> None:
        """Removes an alias; one that is not there is no error."""
        with self._asking(f"alias {alias!r} of model {name!r}") as client:
            client.delete_registered_model_alias(name, alias)

    def describe(self, version: ModelVersion) -> VersionState | None:
        """What the registry says of a version; None when it has no such version."""
        with self._asking(version.uri) as client:
            try:
                found = client.get_model_version(version.name, version.version)
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                return None
        created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
        tags = {str(key): str(value) for key, value in found.tags.items()}
        return VersionState(_model_version(found), created, str(found.status), tags)

    def versions(self, name: str) -> list[str]:
        """The numbers of a model's versions, the oldest first."""
        with self._asking(f"model {name!r}") as client:
            found = client.search_model_versions(f"name = '{name}'")
        return sorted((str(it.version) for it in found), key=int)

    def write_version_tag(self, version: ModelVersion, key: str, value: str) -> None:
        """Sets a tag of a version."""
        with self._asking(f"tag {key!r} of {version.uri}") as client:
            client.set_model_version_tag(version.name, version.version, key, value)

    def run(self, run_id: str) -> Run | None:
        """The run that a version comes from; None when the registry does not have it."""
        if not run_id:
            return None
        with self._asking(f"run {run_id}") as client:
            try:
                return client.get_run(run_id)
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                return None

    def live(self, name: str) -> LiveModel:
        """The aliases and tags of a registered model, in one read.

        Raises:
            RegistryError: there is no such model, or no registry.
        """
        with self._asking(f"model {name!r}") as client:
            return _live(client.get_registered_model(name))

    def live_of(self, names: Iterable[str]) -> dict[str, LiveModel]:
        """As `live`, of several models at once: a fraction of the work. Those that are not there are left out.

        Raises:
            RegistryAway: the registry does not answer.
        """
        wanted = set(names)
        odd = {name for name in wanted if not PLAIN.fullmatch(name)}
        found = self._one_by_one(odd)
        for piece in pieces(wanted - odd):
            quoted = ", ".join(f"'{name}'" for name in piece)
            try:
                with self._asking("the models that are served") as client:
                    models = client.search_registered_models(f"name IN ({quoted})", max_results=len(piece))
                found |= {str(model.name): _live(model) for model in models}
            except RegistryAway:
                raise
            except RegistryError:  # not every registry knows IN
                found |= self._one_by_one(piece)
        return found

    def _one_by_one(self, names: Iterable[str]) -> dict[str, LiveModel]:
        found: dict[str, LiveModel] = {}
        for name in names:
            try:
                found[name] = self.live(name)
            except RegistryAway:
                raise
            except RegistryError:
                continue
        return found

    def having(self, alias: str, patterns: Iterable[str]) -> dict[str, str]:
        """Name -> version of the models that have an alias and, nearly, a name with one of the patterns.

        Args:
            patterns: `*` and `?` stand for any characters. More may be found: registries differ about upper case.

        Raises:
            RegistryError: it does not answer.
        """
        found: dict[str, str] = {}
        for pattern in patterns:
            for model in self._named_like(pattern.replace("*", "%").replace("?", "_")):
                if alias in model.aliases:
                    found[str(model.name)] = str(model.aliases[alias])
        return found

    def _named_like(self, like: str) -> Iterator[RegisteredModel]:
        token: str | None = None
        while True:
            with self._asking(f"models with a name like {like!r}") as client:
                page = client.search_registered_models(f"name LIKE '{like}'", max_results=_PAGE, page_token=token)
            yield from page
            token = page.token or None
            if token is None:
                return

    def write_tag(self, name: str, key: str, value: str) -> None:
        """Sets a tag of a registered model."""
        with self._asking(f"tag {key!r} of model {name!r}") as client:
            client.set_registered_model_tag(name, key, value)

    def delete_tag(self, name: str, key: str) -> None:
        """Removes a tag of a registered model; one that is not there is no error."""
        with self._asking(f"tag {key!r} of model {name!r}") as client:
            client.delete_registered_model_tag(name, key)

    def experiment(self, name: str) -> str:
        """The id of the experiment `name`, made when it does not exist."""
        with self._asking(f"experiment {name!r}") as client:
            found = client.get_experiment_by_name(name)
            if found is not None:
                return str(found.experiment_id)
            location = self._settings.artifact_location
            if location is not None and "://" not in location:
                Path(location).mkdir(parents=True, exist_ok=True)
            try:
                return str(client.create_experiment(name, artifact_location=location))
            except MlflowException as error:
                found = client.get_experiment_by_name(name) if error.error_code == _EXISTS else None
                if found is None:
                    raise
                return str(found.experiment_id)


def parts_of(uri: str) -> tuple[str, str | None, str | None]:
    """Name, alias and version of `models:/NAME@ALIAS` or `models:/NAME/VERSION`: one of the last two is None.

    Raises:
        ConfigError: `uri` has another form.
    """
    match = _MODEL_URI.fullmatch(uri)
    if match is None:
        raise ConfigError(f"{uri!r} is no model: expected models:/NAME@ALIAS or models:/NAME/VERSION")
    return match["name"], match["alias"], match["version"]


def model_name(uri: str) -> str:
    """The registered model that a URI is about; raises as `parts_of`."""
    return parts_of(uri)[0]


def _fetched(uri: str, tracking_uri: str) -> Path:
    repository: Any = get_artifact_repository(uri, tracking_uri=tracking_uri)
    if isinstance(repository.repo, LocalArtifactRepository):
        return Path(repository.download_artifacts(""))
    with local_copies().making() as folder:
        return Path(repository.download_artifacts("", str(folder)))


def _check_that_it_answers(uri: str) -> None:
    """MLflow itself tries to open a database for a hundred seconds."""
    create_engine(uri, poolclass=NullPool).connect().close()


def _create(client: MlflowClient, name: str) -> None:
    """Another process may have been faster."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != _EXISTS:
            raise


def _live(found: RegisteredModel) -> LiveModel:
    aliases = {str(alias): str(version) for alias, version in found.aliases.items()}
    return LiveModel(aliases, {str(key): str(value) for key, value in found.tags.items()})


def _model_version(found: MlflowModelVersion) -> ModelVersion:
    return ModelVersion(str(found.name), str(found.version), str(found.run_id or ""))

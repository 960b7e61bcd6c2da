"""The config files: typed, with `${VARIABLES}` filled in, and an error that names the key."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from taxiway.errors import ConfigError

_VARIABLE = re.compile(r"\$\{(\w+)\}")
OnFailure = Literal["refuse", "null", "default"]


class Settings(BaseModel):
    """Frozen, and an unknown key is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileSettings(Settings):
    """Settings that stand in a file: `${NAME}` in any string is the environment variable NAME."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        return fill_in(data)

    @classmethod
    def model_validate(cls, obj: Any, **_: Any) -> Self:
        """What Serve's typed builder calls; as `parse`, so that the error names the key in one sentence."""
        return parse(obj, cls, "args")


class RegistrySettings(Settings):
    """Where MLflow keeps models."""

    tracking_uri: str = Field(
        default_factory=lambda: f"sqlite:///{home()}/mlflow.db",
        description="an MLflow tracking server or a database URL; default sqlite:///${TAXIWAY_HOME}/mlflow.db",
    )
    artifact_location: str | None = Field(
        default_factory=lambda: f"{home()}/artifacts",
        description="where new experiments keep artifacts, null leaves it to the tracking server; "
        "default ${TAXIWAY_HOME}/artifacts",
    )


class OnlineReadSettings(Settings):
    """How a replica reads features for requests."""

    as_of: datetime | None = Field(
        default=None,
        description="the moment at which the age of a feature is judged, for a store that stands in the past "
        "(ISO 8601, UTC unless it says otherwise); null: now",
    )
    timeout_s: float = Field(default=2.0, gt=0, description="for the read of one batch; over it the store has failed")
    on_failure: OnFailure = Field(
        default="refuse",
        description="when the store fails: `refuse` answers 503, `null` predicts without its features, `default` with "
        "the package's defaults, null where there is none",
    )

    @field_validator("as_of")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        if moment is None or moment.tzinfo is not None:
            return moment
        return moment.replace(tzinfo=UTC)


class FeatureStoreSettings(Settings):
    """Where Feast's configuration lies."""

    repository: str = Field(description="a folder with a feature_store.yaml")
    online: OnlineReadSettings = Field(
        default=OnlineReadSettings(), description="reads for requests; jobs join the history and take no notice"
    )


FileSettingsT = TypeVar("FileSettingsT", bound=FileSettings)


def home() -> Path:
    """The folder of the embedded defaults: `TAXIWAY_HOME`, or `var` below the working directory."""
    return Path(os.environ.get("TAXIWAY_HOME") or "var").resolve()


def fill_in(data: Any, key: str = "") -> Any:
    """`data` with every `${NAME}` in its strings replaced; `key` is where it stands in the file.

    Raises:
        ValueError: a variable is not set.
    """
    if isinstance(data, str):
        return _VARIABLE.sub(lambda match: _value_of_variable(match[1], key), data)
    if isinstance(data, dict):
        return {name: fill_in(value, f"{key}.{name}".lstrip(".")) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [fill_in(value, f"{key}.{position}") for position, value in enumerate(data)]
    return data


def _value_of_variable(name: str, key: str) -> str:
    if name == "TAXIWAY_HOME":
        return str(home())
    value = os.environ.get(name)
    if value is None:
        raise ValueError(f"key {key!r}: the environment variable {name} is not set")
    return value


def load(path: str | Path, kind: type[FileSettingsT]) -> FileSettingsT:
    """Reads a YAML file of one kind of settings.

    Raises:
        ConfigError: the file can't be read, or a key is unknown, missing or has a wrong value.
    """
    return parse(read_yaml(path), kind, str(path))


def read_yaml(path: str | Path) -> Any:
    try:
        return yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error


def parse(data: Any, kind: type[FileSettingsT], source: str) -> FileSettingsT:
    """Validates what a file held; `source` names it in errors."""
    if not (isinstance(data, dict) and all(isinstance(key, str) for key in data)):
        raise ConfigError(f"{source}: expected keys and values, found {type(data).__name__}")
    try:
        return kind(**data)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(_sentence(entry, kind) for entry in error.errors())) from error


def _sentence(entry: Any, kind: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in entry["loc"])
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "extra_forbidden":
        return f"unknown key {key!r}; known here: {', '.join(_known_keys(entry['loc'][:-1], kind))}"
    return f"key {key!r}: {message[0].lower()}{message[1:]}" if key else message


def _known_keys(location: tuple[Any, ...], kind: type[BaseModel]) -> list[str]:
    """The keys allowed at `location`, found by walking the JSON schema."""
    schema = kind.model_json_schema()
    node: dict[str, Any] = schema
    for part in location:
        node = _resolve(node, schema)
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
    return sorted(_resolve(node, schema).get("properties", {}))


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for choice in (node, *node.get("anyOf", ())):
        if "$ref" in choice:
            found: dict[str, Any] = schema["$defs"][choice["$ref"].rsplit("/", 1)[1]]
            return found
    return node

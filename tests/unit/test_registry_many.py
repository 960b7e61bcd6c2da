"""What a registry says of many models at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from taxiway import registry as module
from taxiway import registry_names
from taxiway.errors import RegistryAway
from taxiway.registry import LiveModel, Registry
from taxiway.registry_names import pieces
from taxiway.settings import RegistrySettings

STORES = tuple(f"store-{number}" for number in range(5))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("registry")
    registry = Registry(RegistrySettings(tracking_uri=f"sqlite:///{folder}/mlflow.db"))
    client = mlflow.MlflowClient(registry.tracking_uri)
    for number, name in enumerate((*STORES, "it's odd", "Storehouse", "shop")):
        client.create_registered_model(name)
        client.create_model_version(name, str(folder), None)
        if number != 4:
            client.set_registered_model_alias(name, "champion", "1")
        client.set_registered_model_tag(name, "number", str(number))
    return registry


def test_many_models_are_told_as_each_of_them_is(registry: Registry) -> None:
    wanted = [*STORES, "it's odd", "no such model"]
    found = registry.live_of(wanted)
    assert found == {name: registry.live(name) for name in (*STORES, "it's odd")}
    assert found["store-1"] == LiveModel({"champion": "1"}, {"number": "1"})
    assert registry.live_of([]) == {}


def test_more_names_than_a_request_can_carry_are_asked_for_in_pieces(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_names, "_LINE_BYTES", 40)
    found = list(pieces(STORES))
    assert len(found) > 1
    assert all(len(", ".join(f"'{name}'" for name in piece)) <= 40 for piece in found)
    assert set(registry.live_of(STORES)) == set(STORES)


class Refusing:
    """A client of a registry that does not know IN, or is away."""

    def __init__(self, client: Any, code: int | None) -> None:
        self._client, self._code = client, code

    def search_registered_models(self, *_: Any, **__: Any) -> Any:
        if self._code is None:
            raise OSError("away")
        raise MlflowException("Invalid comparator", self._code)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@pytest.fixture
def refusing(registry: Registry, request: pytest.FixtureRequest) -> Iterator[Registry]:
    before = registry._client
    registry._opened = Refusing(before, request.param)  # type: ignore[assignment]
    yield registry
    registry._opened = before


@pytest.mark.parametrize("refusing", [INVALID_PARAMETER_VALUE], indirect=True)
def test_a_registry_that_can_not_be_asked_for_many_is_asked_one_by_one(refusing: Registry) -> None:
    assert set(refusing.live_of([*STORES, "no such model"])) == set(STORES)


@pytest.mark.parametrize("refusing", [None], indirect=True)
def test_one_that_is_away_is_not_asked_again_for_each(refusing: Registry) -> None:
    with pytest.raises(RegistryAway):
        refusing.live_of(STORES)


def test_models_are_found_by_pattern_and_alias(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    assert registry.having("champion", ["store-*"]) == dict.fromkeys(STORES[:4], "1")
    assert registry.having("champion", ["store-?", "shop"]) == dict.fromkeys((*STORES[:4], "shop"), "1")
    assert registry.having("challenger", ["*"]) == {}


def test_a_folder_that_lies_here_is_not_copied(registry: Registry, tmp_path: Path) -> None:
    source = mlflow.MlflowClient(registry.tracking_uri).get_model_version("shop", "1").source
    folder = registry.fetch(registry.resolve("models:/shop@champion"))
    registry.release(folder)
    assert folder == Path(str(source))
    assert folder.is_dir()

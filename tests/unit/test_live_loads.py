"""What a replica counts as a version that can't be loaded, and what is just not there now."""

from collections.abc import Mapping
from typing import Any

import pytest

from serve.endpoint import Endpoint
from serve.live import Live
from serve.settings import EndpointSettings, VariantSettings
from taxiway.errors import PackageError, RegistryError
from taxiway.registry import LiveModel, ModelVersion

VARIANTS = [{"name": it, "model": f"models:/parcel@{it}"} for it in ("champion", "challenger")]


class Known:
    """A registry that knows one model with these aliases."""

    def __init__(self, aliases: Mapping[str, str]) -> None:
        self._aliases = aliases

    def live_of(self, names: set[str]) -> dict[str, LiveModel]:
        return {name: LiveModel(self._aliases, {}) for name in names}

    def resolve(self, uri: str) -> ModelVersion:
        raise RegistryError(f"{uri}: there is no such alias")


def counted(aliases: Mapping[str, str], **keys: Any) -> list[tuple[str, str]]:
    """The failures of a start at which version 2 can't be loaded."""
    found: list[tuple[str, str]] = []
    endpoint = Endpoint(EndpointSettings(name="parcel", variants=VARIANTS, **keys), 30.0)

    def load(endpoint: Endpoint, settings: VariantSettings, versions: Mapping[str, ModelVersion]) -> Any:
        if any(it.version == "2" for it in versions.values()):
            raise PackageError("version 2: it lacks its signature")
        return None

    registry: Any = Known(aliases)
    Live("tests", registry, [endpoint], load, lambda *_: None, lambda *it: found.append(it), 1.0).load_all()
    return found


def test_a_rollout_without_a_challenger_is_no_failure() -> None:
    assert counted({"champion": "1"}, rollout={}) == []


def test_a_challenger_that_can_not_be_loaded_is_one() -> None:
    assert counted({"champion": "1", "challenger": "2"}, rollout={}) == [("parcel", "challenger")]


@pytest.mark.parametrize("aliases", [{"champion": "1"}, {"champion": "1", "challenger": "2"}])
def test_without_a_rollout_a_variant_that_has_no_version_is_one_too(aliases: Mapping[str, str]) -> None:
    assert counted(aliases) == [("parcel", "challenger")]

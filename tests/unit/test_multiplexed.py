"""Which names a multiplexed endpoint answers for, and what a caller is told when a model can't be had."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from serve.multiplexed import Multiplexed, MultiplexedEndpoints
from serve.settings import MultiplexedSettings, ServeSettings
from taxiway.errors import (
    ConfigError,
    DeadlineExceeded,
    NotFound,
    PackageError,
    RegistryAway,
    RegistryError,
    TaxiwayError,
    Unavailable,
)
from taxiway.registry import ModelVersion
from taxiway.settings import parse
from taxiway.telemetry.metrics import ServingMetrics

STORES = {"name": "stores", "models": ["store-*", "shop"]}
ENDPOINT = {"name": "parcel", "model": "models:/parcel@champion"}


def parsed(**rest: Any) -> ServeSettings:
    return parse(rest, ServeSettings, "serve.yaml")


def raising(error: TaxiwayError) -> Callable[..., Any]:
    def fails(*_: Any) -> Any:
        raise error

    return fails


def multiplexed(resolve: Callable[[str], ModelVersion], make_slot: Callable[..., Any]) -> Multiplexed:
    settings = MultiplexedSettings.model_validate(STORES)
    return Multiplexed(settings, 30.0, 10, resolve, make_slot, ServingMetrics())


def version(uri: str) -> ModelVersion:
    return ModelVersion(uri, "1", "")


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("store-1", True),
        ("shop", True),
        ("shop-1", False),
        ("Store-1", False),
        ("store-a/b", False),
        ("store- 1", False),
    ],
)
def test_names_are_matched_by_pattern(name: str, is_ours: bool) -> None:
    assert multiplexed(version, raising(PackageError("-"))).matches(name) == is_ours


@pytest.mark.parametrize(
    ("resolve", "make_slot", "told", "says"),
    [
        (raising(RegistryError("sqlite:///secret says no")), None, NotFound, "no such model: 'store-1'"),
        (raising(RegistryAway("https://secret is away")), None, Unavailable, "the registry does not answer"),
        (version, raising(PackageError("secret: no signature")), Unavailable, "store-1 can't be loaded now"),
    ],
)
def test_a_caller_is_told_whether_it_helps_to_try_again_and_nothing_of_the_inside(
    resolve: Callable[[str], ModelVersion], make_slot: Callable[..., Any], told: type[TaxiwayError], says: str
) -> None:
    endpoints = MultiplexedEndpoints([multiplexed(resolve, make_slot)])
    with pytest.raises(told, match=says) as caught:
        asyncio.run(endpoints.find("store-1", None))
    assert type(caught.value) is told
    assert "secret" not in str(caught.value)


def test_a_name_that_no_pattern_has_does_not_reach_the_registry() -> None:
    endpoints = MultiplexedEndpoints([multiplexed(raising(RegistryAway("away")), raising(PackageError("-")))])
    with pytest.raises(NotFound):
        asyncio.run(endpoints.find("parcel", None))


def test_a_caller_s_own_time_bounds_the_wait_for_a_model() -> None:
    gate = threading.Event()

    def resolve(uri: str) -> ModelVersion:
        gate.wait(5)
        return version(uri)

    async def ask() -> None:
        endpoints = MultiplexedEndpoints([multiplexed(resolve, raising(PackageError("-")))])
        with pytest.raises(DeadlineExceeded):
            await endpoints.find("store-1", 0.01)

    try:
        asyncio.run(ask())
    finally:
        gate.set()


def test_a_serve_file_serves_endpoints_or_multiplexed_ones_and_each_name_once() -> None:
    assert parsed(multiplexed=[STORES]).endpoints == ()
    with pytest.raises(ConfigError, match="nothing is served; give endpoints or multiplexed"):
        parsed()
    with pytest.raises(ConfigError, match="the same name"):
        parsed(endpoints=[ENDPOINT], multiplexed=[STORES | {"name": "parcel"}])
    with pytest.raises(ConfigError, match="variants"):
        parsed(multiplexed=[STORES | {"variants": []}])


def test_a_replica_behind_serve_has_time_for_the_longest_request_of_a_multiplexed_endpoint() -> None:
    assert parsed(listener="serve", multiplexed=[STORES | {"timeout_s": 90.0}]).drain_s == 90.0


def test_a_lame_duck_has_time_before_it_drains() -> None:
    listener = {"lame_duck_s": 8.0, "drain_s": 3.0}
    assert parsed(endpoints=[ENDPOINT], listener=listener, limits={"timeout_s": 20.0}).drain_s == 31.0

"""The live traffic table in a real registry: a database of MLflow's own making."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from serve.settings import EndpointSettings, LiveSettings, VariantSettings
from serve.traffic import LiveTable, live_table, main
from taxiway.errors import ConfigError, RegistryError
from taxiway.registry import Registry
from taxiway.settings import RegistrySettings
from taxiway.traffic import TrafficSettings, only
from tests.tiny_model import registry_settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HALF = TrafficSettings(weights={"champion": 50.0, "challenger": 50.0})
DECLARED = TrafficSettings(weights={"champion": 90.0, "challenger": 10.0})
ENDPOINT = EndpointSettings(
    name="parcel",
    variants=(
        VariantSettings(name="champion", model="models:/parcel@champion"),
        VariantSettings(name="challenger", model="models:/parcel@challenger"),
    ),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry in which `parcel` has two versions; MLflow needs seconds to make one."""
    folder = tmp_path_factory.mktemp("registry")
    client = MlflowClient(registry_settings(folder).tracking_uri)
    client.create_registered_model("parcel")
    for _ in range(2):
        client.create_model_version("parcel", str(folder))
    client.set_registered_model_alias("parcel", "champion", "1")
    client.set_registered_model_alias("parcel", "challenger", "2")
    return folder / "mlflow.db"


@pytest.fixture
def registry(prepared: Path, tmp_path: Path) -> Registry:
    shutil.copy(prepared, tmp_path)
    return Registry(registry_settings(tmp_path))


def table(registry: Registry, declared: TrafficSettings = DECLARED) -> LiveTable:
    return live_table(registry, "default", ENDPOINT, LiveSettings(traffic={"parcel": declared}))


def test_one_read_gives_aliases_and_tags(registry: Registry, tmp_path: Path) -> None:
    client = MlflowClient(registry_settings(tmp_path).tracking_uri)
    client.set_registered_model_tag("parcel", "owner", "ada")
    found = registry.live("parcel")
    assert found.aliases == {"champion": "1", "challenger": "2"}
    assert found.tags == {"owner": "ada"}
    client.set_registered_model_alias("parcel", "champion", "2")
    assert registry.live("parcel").aliases["champion"] == "2"


def test_a_tag_is_written_over_and_removed(registry: Registry) -> None:
    registry.write_tag("parcel", "a/b", "1")
    registry.write_tag("parcel", "a/b", "2")
    assert registry.live("parcel").tags == {"a/b": "2"}
    registry.delete_tag("parcel", "a/b")
    registry.delete_tag("parcel", "a/b")
    assert registry.live("parcel").tags == {}


ASK: list[Callable[[Registry], object]] = [
    lambda registry: registry.live("nobody"),
    lambda registry: registry.write_tag("nobody", "key", "value"),
    lambda registry: registry.delete_tag("nobody", "key"),
]


@pytest.mark.parametrize("ask", ASK)
def test_a_model_that_is_not_there_is_named(registry: Registry, ask: Callable[[Registry], object]) -> None:
    with pytest.raises(RegistryError, match=r"model 'nobody': the registry sqlite:.* says: .*not found"):
        ask(registry)


@pytest.mark.parametrize("ask", ASK)
def test_a_registry_that_breaks_while_it_is_used_is_a_registry_error(
    registry: Registry, tmp_path: Path, ask: Callable[[Registry], object]
) -> None:
    registry.live("parcel")
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1_000)
    with pytest.raises(RegistryError, match=r"model 'nobody': the registry sqlite:"):
        ask(registry)


def test_a_registry_that_is_away_is_a_registry_error_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry(RegistrySettings(tracking_uri="http://me:secret@127.0.0.1:9"))
    with pytest.raises(RegistryError, match=r"model 'parcel': the registry http://\*\*\*@127\.0\.0\.1:9") as caught:
        registry.live("parcel")
    assert "secret" not in str(caught.value)


def test_a_tag_name_that_mlflow_refuses_is_a_registry_error(registry: Registry) -> None:
    with pytest.raises(RegistryError, match=r"tag 'a\?b' of model 'parcel'"):
        registry.write_tag("parcel", "a?b", "1")


def test_many_threads_open_and_ask_one_registry(registry: Registry) -> None:
    def work(number: int) -> str:
        registry.write_tag("parcel", f"thread-{number}", str(number))
        return registry.live("parcel").tags[f"thread-{number}"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == [str(number) for number in range(24)]
    assert len(registry.live("parcel").tags) == 24


def test_what_is_written_holds_for_whoever_reads_until_it_is_reset(registry: Registry, tmp_path: Path) -> None:
    other = table(Registry(registry_settings(tmp_path)))
    assert other.read().effective == DECLARED
    written = table(registry).write(HALF, "ada", NOON)
    assert other.read() == written
    assert written.effective == HALF
    assert written.override is not None
    assert (written.override.by, written.override.set_at) == ("ada", "2026-03-01T12:00:00+00:00")
    assert table(registry).reset() == other.read()
    assert other.read().effective == DECLARED


def test_another_declaration_ends_the_override(registry: Registry) -> None:
    table(registry).write(HALF, "ada", NOON)
    assert table(registry, only("champion")).read().effective == only("champion")


def test_an_unknown_variant_is_not_written(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="'champoin' is no variant"):
        table(registry).write(only("champoin"), "ada", NOON)
    assert registry.live("parcel").tags == {}


def test_an_override_that_somebody_broke_is_named_and_can_be_replaced(registry: Registry) -> None:
    registry.write_tag("parcel", table(registry).tag, "50/50")
    with pytest.raises(ConfigError, match="the traffic override in the registry can't be read"):
        table(registry).read()
    table(registry).write(HALF, "ada", NOON)
    assert table(registry).read().effective == HALF


def serve_file(folder: Path, *applications: str) -> str:
    path = folder / "serve.yaml"
    content = {
        "proxy_location": "Disabled",
        "applications": [
            {
                "name": name,
                "route_prefix": f"/{name}",
                "import_path": "serve.app:build",
                "args": {
                    "endpoints": [ENDPOINT.model_dump(mode="json", include={"name": True, "variants": True})],
                    "registry": registry_settings(folder).model_dump(),
                },
                "deployments": [
                    {"name": "ingress", "user_config": {"traffic": {"parcel": DECLARED.model_dump(mode="json")}}}
                ],
            }
            for name in applications
        ],
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def test_the_command_sets_shows_and_resets(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = serve_file(tmp_path, "default")
    assert main([path, "parcel", "champion=70", "challenger=30", "--shadow", "challenger=5", "--by", "ada"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("parcel: set by ada at ")
    assert shown.splitlines()[1:] == ["  champion 70 %", "  challenger 30 %", "  challenger shadows 5 %"]
    assert table(registry).read().effective.shadows == {"challenger": 5.0}
    assert main([path, "parcel", "--show"]) == 0
    assert capsys.readouterr().out == shown
    assert main([path, "parcel", "--reset"]) == 0
    assert capsys.readouterr().out == "parcel: as declared\n  champion 90 %\n  challenger 10 %\n"
    assert registry.live("parcel").tags == {}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["parcel"], "give either weights"),
        (["parcel", "champion=100", "--show"], "give either weights"),
        (["parcel", "--shadow", "challenger=5"], "key 'weights'"),
        (["parcel", "champion=60"], "the weights sum to 60"),
        (["parcel", "champion"], "'champion' is no share; expected each variant once, as NAME=PERCENT"),
        (["parcel", "champion=50", "champion=50"], "'champion=50' stands there twice"),
        (["parcel", "champion=x"], "key 'weights.champion': input should be a valid number"),
        (["parcel", "nobody=100"], "'nobody' is no variant of this endpoint; its variants are champion, challenger"),
        (["letter", "--show"], "no endpoint 'letter'; found: default/parcel"),
    ],
)
def test_the_command_says_what_is_wrong_and_changes_nothing(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main([serve_file(tmp_path, "default"), *arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert registry.live("parcel").tags == {}


def test_an_endpoint_of_two_applications_needs_the_application(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = serve_file(tmp_path, "blue", "green")
    assert main([path, "parcel", "champion=100"]) == 2
    assert "the applications blue, green all have 'parcel'; say which with --application" in capsys.readouterr().err
    assert main([path, "parcel", "champion=100", "--application", "green"]) == 0
    (tag,) = registry.live("parcel").tags.items()
    assert tag[0] == "taxiway.traffic/green/parcel"
    assert json.loads(tag[1])["traffic"]["weights"] == {"champion": 100.0}

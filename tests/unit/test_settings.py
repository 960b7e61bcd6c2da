from pathlib import Path

import pytest

from batch.settings import ScoreSettings
from retrain.settings import RetrainSettings
from serve.settings import ServeSettings
from taxiway.errors import ConfigError
from taxiway.settings import RegistrySettings, fill_in, load, parse

ENDPOINT = {"name": "parcel", "model": "models:/parcel@champion"}


def test_an_unknown_key_is_named_with_the_keys_that_are_known() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown key 'listener\.prot'; known here: connection_age_s, connections, drain_s"
    ):
        parse({"endpoints": [ENDPOINT], "listener": {"prot": 1}}, ServeSettings, "serve.yaml")


def test_an_unknown_key_inside_a_list_is_named_by_its_position() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown key 'endpoints\.0\.modle'; known here: accept_without_signature, batch_wait_s"
    ):
        parse({"endpoints": [ENDPOINT | {"modle": "x"}]}, ServeSettings, "serve.yaml")


def test_a_missing_key_and_a_wrong_value_are_both_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"input": "a", "output": "b", "piece_rows": 0}, ScoreSettings, "score.yaml")
    assert "score.yaml" in str(caught.value)
    assert "'model': field required" in str(caught.value)
    assert "'piece_rows': input should be greater than" in str(caught.value)


def test_serve_gets_the_same_sentence_from_its_typed_builder() -> None:
    with pytest.raises(ConfigError, match="unknown key 'endpoint'"):
        ServeSettings.model_validate({"endpoint": []})


def test_two_endpoints_with_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="same name"):
        ServeSettings.model_validate({"endpoints": [ENDPOINT, ENDPOINT]})


def test_a_variable_is_filled_in_and_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "parcels")
    assert fill_in({"a": ["s3://${BUCKET}/x"]}) == {"a": ["s3://parcels/x"]}
    with pytest.raises(ConfigError, match="key 'input': the environment variable NOT_SET_ANYWHERE is not set"):
        parse({"model": "m", "input": "${NOT_SET_ANYWHERE}", "output": "b"}, ScoreSettings, "score.yaml")


def test_the_embedded_registry_lies_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    assert RegistrySettings().tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.delenv("TAXIWAY_HOME")
    monkeypatch.chdir(tmp_path)
    assert RegistrySettings().artifact_location == f"{tmp_path}/var/artifacts"


@pytest.mark.parametrize(
    ("text", "complaint"), [("a: [", "is not YAML"), ("- a", "found list"), ("", "found NoneType")]
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "score.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load(path, ScoreSettings)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "score.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(path, ScoreSettings)


def test_a_value_of_a_variable_is_not_filled_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URI", "postgresql://me:${HOME}@db/mlflow")
    settings = parse(
        {"model": "m", "input": "a", "output": "b", "registry": {"tracking_uri": "${URI}"}}, ScoreSettings, "f"
    )
    assert settings.registry.tracking_uri == "postgresql://me:${HOME}@db/mlflow"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such\\.yaml: can't be read: No such file"):
        load(tmp_path / "no-such.yaml", ScoreSettings)


def test_the_example_files_are_valid() -> None:
    assert load("configs/flights/score.yaml", ScoreSettings).row_id == "flight_id"
    assert load("configs/flights/retrain.yaml", RetrainSettings).model == "flight-delay"

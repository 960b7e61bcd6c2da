"""`taxiway validate` says of each config file whether its program would take it, and what is wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from taxiway.cli import main
from tests.tiny_model import register, registry_settings

RETRAIN = "configs/flights/retrain.yaml"


def serve_file(folder: Path, model: str, **more: Any) -> str:
    arguments = {
        "endpoints": [{"name": "parcel", "model": model, **more}],
        "listener": {"host": "127.0.0.1", "port": 8000},
        "registry": registry_settings(folder).model_dump(exclude_none=True),
    }
    application = {"name": "parcels", "import_path": "serve.app:build", "args": arguments}
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump({"proxy_location": "Disabled", "applications": [application]}))
    return str(path)


def test_files_that_can_be_used_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    register(tmp_path)
    served = serve_file(tmp_path, "models:/parcel@champion")
    assert main(["validate", served, RETRAIN]) == 0
    told = capfd.readouterr().out
    assert "models:/parcel@champion is version 1" in told
    assert f"can be used: {served}, {RETRAIN}" in told


@pytest.mark.parametrize(
    ("model", "more", "told"),
    [
        ("models:/parcels@champion", {}, "parcels"),
        ("models:/parcel@champion", {"time_out": 3}, "time_out'"),
    ],
)
def test_a_missing_model_and_a_wrong_key_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], model: str, more: dict[str, Any], told: str
) -> None:
    register(tmp_path)
    served = serve_file(tmp_path, model, **more)
    assert main(["validate", served]) == 2
    errors = capfd.readouterr().err
    assert told in errors
    assert f"can't be used: {served}" in errors


def test_a_file_of_no_program_is_said_to_be_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("image: taxiway\n")
    assert main(["validate", str(path)]) == 2
    assert "no file of serve, batch or retrain" in capfd.readouterr().err

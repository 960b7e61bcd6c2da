"""`python -m batch` with a real Ray, a real registry and real files."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from taxiway.registry import Registry
from taxiway.signature import take
from tests.tiny_model import parcels, register, registry_settings

pytestmark = pytest.mark.timeout(300)
ROWS = 3_000
BROKEN = {
    7: ("color", "mauve", "unknown_category"),
    8: ("color", None, "missing_value"),
    1_500: ("size", 1_000.5, "out_of_range"),
    1_501: ("size", float("inf"), "not_finite"),
    1_502: ("size", None, "missing_value"),
    2_999: ("count", None, "missing_value"),
}


@dataclass(frozen=True)
class Workplace:
    """A folder with a registry, an input and a config file."""

    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "scores"

    def config(self, **changes: object) -> Path:
        keys = {
            "model": "models:/parcel@champion",
            "input": "${TAXIWAY_HOME}/parcels",
            "output": "${TAXIWAY_HOME}/scores",
            "row_id": "parcel",
            "keep": ["count"],
            "registry": {"tracking_uri": "sqlite:///${TAXIWAY_HOME}/mlflow.db"},
        }
        path = self.folder / "score.yaml"
        path.write_text(yaml.safe_dump(keys | changes))
        return path

    def start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        return subprocess.Popen(
            [sys.executable, "-m", "batch", *arguments],
            env=environment | {"TAXIWAY_HOME": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments)
        out, err = process.communicate(timeout=180)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def manifest(self) -> dict[str, object]:
        return dict(json.loads((self.output / "_manifest.json").read_text()))


def _write(folder: Path, columns: dict[str, list[object]], rows: slice) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"count": pa.int32(), "color": pa.dictionary(pa.int8(), pa.string()), "comment": pa.string()}
    table = {name: pa.array(values[rows], kinds.get(name)) for name, values in columns.items()}
    pq.write_table(pa.table(table), folder, row_group_size=700)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    register(folder)
    columns = {name: values.tolist() for name, values in parcels(ROWS, seed=5).items()}
    for row, (name, value, _) in BROKEN.items():
        columns[name][row] = value
    columns["parcel"] = [f"p{row:05d}" for row in range(ROWS)]
    _write(folder / "parcels" / "a.parquet", columns, slice(0, 1_000))
    _write(folder / "parcels" / "b.parquet", columns, slice(0, 0))
    _write(folder / "parcels" / "more" / "c.parquet", columns, slice(1_000, None))
    return Workplace(folder)


@pytest.fixture(scope="module")
def finished(workplace):
    """The workplace after one whole job, and what the job said."""
    done = workplace.run(workplace.config(piece_rows=500))
    assert done.returncode == 0, done.stderr
    return workplace, done


def test_every_good_row_gets_the_answer_of_the_model_called_directly(finished):
    workplace, _ = finished
    scores = ds.dataset(workplace.output).to_table().sort_by("parcel")
    columns = parcels(ROWS, seed=5)
    good = np.setdiff1d(np.arange(ROWS), list(BROKEN))
    registry = Registry(registry_settings(workplace.folder))
    model = registry.load(registry.resolve("models:/parcel/1"))
    expected = model.predictor.predict(take(columns, good))["probability"]
    assert scores["parcel"].to_pylist() == [f"p{row:05d}" for row in good]
    assert scores["count"].to_pylist() == columns["count"][good].tolist()
    np.testing.assert_array_equal(scores["probability"].to_numpy(), expected)
    assert set(scores["model_version"].to_pylist()) == {"1"}
    assert set(scores["job_id"].to_pylist()) == {workplace.manifest()["job_id"]}


def test_every_broken_row_stands_in_quarantine_with_its_code(finished):
    workplace, _ = finished
    rows = ds.dataset(workplace.output / "_quarantine").to_table().sort_by("parcel").to_pylist()
    found = {int(row["parcel"][1:]): (row["field"], row["code"]) for row in rows}
    assert found == {row: (name, code) for row, (name, _, code) in BROKEN.items()}
    assert json.loads(rows[0]["original"])["color"] == "mauve"


def test_the_manifest_counts_every_row_and_names_every_file(finished):
    workplace, done = finished
    manifest = workplace.manifest()
    assert (manifest["rows_read"], manifest["rows_written"], manifest["rows_rejected"]) == (ROWS, ROWS - 6, 6)
    assert manifest["rejects"] == {"missing_value": 3, "unknown_category": 1, "out_of_range": 1, "not_finite": 1}
    assert [(Path(file["path"]).name, file["rows"]) for file in manifest["inputs"]] == [
        ("a.parquet", 1_000),
        ("b.parquet", 0),
        ("c.parquet", 2_000),
    ]
    for part in [*manifest["parts"], *manifest["quarantine"]]:
        assert hashlib.sha256((workplace.output / part["path"]).read_bytes()).hexdigest() == part["sha256"]
    assert "rejected  6 rows: 3 missing_value" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_second_job_is_refused_before_it_starts(finished):
    workplace, _ = finished
    before = workplace.manifest()
    refused = workplace.run(workplace.config())
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "holds a finished job; set overwrite: true" in refused.stderr
    assert workplace.manifest() == before


def test_a_dry_run_shows_the_plan_and_does_nothing(workplace):
    shown = workplace.run(workplace.config(output="${TAXIWAY_HOME}/elsewhere"), "--dry-run")
    assert shown.returncode == 0
    assert "models:/parcel/1" in shown.stdout
    assert "3 files, 3,000 rows" in shown.stdout
    assert not (workplace.folder / "elsewhere").exists()


def test_a_misspelled_key_and_an_unknown_model_are_one_line(workplace):
    misspelled = workplace.run(workplace.config(piecerows=5))
    assert misspelled.returncode == 2
    assert "unknown key 'piecerows'; known here: actors" in misspelled.stderr
    unknown = workplace.run(workplace.config(model="models:/parcel@nobody", output="${TAXIWAY_HOME}/elsewhere"))
    assert unknown.returncode == 1
    assert unknown.stderr.splitlines()[-1].startswith("batch: models:/parcel@nobody is not in the registry")
    assert "Traceback" not in unknown.stderr


def _first_part(workplace: Workplace, process: "subprocess.Popen[str]", before: set[Path]) -> Path:
    """Waits until a job has written something; returns its staging folder."""
    deadline = time.monotonic() + 120
    while True:
        found = [path.parent for path in workplace.folder.glob(".scores.run-*/part-*.parquet")]
        if fresh := set(found) - before:
            return fresh.pop()
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def _actors(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    family = psutil.Process(process.pid).children(recursive=True)
    return [child for child in family if "MapWorker" in " ".join(child.cmdline())]


def test_a_killed_job_leaves_the_old_output_and_the_next_one_survives_the_loss_of_an_actor(finished):
    workplace, _ = finished
    before = workplace.manifest()
    config = workplace.config(overwrite=True, piece_rows=3)

    killed = workplace.start(config)
    leftover = _first_part(workplace, killed, set())
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert leftover.is_dir()
    assert workplace.manifest() == before
    assert ds.dataset(workplace.output).count_rows() == ROWS - 6

    job = workplace.start(config)
    _first_part(workplace, job, {leftover})
    _actors(job)[0].kill()
    register(workplace.folder, seed=1)
    assert job.poll() is None
    out, err = job.communicate(timeout=180)
    assert job.returncode == 0, err
    manifest = workplace.manifest()
    assert manifest["job_id"] != before["job_id"]
    assert (manifest["rows_written"], manifest["rows_rejected"]) == (ROWS - 6, 6)
    scores = ds.dataset(workplace.output).to_table()
    assert len(set(scores["parcel"].to_pylist())) == scores.num_rows == ROWS - 6
    assert set(scores["model_version"].to_pylist()) == {"1"}
    assert list(workplace.folder.glob(".scores.*")) == []
    assert "models:/parcel/1" in out

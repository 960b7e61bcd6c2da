"""`python -m batch` on a real Ray, with a real registry and real files; and what happens when it is killed."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import ray
import yaml

from taxiway.registry import Registry
from taxiway.signature import take
from tests.batch_runs import Run, without_rays_own
from tests.faulty_models import DEADLY, register_faulty
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
class Done:
    """How a job has ended."""

    returncode: int | None
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Workplace:
    """A folder with a registry, an input and a config file."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        return self.folder / "scores"

    @property
    def staging(self) -> Path:
        return self.folder / ".scores.run"

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

    def start(self, *arguments: str | Path, **environment: str) -> Run:
        told = os.environ | self.environment | {"TAXIWAY_HOME": str(self.folder)} | environment
        return Run([str(argument) for argument in arguments], told)

    def run(self, *arguments: str | Path, **environment: str) -> "Done":
        job = self.start(*arguments, **environment)
        out, err = job.communicate()
        return Done(job.returncode, out, err)

    def manifest(self) -> dict[str, object]:
        return dict(json.loads((self.output / "_manifest.json").read_text()))

    def scores(self) -> pa.Table:
        return ds.dataset(self.output).to_table().drop_columns(["job_id"])

    def commits(self) -> int:
        return len(list(self.staging.glob("_run/*/piece-*.json")))


def _write(path: Path, columns: dict[str, list[object]], rows: slice) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"count": pa.int32(), "color": pa.dictionary(pa.int8(), pa.string()), "comment": pa.string()}
    table = {name: pa.array(values[rows], kinds.get(name)) for name, values in columns.items()}
    pq.write_table(pa.table(table), path, row_group_size=700)


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all jobs of this module; each of them could start its own."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    ray.shutdown()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, cluster):
    folder = tmp_path_factory.mktemp("batch")
    register(folder)
    columns = {name: values.tolist() for name, values in parcels(ROWS, seed=5).items()}
    for row, (name, value, _) in BROKEN.items():
        columns[name][row] = value
    columns["parcel"] = [f"p{row:05d}" for row in range(ROWS)]
    _write(folder / "parcels" / "a.parquet", columns, slice(0, 1_000))
    _write(folder / "parcels" / "b.parquet", columns, slice(0, 0))
    _write(folder / "parcels" / "more" / "c.parquet", columns, slice(1_000, None))
    return Workplace(folder, cluster)


@pytest.fixture(scope="module")
def finished(workplace):
    """The workplace after one whole job, and what the job said."""
    done = workplace.run(workplace.config(piece_rows=500))
    assert done.returncode == 0, done.stderr
    return workplace, done


@pytest.fixture(scope="module")
def reference(finished):
    """What an uninterrupted job with small pieces writes, in its order."""
    workplace, _ = finished
    done = workplace.run(workplace.config(piece_rows=50, output="${TAXIWAY_HOME}/reference"))
    assert done.returncode == 0, done.stderr
    parts = sorted((workplace.folder / "reference").glob("part-*"))
    return ds.dataset(parts).to_table().drop_columns(["job_id"])


def test_every_good_row_gets_the_answer_of_the_model_called_directly(finished):
    workplace, _ = finished
    scores = workplace.scores()
    columns = parcels(ROWS, seed=5)
    good = np.setdiff1d(np.arange(ROWS), list(BROKEN))
    registry = Registry(registry_settings(workplace.folder))
    model = registry.load(registry.resolve("models:/parcel/1"))
    expected = model.predictor.predict(take(columns, good))["probability"]
    assert scores["parcel"].to_pylist() == [f"p{row:05d}" for row in good]
    assert scores["count"].to_pylist() == columns["count"][good].tolist()
    np.testing.assert_array_equal(scores["probability"].to_numpy(), expected)
    assert set(scores["model_version"].to_pylist()) == {"1"}
    assert list(workplace.folder.glob(".scores*")) == []


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
    assert manifest["scores"]["probability"]["count"] == ROWS - 6
    assert "rejected  6 rows: 3 missing_value" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_same_command_again_has_nothing_to_do_and_another_one_is_refused(finished):
    workplace, _ = finished
    before = workplace.manifest()
    again = workplace.run(workplace.config(piece_rows=500, actors=1))
    assert again.returncode == 0
    assert again.stdout.startswith("already done:")
    refused = workplace.run(workplace.config(piece_rows=500, keep=[]))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert 'set overwrite: true to replace it (keep was ["count"], now [])' in refused.stderr
    assert workplace.manifest() == before


def test_a_dry_run_shows_the_plan_and_does_nothing(workplace):
    config = workplace.config(output="${TAXIWAY_HOME}/by-day/{date}", filter="count > 10")
    shown = workplace.run(config, "--dry-run", "--date", "2013-11-05", "--limit", "1200")
    assert shown.returncode == 0, shown.stderr
    assert "models:/parcel/1" in shown.stdout
    assert "3 parquet files, 1,200 rows" in shown.stdout
    assert "by-day/2013-11-05" in shown.stdout
    assert not (workplace.folder / "by-day").exists()


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"piecerows": 5}, 2, "unknown key 'piecerows'; known here: actors"),
        ({"model": "models:/parcel@nobody"}, 1, "models:/parcel@nobody is not in the registry"),
        ({"output": "${TAXIWAY_HOME}/{date}"}, 2, "has a date in it; give --date"),
        ({"filter": "weight > 'x'"}, 2, "filter:"),
        ({"registry": {"tracking_uri": "http://127.0.0.1:9"}}, 75, "http://127.0.0.1:9"),
    ],
)
def test_what_can_not_be_used_is_one_line_with_the_status_of_its_kind(workplace, changes, status, words):
    config = workplace.config(**({"output": "${TAXIWAY_HOME}/elsewhere"} | changes))
    refused = workplace.run(config, "--dry-run", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    assert refused.returncode == status, refused.stderr
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_two_models_score_in_one_pass(finished):
    workplace, _ = finished
    version = register(workplace.folder, seed=3)
    Registry(registry_settings(workplace.folder)).point("challenger", version)
    Registry(registry_settings(workplace.folder)).point(
        "champion", Registry(registry_settings(workplace.folder)).resolve("models:/parcel/1")
    )
    config = workplace.config(
        output="${TAXIWAY_HOME}/compared",
        compare={"model": "models:/parcel@challenger"},
        partition_by=["model_version", "count"],
        filter="count < 3",
        keep=["count"],
        compression="zstd",
    )
    done = workplace.run(config)
    assert done.returncode == 0, done.stderr
    table = ds.dataset(workplace.folder / "compared", partitioning="hive").to_table()
    assert set(table["count"].to_pylist()) == {0, 1, 2}
    assert set(table["compared_version"].to_pylist()) == {version.version}
    assert table["probability"].to_pylist() != table["probability_challenger"].to_pylist()
    assert table["probability_challenger"].null_count == 0


def test_too_many_rejects_fail_early_and_keep_what_was_refused(workplace):
    config = workplace.config(
        output="${TAXIWAY_HOME}/strict", piece_rows=20, actors=1, max_reject_share=0.0005, early_reject_rows=10
    )
    failed = workplace.run(config)
    assert failed.returncode == 3, failed.stderr
    assert "1 missing_value; nothing was published, the rows are in" in failed.stderr
    assert "after 1 of 150 pieces" in failed.stderr
    kept = workplace.folder / "_strict.rejected"
    assert ds.dataset(kept).count_rows() == 2
    assert not (workplace.folder / "strict").exists()
    assert not (workplace.folder / ".strict.run").exists()


def _wait_for(condition, process, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def _actors() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found += [child] if "ScoringActor" in " ".join(child.cmdline()) else []
    return found


def _done_in_full(workplace: Workplace, reference: pa.Table) -> dict[str, object]:
    assert workplace.scores().equals(reference)
    manifest = workplace.manifest()
    assert (manifest["rows_written"], manifest["rows_rejected"]) == (ROWS - 6, 6)
    assert list(workplace.folder.glob(".scores*")) == []
    return manifest


def test_a_killed_driver_leaves_the_old_output_and_the_same_command_goes_on(finished, reference):
    workplace, _ = finished
    before = workplace.manifest()
    config = workplace.config(overwrite=True, piece_rows=50)
    job = workplace.start(config)
    _wait_for(lambda: workplace.commits() > 3, job)
    job.kill()
    job.communicate()
    assert workplace.manifest() == before
    committed = workplace.commits()

    register(workplace.folder, seed=1)
    changed = workplace.run(workplace.config(overwrite=True, piece_rows=50, keep=[]))
    assert changed.returncode == 1
    assert 'was begun with something else: keep was ["count"], now []' in changed.stderr
    assert "--restart" in changed.stderr

    went_on = workplace.run(workplace.config(overwrite=True, piece_rows=50))
    assert went_on.returncode == 0, went_on.stderr
    manifest = _done_in_full(workplace, reference)
    assert manifest["model_version"] == "1"
    assert manifest["resumed_pieces"] >= committed
    assert f"goes on: {manifest['resumed_pieces']} pieces" in went_on.stdout
    assert manifest["job_id"] != before["job_id"]


def test_actors_that_die_are_replaced_without_the_registry(finished, reference, tmp_path):
    workplace, _ = finished
    job = workplace.start(workplace.config(overwrite=True, model="models:/parcel/1", piece_rows=50))
    for number in (2, 12, 24):
        _wait_for(lambda number=number: workplace.commits() > number, job)
        if number == 2:
            shutil.move(workplace.folder / "mlflow.db", tmp_path / "mlflow.db")
            shutil.move(workplace.folder / "artifacts", tmp_path / "artifacts")
        for actor in _actors()[:1]:
            actor.kill()
    _, err = job.communicate(timeout=120)
    shutil.move(tmp_path / "mlflow.db", workplace.folder / "mlflow.db")
    shutil.move(tmp_path / "artifacts", workplace.folder / "artifacts")
    assert job.returncode == 0, err
    _done_in_full(workplace, reference)


def test_a_piece_on_which_every_actor_dies_fails_the_job_and_stays_resumable(workplace):
    register_faulty(workplace.folder, "faulty", factor=2.0)
    values = np.arange(60.0)
    values[42] = DEADLY
    (workplace.folder / "deadly").mkdir()
    table = pa.table({"row": np.arange(60), "value": values})
    pq.write_table(table, workplace.folder / "deadly" / "values.parquet", row_group_size=10)
    config = workplace.config(
        model="models:/faulty@champion",
        input="${TAXIWAY_HOME}/deadly",
        output="${TAXIWAY_HOME}/killed",
        row_id="row",
        keep=[],
        piece_rows=10,
        actors=1,
    )
    done = workplace.run(config)
    assert done.returncode == 1, done.stderr
    assert "4 actors have died on the same piece" in done.stderr
    assert not (workplace.folder / "killed").exists()
    assert list((workplace.folder / ".killed.run").rglob("piece-*.json"))


def test_an_interrupted_job_says_so_and_a_restart_throws_it_away(finished, reference):
    workplace, _ = finished
    config = workplace.config(overwrite=True, model="models:/parcel/1", piece_rows=50)
    job = workplace.start(config)
    _wait_for(lambda: workplace.commits() > 2, job)
    second = workplace.run(config)
    assert second.returncode == 4
    assert f"process {job.pid}" in second.stderr
    job.terminate()
    _, err = job.communicate(timeout=60)
    assert job.returncode == 130
    assert "the same command goes on" in err
    fresh = workplace.run(config, "--restart")
    assert fresh.returncode == 0, fresh.stderr
    assert "goes on" not in fresh.stdout
    assert _done_in_full(workplace, reference)["resumed_pieces"] == 0


def test_a_changed_input_is_noticed_before_a_run_goes_on(workplace):
    config = workplace.config(output="${TAXIWAY_HOME}/moved", input="${TAXIWAY_HOME}/copy", piece_rows=50)
    shutil.copytree(workplace.folder / "parcels", workplace.folder / "copy")
    job = workplace.start(config)
    _wait_for(lambda: list(workplace.folder.glob(".moved.run/_run/*/piece-*")), job)
    job.kill()
    job.communicate()
    os.utime(workplace.folder / "copy" / "a.parquet")
    (workplace.folder / "copy" / "d.parquet").write_bytes((workplace.folder / "copy" / "a.parquet").read_bytes())
    refused = workplace.run(config)
    assert refused.returncode == 1
    assert "d.parquet is new" in refused.stderr
    assert "a.parquet was written again" in refused.stderr


def test_random_kills_of_actors_and_drivers_change_nothing(finished, reference):
    workplace, _ = finished
    config = workplace.config(overwrite=True, model="models:/parcel/1", piece_rows=50)
    dice = random.Random(4)  # noqa: S311
    for _ in range(3):
        job = workplace.start(config)
        _wait_for(workplace.staging.is_dir, job)
        time.sleep(dice.uniform(0.0, 5.0))
        victims = [psutil.Process(job.pid), *_actors()] if job.poll() is None else []
        if victims:
            with suppress(psutil.Error):
                dice.choice(victims).kill()
        if job.poll() is None:
            time.sleep(dice.uniform(0.0, 1.0))
            job.kill()
        job.communicate()
    done = workplace.run(config)
    assert done.returncode == 0, done.stderr
    _done_in_full(workplace, reference)


def test_the_command_itself_starts_a_ray_of_its_own(workplace):
    config = workplace.config(output="${TAXIWAY_HOME}/alone")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-m", "batch", config],
        env=environment | {"TAXIWAY_HOME": str(workplace.folder)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert without_rays_own(done.stderr) == []
    assert (workplace.folder / "alone" / "_SUCCESS").is_file()

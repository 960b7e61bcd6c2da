"""What the figures of benchmarks/batch rest upon: ratios, slopes, the check of what was written, the watch."""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.batch import report
from benchmarks.batch.__main__ import rows_of
from benchmarks.batch.contestants import CONTESTANTS
from benchmarks.batch.data import Dataset
from benchmarks.batch.figures import best, slopes, spread
from benchmarks.batch.measure import Failure, Run
from benchmarks.batch.output import WrongOutput, check
from benchmarks.batch.ratios import Ratios
from benchmarks.batch.report import Results
from benchmarks.batch.watch import CommandFailed, Seen, has_first_row, watch

MILLION = 1_000_000
LOOP = (Run("loop", MILLION, 4.0, 1.0, 6.0, 250.0), Run("loop", 10 * MILLION, 31.0, 1.0, 60.0, 260.0))
SPARK = (Run("spark-pandas", 10 * MILLION, 62.0, 20.0, 120.0, 900.0),)
OWN = (Run("taxiway", MILLION, 20.0, 12.0, 30.0, 1_500.0), Run("taxiway", 10 * MILLION, 50.0, 13.0, 90.0, 1_600.0))


def measured(*runs: Run) -> dict[str, str]:
    return {ratio.what: ratio.measured for ratio in Ratios(CONTESTANTS, runs, 500.0).all()}


def test_ratios_compare_taxiway_with_the_threaded_loop_and_the_best_of_spark() -> None:
    found = measured(*LOOP, *SPARK, Run("spark-udf", 10 * MILLION, 80.0, 20.0, 150.0, 900.0), *OWN)
    assert found["rows/s over the whole wall time of the threaded loop's, 10M rows"] == "62%"
    assert found["rows/s against Spark, mapInPandas, 10M rows"] == "1.24x"
    assert found["seconds for each further million rows against the threaded loop, 1M to 10M"] == "1.11x"
    assert found["CPU seconds a row against the threaded loop, 10M rows"] == "1.50x"
    assert found["peak PSS beyond an idle Ray, 10M rows"] == "1,100 MB"
    assert found["peak PSS at 10M rows less that at 1M"] == "+100 MB"
    assert found["from the command to the first scored row, 10M rows"] == "13.0 s"


def test_the_aim_of_85_percent_is_for_a_hundred_million_rows() -> None:
    large = [Run("loop", 100 * MILLION, 300.0, 1.0, 600.0, 1.0), Run("taxiway", 100 * MILLION, 330.0, 9.0, 700.0, 1.0)]
    aims = {ratio.what: ratio.aim for ratio in Ratios(CONTESTANTS, [*LOOP, *OWN, *large], 0.0).all()}
    assert aims["rows/s over the whole wall time of the threaded loop's, 100M rows"] == "85%"
    assert not aims["rows/s over the whole wall time of the threaded loop's, 10M rows"]


def test_three_sizes_show_whether_the_time_is_linear_in_rows() -> None:
    large = Run("taxiway", 100 * MILLION, 350.0, 13.0, 800.0, 1_600.0)
    found = measured(*OWN, large)
    assert found["seconds for each further million rows, 10M to 100M against 1M to 10M"] == "1.00x"


def test_a_ratio_without_its_peer_is_left_out() -> None:
    assert not measured(*LOOP)
    assert not any("loop" in what or "Spark" in what for what in measured(*OWN))


def test_a_slope_parts_what_a_row_costs_from_what_no_row_costs() -> None:
    (slope,) = slopes(LOOP, "loop")
    assert (slope.s_per_million, slope.cpu_s_per_million, slope.fixed_s) == (3.0, 6.0, 1.0)


def test_a_single_size_has_no_slope() -> None:
    assert not slopes(LOOP[:1], "loop")


def test_of_several_rounds_the_fastest_counts_and_the_spread_is_told() -> None:
    slower = Run("loop", MILLION, 5.0, 1.0, 6.0, 250.0)
    runs = [slower, *LOOP]
    fastest = next(run for run in best(runs) if run.rows == MILLION)
    assert fastest == LOOP[0]
    assert spread(runs, fastest) == pytest.approx(0.25)


def test_the_page_names_who_was_not_measured_and_why() -> None:
    page = report.write(Results(CONTESTANTS, [*LOOP, *OWN], [Failure("ray-data", "CommandFailed: a | b")], 500.0, 60.0))
    assert "| Ray Data, map_batches | CommandFailed: a / b |" in page
    assert "## 10M rows" in page
    assert "| Taxiway | 200,000 | 50.0 | 13.0 | 90 | 9.00 | 1,600 | 1,100 | 0% | 0% |" in page


def test_a_page_without_failures_has_no_table_of_them() -> None:
    assert "Not measured" not in report.write(Results(CONTESTANTS, LOOP, [], 500.0, 60.0))


@pytest.mark.parametrize(("text", "rows"), [("10M", 10 * MILLION), ("200k", 200_000), ("336776", 336_776)])
def test_sizes_are_given_as_people_say_them(text: str, rows: int) -> None:
    assert rows_of(text) == rows


@pytest.mark.parametrize("text", ["0", "-1", "1.5M", "M", "1G"])
def test_what_is_no_number_of_rows_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no number of rows"):
        rows_of(text)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Seven rows of a period of three."""
    return Dataset(tmp_path / "input", 7, np.array([0.1, 0.2, 0.3]))


def written(folder: Path, scores: Mapping[int, float]) -> Path:
    folder.mkdir()
    table = pa.table({"row_id": list(scores), "late_probability": list(scores.values())})
    pq.write_table(table, folder / "part.parquet")
    return folder


RIGHT = {row: (0.1, 0.2, 0.3)[row % 3] for row in range(7)}


def test_right_rows_pass_in_any_order(tmp_path: Path, dataset: Dataset) -> None:
    check(written(tmp_path / "scored", dict(reversed(RIGHT.items()))), dataset)


def test_a_missing_row_is_found(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(WrongOutput, match="6 of 7 rows written, 1 missing, 0 with a wrong score"):
        check(written(tmp_path / "scored", {row: score for row, score in RIGHT.items() if row != 3}), dataset)


def test_a_row_that_is_there_twice_is_found(tmp_path: Path, dataset: Dataset) -> None:
    folder = written(tmp_path / "scored", RIGHT)
    pq.write_table(pq.read_table(folder / "part.parquet").slice(0, 1), folder / "again.parquet")
    with pytest.raises(WrongOutput, match="8 of 7 rows written"):
        check(folder, dataset)


def test_scores_of_the_neighbour_are_found(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(WrongOutput, match="0 missing, 2 with a wrong score"):
        check(written(tmp_path / "scored", RIGHT | {0: 0.2, 1: 0.1}), dataset)


def test_a_row_that_nobody_asked_for_is_found(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(WrongOutput, match="8 of 7 rows written"):
        check(written(tmp_path / "scored", RIGHT | {7: 0.2}), dataset)


def test_what_readers_skip_is_not_output(tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "scored").mkdir()
    written(tmp_path / "scored" / "_temporary", RIGHT)
    with pytest.raises(WrongOutput, match="no Parquet files"):
        check(tmp_path / "scored", dataset)


def watched(tmp_path: Path, program: str, timeout_s: float = 30.0) -> Seen:
    return watch([sys.executable, "-c", program], os.environ, tmp_path, tmp_path / "log.txt", timeout_s)


def test_the_cpu_time_of_children_that_nobody_waits_for_counts(tmp_path: Path) -> None:
    done = tmp_path / "done"
    child = f"import time\nwhile time.process_time() < 0.8: pass\nopen({str(done)!r}, 'w')\ntime.sleep(5)"
    seen = watched(
        tmp_path,
        f"import os, subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"while not os.path.exists({str(done)!r}): time.sleep(0.1)\ntime.sleep(1)",
    )
    assert 0.8 < seen.cpu_s < 2.0


def test_the_highest_memory_of_all_processes_is_kept(tmp_path: Path) -> None:
    seen = watched(tmp_path, "import time\nheld = b'x' * (200 << 20)\ntime.sleep(4)\ndel held\ntime.sleep(0.8)")
    assert 200 < seen.peak_mb < 300


def test_a_program_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="ended with status 1: RuntimeError: no model"):
        watched(tmp_path, "raise RuntimeError('no model')")


def test_a_program_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(alive)!r}).write_text(str(os.getpid())); time.sleep(60)"
    with pytest.raises(CommandFailed, match="not done within 2 s"):
        watched(tmp_path, f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])", timeout_s=2.0)
    deadline = time.monotonic() + 5
    while Path("/proc", alive.read_text(), "cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path("/proc", alive.read_text(), "cmdline").exists()


def test_the_first_row_is_the_mark_of_a_program_that_tells(tmp_path: Path) -> None:
    seen = watched(tmp_path, "import os, time\ntime.sleep(0.5)\nopen(os.environ['FIRST_ROW'], 'w')\ntime.sleep(0.5)")
    assert 0.4 < seen.first_row_s < seen.wall_s


def test_the_first_row_is_data_in_a_parquet_file_whatever_its_name(tmp_path: Path) -> None:
    hidden = tmp_path / ".scored.run"
    hidden.mkdir()
    (hidden / "part.tmp").write_bytes(b"PAR1")
    (hidden / "plan.json").write_text("{}")
    assert not has_first_row(tmp_path)
    (hidden / "part.tmp").write_bytes(b"PAR1x")
    assert has_first_row(tmp_path)

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from taxiway.errors import ConfigError
from taxiway.planning.settings import DailySettings, SpikeSettings, TraceSettings
from taxiway.planning.trace import daily, read_trace, traffic


def test_a_row_holds_until_the_next_and_the_last_as_long_as_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,requests_per_s\n100,5\n103,8\n105,1\n")
    assert read_trace(str(path)).tolist() == [5, 5, 5, 8, 8, 1, 1]


def test_rows_within_a_second_lose_no_request(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,requests_per_s\n0,10\n0.5,30\n1.5,20\n")
    assert read_trace(str(path)).sum() == pytest.approx(0.5 * 10 + 30 + 0.5 * 20, abs=10)
    assert read_trace(str(path))[0] == pytest.approx(20)


def test_timestamps_and_parquet_say_the_same_as_seconds_and_csv(tmp_path: Path) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    rates = pa.array([1.0, 2.0, 3.0])
    stamps = pa.array([begin + timedelta(seconds=60 * step) for step in range(3)])
    parquet.write_table(pa.table({"time": stamps, "requests_per_s": rates}), tmp_path / "a.parquet")
    csv.write_csv(pa.table({"time": [0, 60, 120], "requests_per_s": rates}), tmp_path / "b.csv")
    found = read_trace(str(tmp_path / "a.parquet"))
    assert found.tolist() == read_trace(str(tmp_path / "b.csv")).tolist()
    assert len(found) == 180


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("when,requests_per_s\n1,2\n", "no column 'time'"),
        ("time,requests_per_s\n1,2\n", "two rows"),
        ("time,requests_per_s\n2,1\n1,1\n", "times that rise"),
        ("time,requests_per_s\n1,1\n2,-1\n", "negative in row 2"),
        ("time,requests_per_s\n1,1\n2,many\n", "must hold numbers"),
        ("time,requests_per_s\n1,1\n2,\n", "empty cells"),
        ("time,requests_per_s\n1,1\n2,nan\n", "row"),
        ("time,requests_per_s\n0,1\n9999999,1\n", "32 days"),
    ],
)
def test_a_wrong_trace_is_refused_with_what_to_mend(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_trace(str(path))


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.csv"):
        read_trace(str(tmp_path / "nowhere.csv"))


def test_a_day_goes_from_low_to_high_and_back() -> None:
    found = daily(DailySettings(low_per_s=10, high_per_s=90, busiest_hour=14), 0)
    assert len(found) == 86_400
    assert (found.min(), found.max()) == (pytest.approx(10), pytest.approx(90))
    assert int(np.argmax(found)) == 14 * 3_600
    assert found.mean() == pytest.approx(50)


def test_a_spike_multiplies_its_seconds_only() -> None:
    calm = DailySettings(hours=2, low_per_s=10, high_per_s=10)
    spiky = calm.model_copy(update={"spikes": (SpikeSettings(at_hour=1, lasts_s=60, factor=3),)})
    ratio = daily(spiky, 0) / daily(calm, 0)
    assert ratio[3_600:3_660] == pytest.approx(3)
    assert ratio.sum() == pytest.approx(7_200 + 120)


def test_the_same_seed_gives_the_same_noise_and_scale_multiplies_it() -> None:
    made_up = DailySettings(hours=1, low_per_s=10, high_per_s=90, noise=0.1)
    once = traffic(TraceSettings(daily=made_up), 7)
    assert (traffic(TraceSettings(daily=made_up, scale=2), 7) == 2 * once).all()
    assert (traffic(TraceSettings(daily=made_up), 8) != once).any()

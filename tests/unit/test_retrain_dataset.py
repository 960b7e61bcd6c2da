from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrain.dataset import Dataset
from retrain.features import join_features
from retrain.labels import read_labels
from retrain.settings import RetrainSettings
from retrain.windows import split
from taxiway.errors import ConfigError, JobError
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding
from taxiway.signature import Array, Columns

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INPUTS = [
    {"name": "kind", "dtype": "string", "categories": ["a", "b"]},
    {"name": "key", "dtype": "string", "nullable": True},
    {"name": "size", "dtype": "int64", "minimum": 0},
    {"name": "weight", "dtype": "float64", "nullable": True},
]


def frame(rows: int = 366) -> pd.DataFrame:
    number = np.arange(rows)
    return pd.DataFrame(
        {
            "row_id": number,
            "event_timestamp": pd.date_range("2024-01-01", periods=rows, freq="D", tz="UTC"),
            "kind": np.where(number % 2, "a", "b"),
            "key": [None if n % 5 == 0 else f"k{n % 3}" for n in number],
            "size": number,
            "weight": np.where(number % 7, number / 3.0, np.nan),
            "late": (number % 3 == 0).astype(float),
        }
    )


def settings(labels: Path, **changes: Any) -> RetrainSettings:
    data = {
        "model": "m",
        "labels": str(labels),
        "label": "late",
        "inputs": INPUTS,
        "train": {"start": "2024-02-01", "end": "2024-08-01"},
        "validate_from": "2024-07-01",
        "evaluate": {"start": "2024-09-01", "end": "2024-11-01"},
    }
    return RetrainSettings.model_validate(data | changes)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels.parquet"


def test_windows_contain_their_start_and_not_their_end(labels: Path) -> None:
    frame().to_parquet(labels)
    windows = split(read_labels(settings(labels), NOW).examples, settings(labels))
    first, last = windows.train.moments[[0, -1]].astype("datetime64[D]").astype(str)
    assert (first, last) == ("2024-02-01", "2024-07-31")
    assert len(windows.learn) + len(windows.validate) == len(windows.train)
    assert windows.validate.moments[0] == np.datetime64("2024-07-01")
    assert windows.evaluate.moments[0] == np.datetime64("2024-09-01")
    assert not set(windows.evaluate.row_ids) & set(windows.train.row_ids)


def test_an_offset_in_the_config_and_a_zone_in_the_file_mean_the_same_moment(labels: Path) -> None:
    local = frame().assign(event_timestamp=lambda table: table["event_timestamp"].dt.tz_convert("America/New_York"))
    local.to_parquet(labels)
    shifted = settings(labels, train={"start": "2024-01-31T19:00-05:00", "end": "2024-07-31T20:00-04:00"})
    assert list(read_labels(shifted, NOW).examples.row_ids) == list(read_labels(settings(labels), NOW).examples.row_ids)


def test_a_row_without_label_is_left_out_and_counted(labels: Path) -> None:
    table = frame()
    table.loc[[40, 41], "late"] = np.nan
    table.to_parquet(labels)
    read = read_labels(settings(labels), NOW)
    assert read.without_label == 2
    assert not {40, 41} & set(read.examples.row_ids)


def test_bad_rows_are_set_aside_and_counted_by_code(labels: Path) -> None:
    table = frame().astype({"size": "float64"})
    table.loc[40, "kind"] = "z"
    table.loc[41, "size"] = -1
    table.loc[42, "size"] = np.nan
    table.loc[43, "size"] = 1.5
    table.loc[44, ["kind", "size"]] = ["z", -1]
    table.to_parquet(labels)
    read = read_labels(settings(labels), NOW)
    assert read.set_aside == {"unknown_category": 2, "out_of_range": 1, "missing_value": 1, "wrong_type": 1}
    assert not {40, 41, 42, 43, 44} & set(read.examples.row_ids)
    assert read.examples.columns["size"].dtype == np.int64


def test_a_nullable_input_may_be_absent_from_the_file(labels: Path) -> None:
    frame().drop(columns=["key", "weight"]).to_parquet(labels)
    columns = read_labels(settings(labels), NOW).examples.columns
    assert set(columns["key"]) == {None}
    assert np.isnan(columns["weight"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"late": 7.0}, "label: late must be 0 or 1, found 7"),
        ({"late": "yes"}, "label: late is .*string, expected numbers"),
        ({"size": "big"}, "column size is .*string, expected int64"),
        ({"event_timestamp": "2024-03-01"}, "event_timestamp is .*string, expected a timestamp"),
    ],
)
def test_a_column_of_another_type_is_the_operators_error(labels: Path, change: dict[str, Any], message: str) -> None:
    frame().assign(**change).to_parquet(labels)
    with pytest.raises(ConfigError, match=message):
        read_labels(settings(labels), NOW)


def test_a_missing_file_and_a_missing_column_are_named(labels: Path) -> None:
    with pytest.raises(ConfigError, match=r"labels: .*labels\.parquet can't be read"):
        read_labels(settings(labels), NOW)
    frame().drop(columns=["size"]).to_parquet(labels)
    with pytest.raises(ConfigError, match="has no column size"):
        read_labels(settings(labels), NOW)


def test_row_ids_that_repeat_are_refused(labels: Path) -> None:
    frame().assign(row_id=lambda table: table["row_id"] // 2).to_parquet(labels)
    with pytest.raises(JobError, match="row_id is not unique"):
        read_labels(settings(labels), NOW)


def test_a_window_without_both_labels_is_refused(labels: Path) -> None:
    frame().assign(late=0.0).to_parquet(labels)
    with pytest.raises(JobError, match="not both labels"):
        split(read_labels(settings(labels), NOW).examples, settings(labels))


def test_the_digest_does_not_depend_on_the_files_order_or_encoding(labels: Path, tmp_path: Path) -> None:
    frame().to_parquet(labels)
    shuffled = tmp_path / "shuffled.parquet"
    table = pa.Table.from_pandas(frame().sample(frac=1.0, random_state=3), preserve_index=False)
    pq.write_table(table, shuffled, row_group_size=17, compression="zstd", use_dictionary=False)
    assert _digest(labels) == _digest(shuffled)


@pytest.mark.parametrize(
    ("column", "value"), [("key", "x"), ("key", None), ("key", ""), ("weight", 9.9), ("late", 0.0)]
)
def test_the_digest_changes_with_any_value(labels: Path, tmp_path: Path, column: str, value: Any) -> None:
    frame().to_parquet(labels)
    changed = frame()
    changed.loc[51, column] = value
    changed.to_parquet(tmp_path / "changed.parquet")
    assert _digest(labels) != _digest(tmp_path / "changed.parquet")


def test_the_digest_tells_where_one_string_ends() -> None:
    def digest(*keys: str | None) -> str:
        return _dataset(len(keys), {"key": np.array(keys, dtype=np.object_)}).digest

    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc", ""), digest("abc", None)}) == 4


def test_the_digest_takes_every_nan_and_both_zeros_for_the_same() -> None:
    odd_nan = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)[0]
    first = _dataset(2, {"x": np.array([np.nan, 0.0])})
    second = _dataset(2, {"x": np.array([odd_nan, -0.0])})
    assert first.digest == second.digest


class History:
    """A feature store of one view that knows every key but k1."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def read(self, views: Sequence[FeatureViewBinding], columns: Columns, moments: Array) -> dict[str, Array]:
        self.asked.append(len(moments))
        known = np.array([key != "k1" for key in columns["key"]])
        return {"speed": np.where(known, moments.astype("datetime64[D]").astype(float), np.nan)}


@pytest.mark.parametrize("on_missing", ["refuse", "null"])
def test_features_are_joined_and_keep_their_rows(labels: Path, on_missing: Any) -> None:
    frame().to_parquet(labels)
    examples = read_labels(settings(labels, evaluate={"start": "2024-08-01", "end": "2024-09-01"}), NOW).examples
    view = FeatureViewBinding(name="v", entity_keys=("key",), columns=("speed",), on_missing=on_missing)
    history: Any = History()
    joined, refused = join_features(examples, FeatureBinding(service="s", views=(view,)), history)
    assert history.asked == [len(examples)]
    expected = np.count_nonzero(examples.columns["key"] == "k1") if on_missing == "refuse" else 0
    assert refused == ({"unknown_entity": expected} if expected else {})
    assert len(joined) == len(examples) - expected
    known = np.array([key != "k1" for key in joined.columns["key"]])
    days = joined.moments.astype("datetime64[D]").astype(float)
    assert (joined.columns["speed"][known] == days[known]).all()


def _digest(path: Path) -> str:
    return read_labels(settings(path), NOW).examples.digest


def _dataset(rows: int, columns: dict[str, Array]) -> Dataset:
    number = np.arange(rows)
    return Dataset(number, number.astype("datetime64[us]"), number, columns)

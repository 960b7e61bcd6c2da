from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retrain.settings import RetrainSettings, load_retraining
from taxiway.errors import ConfigError
from taxiway.settings import load, parse

CONFIGS = Path(__file__).parents[2] / "configs"
TRAIN = {"start": "2024-01-01", "end": "2024-07-01"}
EVALUATE = {"start": "2024-07-01", "end": "2024-09-01"}


def settings(**changes: Any) -> RetrainSettings:
    data = {
        "model": "m",
        "labels": "labels.parquet",
        "label": "late",
        "inputs": [{"name": "x", "dtype": "float64"}],
        "train": TRAIN,
        "validate_from": "2024-06-01",
        "evaluate": EVALUATE,
    }
    return parse(data | changes, RetrainSettings, "retrain.yaml")


def test_a_moment_without_an_offset_is_utc() -> None:
    assert settings().train.start == datetime(2024, 1, 1, tzinfo=UTC)


def test_a_moment_with_an_offset_is_converted() -> None:
    window = {"start": "2013-09-01T00:00-04:00", "end": "2013-11-01T00:00-04:00"}
    assert settings(train={"start": "2013-01-01", "end": "2013-09-01"}, validate_from="2013-07-01", evaluate=window)


def test_the_flights_config_is_valid() -> None:
    assert load(CONFIGS / "flights" / "retrain.yaml", RetrainSettings).evaluate.start == datetime(
        2013, 9, 1, 4, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"start": "2024-07-01", "end": "2024-01-01"}}, "train.end.*after the window's start"),
        ({"validate_from": "2024-08-01"}, "validate_from.*inside the training window"),
        ({"evaluate": {"start": "2024-06-15", "end": "2024-09-01"}}, "evaluate.*after the training window has ended"),
        ({"slices": ["carrier"]}, "slices.*carrier not among the inputs x"),
        ({"label": "x"}, "inputs.*the label 'x'"),
        ({"features": {"service": "s"}}, "feature_store.*required"),
        ({"inputs": [{"name": "x", "dtype": "int64"}] * 2}, "inputs.*same name"),
        ({"serach": {}}, "unknown key 'serach'"),
        ({"labels": {"dvc": {"path": "l.parquet", "tag": "v1"}}}, "'labels.dvc.tag'; known here: path, repo, rev"),
        ({"labels": {"dvc": {"repo": "."}}}, "key 'labels.dvc.path': field required"),
        ({"labels": {}}, "key 'labels': expected the path of a Parquet file, or `dvc`"),
        ({"labels": {"path": "l.parquet", "dvc": {"path": "l.parquet"}}}, "key 'labels': expected the path"),
        ({"labels": 7}, "key 'labels'"),
        ({"gate": {"max_auc_spread": 0.01}}, "key 'gate': max_auc_spread needs search.seeds of at least 2"),
        ({"search": {"seeds": 0}}, "key 'search.seeds'"),
        ({"triggers": {"cron": "0 3 * *"}}, "key 'triggers.cron': '0 3 [*] [*]' has 4 fields; expected minute, hour"),
        ({"triggers": {"cron": "0 25 * * *"}}, "key 'triggers.cron': .* can't be read: bad hour"),
        ({"triggers": {"cron": "0 3 30 2 *"}}, "key 'triggers.cron'"),
    ],
)
def test_a_config_that_would_mislead_is_refused_and_names_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_labels_are_a_path_or_lie_in_a_dvc_repository() -> None:
    assert settings(labels="l.parquet").labels.path == "l.parquet"
    found = settings(labels={"dvc": {"repo": ".", "path": "data/l.parquet", "rev": "v1.2"}}).labels.dvc
    assert found is not None
    assert (found.repo, found.path, found.rev) == (".", "data/l.parquet", "v1.2")
    assert settings(labels={"path": "l.parquet"}) == settings(labels="l.parquet")


def test_a_spread_is_judged_where_it_is_measured() -> None:
    assert settings(gate={"max_auc_spread": 0.01}, search={"seeds": 2}).gate.max_auc_spread == 0.01


RELATIVE = """
model: m
labels: labels.parquet
label: late
inputs: [{{name: x, dtype: float64}}]
time_zone: {zone}
train: {{start: now-3M/M, end: {end}}}
validate_from: now-1M
evaluate: {{start: now/d, end: now+1d/d}}
"""


def test_relative_windows_are_counted_from_the_date_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RELATIVE.format(zone="America/New_York", end="now/d"))
    found = load_retraining(tmp_path / "r.yaml", datetime(2026, 6, 15, 2, tzinfo=UTC))
    # In New York it is still the 14th.
    assert found.train.start == datetime(2026, 3, 1, 5, tzinfo=UTC)
    assert found.train.end == found.evaluate.start == datetime(2026, 6, 14, 4, tzinfo=UTC)
    assert found.evaluate.end == datetime(2026, 6, 15, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "end", "message"),
    [
        ("Mars/Olympus", "now/d", "key 'time_zone': 'Mars/Olympus' is no time zone"),
        ("UTC", "now-3x", "key 'train.end'"),
        ("UTC", "now-4M", "train.end.*after the window's start"),
    ],
)
def test_a_bad_relative_window_is_named(tmp_path: Path, zone: str, end: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(RELATIVE.format(zone=zone, end=end))
    with pytest.raises(ConfigError, match=message):
        load_retraining(tmp_path / "r.yaml", datetime(2026, 6, 15, tzinfo=UTC))

"""A small real Feast store: online and historical reads say the same, wherever the machine's clock stands."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

from taxiway.errors import ConfigError, FeatureStoreFailed
from taxiway.features import HistoricalFeatures, OnlineFeatures, bind, materialize, open_store
from taxiway.settings import FeatureStoreSettings

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
CONFIG = """
project: shops
provider: local
registry: {folder}/registry.db
online_store: {{type: sqlite, path: {folder}/online.db}}
offline_store: {{type: duckdb}}
entity_key_serialization_version: 3
"""


def make(folder: Path) -> FeatureStore:
    """Two shops that sold as many things as the hour says, from 0 to 23 o'clock; south says nothing of returns."""
    hours = pd.date_range("2024-05-01", periods=24, freq="h", tz="UTC")
    sales = pd.DataFrame(
        {
            "event_timestamp": [*hours, *hours],
            "shop": ["north"] * 24 + ["south"] * 24,
            "sold": [*range(24), *range(100, 124)],
        }
    ).astype({"sold": float})
    sales["returned"] = np.where(sales["shop"] == "north", 1.0, np.nan)
    sales.to_parquet(folder / "sales.parquet", index=False, coerce_timestamps="us")
    (folder / "feature_store.yaml").write_text(CONFIG.format(folder=folder))
    store = open_store(FeatureStoreSettings(repository=str(folder)))
    shop = Entity(name="shop", value_type=ValueType.STRING)
    view = FeatureView(
        name="sales",
        entities=[shop],
        ttl=timedelta(hours=3),
        schema=[Field(name="sold", dtype=Float64), Field(name="returned", dtype=Float64)],
        source=FileSource(path=str(folder / "sales.parquet"), timestamp_field="event_timestamp"),
    )
    store.apply([shop, view, FeatureService(name="shops", features=[view])])
    materialize(store, NOON - timedelta(days=1), NOON)
    return store


def read(store: FeatureStore) -> dict[str, Any]:
    views = bind(store, "shops", {}).views
    shops = {"shop": np.array(["south", "north", "nowhere", None], dtype=object)}
    online = OnlineFeatures(store).read(views, shops)
    asked = np.array([NOON.replace(tzinfo=None)] * 4, dtype="datetime64[us]")
    historical = HistoricalFeatures(store).read(views, shops, asked)
    return {"online": online["sold"].tolist(), "historical": historical["sold"].tolist()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_a_machine_in_another_time_zone_neither_sees_the_future_nor_misses_the_present(
    tmp_path: Path, zone: str
) -> None:
    script = (
        "import json, sys; from pathlib import Path; from tests.integration.test_features import make, read; "
        "print(json.dumps(read(make(Path(sys.argv[1])))))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)],
        env=os.environ | {"TZ": zone},
        capture_output=True,
        text=True,
        check=True,
    )
    values = json.loads(done.stdout.splitlines()[-1])
    assert values["online"][:2] == [112.0, 12.0]
    assert values["historical"][:2] == [112.0, 12.0]


def test_online_and_historical_reads_agree_and_keep_the_order_of_the_rows(store: FeatureStore) -> None:
    values = read(store)
    np.testing.assert_array_equal(values["online"], [112.0, 12.0, np.nan, np.nan])
    np.testing.assert_array_equal(values["historical"], [112.0, 12.0, np.nan, np.nan])


def test_equal_questions_keep_all_their_rows_in_a_historical_join(store: FeatureStore) -> None:
    views = bind(store, "shops", {}).views
    shops = {"shop": np.array(["north"] * 5 + ["south"] * 3 + ["north"], dtype=object)}
    asked = pd.to_datetime(["2024-05-01T05:30"] * 8 + ["2024-05-01T00:10"]).to_numpy()
    sold = HistoricalFeatures(store).read(views, shops, asked)["sold"]
    assert sold.tolist() == [5.0] * 5 + [105.0] * 3 + [0.0]


def test_a_feature_older_than_its_time_to_live_is_missing_in_a_historical_join(store: FeatureStore) -> None:
    views = bind(store, "shops", {}).views
    asked = pd.to_datetime(["2024-05-02T02:00", "2024-05-02T02:01"]).to_numpy()
    sold = HistoricalFeatures(store).read(views, {"shop": np.array(["north"] * 2, dtype=object)}, asked)["sold"]
    np.testing.assert_array_equal(sold, [23.0, np.nan])


def test_a_binding_names_keys_features_and_policy(store: FeatureStore) -> None:
    [view] = bind(store, "shops", {"sales": "null"}).views
    assert (view.entity_keys, view.columns, view.on_missing) == (("shop",), ("sold", "returned"), "null")


def test_an_unknown_service_or_view_is_named(store: FeatureStore) -> None:
    with pytest.raises(ConfigError, match=r"features\.service: 'shop' is not in the feature store; known: shops"):
        bind(store, "shop", {})
    with pytest.raises(ConfigError, match=r"features.on_missing: \['sale'\] not among the views \['sales'\]"):
        bind(store, "shops", {"sale": "null"})


def test_a_folder_without_a_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no feature_store.yaml in {tmp_path}"):
        open_store(FeatureStoreSettings(repository=str(tmp_path)))


def test_an_online_store_that_is_away_is_unavailable_not_a_crash(tmp_path: Path) -> None:
    store = make(tmp_path)
    views = bind(store, "shops", {}).views
    (tmp_path / "online.db").write_bytes(b"no database")
    broken = open_store(FeatureStoreSettings(repository=str(tmp_path)))
    with pytest.raises(FeatureStoreFailed, match="try again"):
        OnlineFeatures(broken).read(views, {"shop": np.array(["north"], dtype=object)})

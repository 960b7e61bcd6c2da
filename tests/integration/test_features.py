"""A small real Feast store: online and historical reads say the same, wherever the machine's clock stands."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float32, Float64, Int64
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway

from taxiway.errors import ConfigError, FeatureStoreFailed
from taxiway.feature_binding import FeatureBinding
from taxiway.features import (
    FeatureRead,
    HistoricalFeatures,
    OnlineFeatures,
    bind,
    freshness,
    materialize,
    open_store,
    refresh,
)
from taxiway.scoring import score
from taxiway.settings import FeatureStoreSettings, OnlineReadSettings
from taxiway.signature import Array, Column, Columns, Signature

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
LAST = datetime(2024, 5, 1, 23, tzinfo=UTC)
AT_NOON = OnlineReadSettings(as_of=NOON, timeout_s=30)
CONFIG = """
project: shops
provider: local
registry: {folder}/registry.db
online_store: {online}
offline_store: {{type: duckdb}}
entity_key_serialization_version: 3
"""
SQLITE = "{{type: sqlite, path: {folder}/online.db}}"


def make(folder: Path, until: datetime = NOON, online: str = SQLITE) -> FeatureStore:
    """Two shops that sold as many things as the hour says, from 0 to 23 o'clock; south says nothing of returns.

    The stock of each of two articles at a shop was counted once, and stays true.
    """
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
    stock = pd.DataFrame(
        {
            "event_timestamp": [hours[0]] * 3,
            "shop": ["north", "north", "south"],
            "article": [1, 2, 1],
            "pieces": [0, 5, 7],
            "ordered": [True, False, False],
            "weight": np.array([0.5, 0.0, 2.0], dtype=np.float32),
        }
    )
    stock.to_parquet(folder / "stock.parquet", index=False, coerce_timestamps="us")
    (folder / "feature_store.yaml").write_text(CONFIG.format(folder=folder, online=online.format(folder=folder)))
    store = open_store(FeatureStoreSettings(repository=str(folder)))
    shop = Entity(name="shop", value_type=ValueType.STRING)
    article = Entity(name="article", value_type=ValueType.INT64)
    view = FeatureView(
        name="sales",
        entities=[shop],
        ttl=timedelta(hours=3),
        schema=[Field(name="sold", dtype=Float64), Field(name="returned", dtype=Float64)],
        source=FileSource(path=str(folder / "sales.parquet"), timestamp_field="event_timestamp"),
    )
    counted = FeatureView(
        name="stock",
        entities=[shop, article],
        ttl=timedelta(0),
        schema=[
            Field(name="pieces", dtype=Int64),
            Field(name="ordered", dtype=Bool),
            Field(name="weight", dtype=Float32),
        ],
        source=FileSource(path=str(folder / "stock.parquet"), timestamp_field="event_timestamp"),
    )
    services = [
        FeatureService(name="shops", features=[view]),
        FeatureService(name="shops_and_stock", features=[view, counted]),
    ]
    store.apply([shop, article, view, counted, *services])
    materialize(store, NOON - timedelta(days=1), until)
    return store


def read(store: FeatureStore) -> dict[str, Any]:
    views = bind(store, "shops", {}).views
    shops = {"shop": np.array(["south", "north", "nowhere", None], dtype=object)}
    online = OnlineFeatures(store, AT_NOON).read(views, shops)
    asked = np.array([NOON.replace(tzinfo=None)] * 4, dtype="datetime64[us]")
    historical = HistoricalFeatures(store).read(views, shops, asked)
    return {"online": online["sold"].tolist(), "historical": historical["sold"].tolist()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """A store that was filled at the end of the day."""
    return make(tmp_path_factory.mktemp("last"), LAST)


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
    assert "nanobind" not in done.stderr  # DuckDB's binding lists there what is still held at the end


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
        OnlineFeatures(broken, AT_NOON).read(views, {"shop": np.array(["north"], dtype=object)})


QUESTIONS: Columns = {
    "shop": np.array(["north", "south", "north", None, "south", "north"], dtype=object),
    "article": np.array([1.0, 1.0, 2.0, 1.0, 2.0, np.nan]),
}


def same(left: Columns, right: Columns) -> bool:
    return set(left) == set(right) and all(np.array_equal(left[name], right[name], equal_nan=True) for name in left)


def test_several_views_with_their_own_keys_and_types_are_read_as_the_historical_join_reads_them(
    store: FeatureStore,
) -> None:
    views = bind(store, "shops_and_stock", {}).views
    online = OnlineFeatures(store, AT_NOON).read(views, QUESTIONS)
    moments = np.array([NOON.replace(tzinfo=None)] * 6, dtype="datetime64[us]")
    assert same(online, HistoricalFeatures(store).read(views, QUESTIONS, moments))
    np.testing.assert_array_equal(online["sold"], [12.0, 112.0, 12.0, np.nan, 112.0, 12.0])
    np.testing.assert_array_equal(online["pieces"], [0.0, 7.0, 5.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(online["ordered"], [1.0, 0.0, 0.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(online["weight"], [0.5, 2.0, 0.0, np.nan, np.nan, np.nan])


def test_an_entity_that_stands_often_in_a_batch_is_read_once(store: FeatureStore) -> None:
    reads: list[FeatureRead] = []
    views = bind(store, "shops_and_stock", {}).views
    OnlineFeatures(store, AT_NOON, reads.append).read(views, QUESTIONS)
    [told] = reads
    assert told.views == ("sales", "stock")
    assert (told.rows, told.entities, told.expired, told.outcome) == (6, 2 + 4, 0, "ok")
    assert told.seconds > 0


@pytest.mark.parametrize(
    ("age", "sold"),
    [
        (timedelta(hours=2, minutes=59), 23.0),
        (timedelta(hours=3), 23.0),
        (timedelta(hours=3, seconds=1), np.nan),
        (timedelta(days=4000), np.nan),
    ],
)
def test_online_and_historical_reads_let_a_feature_expire_at_the_same_moment(
    last: FeatureStore, age: timedelta, sold: float
) -> None:
    reads: list[FeatureRead] = []
    views = bind(last, "shops_and_stock", {"stock": "null"}).views
    online = OnlineFeatures(last, OnlineReadSettings(as_of=LAST + age, timeout_s=30), reads.append).read(
        views, QUESTIONS
    )
    moments = np.array([(LAST + age).replace(tzinfo=None)] * 6, dtype="datetime64[us]")
    assert same(online, HistoricalFeatures(last).read(views, QUESTIONS, moments))
    np.testing.assert_array_equal(online["sold"][0], sold)
    assert online["pieces"][1] == 7.0
    assert reads[0].expired == (2 if np.isnan(sold) else 0)


def test_an_entity_whose_features_have_all_expired_is_unknown(last: FeatureStore) -> None:
    [view] = bind(last, "shops", {}).views
    later = OnlineReadSettings(as_of=LAST + timedelta(hours=4), timeout_s=30)
    shops: Columns = {"shop": np.array(["north", "south"], dtype=object)}
    [reject] = view.unknown_entities(OnlineFeatures(last, later).read([view], shops), shops)
    assert reject.rows.tolist() == [0, 1]


def test_without_a_moment_of_its_own_the_age_is_judged_now(last: FeatureStore) -> None:
    views = bind(last, "shops_and_stock", {}).views
    online = OnlineFeatures(last, OnlineReadSettings(timeout_s=30)).read(views, QUESTIONS)
    assert np.isnan(online["sold"]).all()
    assert online["pieces"][1] == 7.0


def test_defaults_are_bound_with_the_view_they_are_for(store: FeatureStore) -> None:
    sales, stock = bind(store, "shops_and_stock", {"stock": "default"}, {"stock": {"pieces": 0.0}}).views
    assert (sales.defaults, stock.defaults, stock.on_missing) == ({}, {"pieces": 0.0}, "default")
    with pytest.raises(ConfigError, match=r"features\.defaults: \['stok'\] not among the views"):
        bind(store, "shops_and_stock", {}, {"stok": {"pieces": 0.0}})
    with pytest.raises(ConfigError, match=r"features\.defaults: \['sold'\] not among the features of 'stock'"):
        bind(store, "shops_and_stock", {}, {"stock": {"sold": 0.0}})


def test_a_view_that_the_store_does_not_have_is_named(store: FeatureStore) -> None:
    [view] = bind(store, "shops", {}).views
    with pytest.raises(ConfigError, match="the store has no feature view 'gone'"):
        OnlineFeatures(store, AT_NOON).read([view.model_copy(update={"name": "gone"})], QUESTIONS)


class Server:
    """A Redis server of our own that keeps what it was told when it is killed."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        with Redis(port=self.port) as client:
            while True:
                try:
                    client.ping()
                    return
                except RedisAway:
                    assert time.monotonic() < deadline, "redis-server does not start"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine (Debian: apt-get install redis-server)")
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def on_redis(redis: Server, tmp_path: Path) -> FeatureStore:
    return make(tmp_path, NOON, f'{{{{type: redis, connection_string: "127.0.0.1:{redis.port}"}}}}')


def eventually_read(features: OnlineFeatures, views: Any, within_s: float = 30.0) -> dict[str, Array]:
    deadline = time.monotonic() + within_s
    while True:
        try:
            return features.read(views, QUESTIONS)
        except FeatureStoreFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_redis_answers_as_the_historical_join_and_lets_features_expire(on_redis: FeatureStore) -> None:
    views = bind(on_redis, "shops_and_stock", {}).views
    online = OnlineFeatures(on_redis, AT_NOON).read(views, QUESTIONS)
    moments = np.array([NOON.replace(tzinfo=None)] * 6, dtype="datetime64[us]")
    assert same(online, HistoricalFeatures(on_redis).read(views, QUESTIONS, moments))
    later = OnlineFeatures(on_redis, OnlineReadSettings(as_of=NOON + timedelta(hours=3, seconds=1), timeout_s=30))
    assert np.isnan(later.read(views, QUESTIONS)["sold"]).all()


def test_a_redis_that_was_killed_is_unavailable_and_answers_again_when_it_is_back(
    on_redis: FeatureStore, redis: Server
) -> None:
    reads: list[FeatureRead] = []
    views = bind(on_redis, "shops_and_stock", {}).views
    features = OnlineFeatures(on_redis, AT_NOON, reads.append)
    before = features.read(views, QUESTIONS)
    redis.kill()
    with pytest.raises(FeatureStoreFailed, match="try again"):
        features.read(views, QUESTIONS)
    assert [read.outcome == "ok" for read in reads] == [True, False]
    redis.start()
    assert same(eventually_read(features, views), before)


def test_a_redis_that_hangs_costs_one_timeout_and_then_nothing(on_redis: FeatureStore, redis: Server) -> None:
    reads: list[FeatureRead] = []
    views = bind(on_redis, "shops_and_stock", {}).views
    features = OnlineFeatures(on_redis, OnlineReadSettings(as_of=NOON, timeout_s=0.5), reads.append)
    before = eventually_read(features, views)
    reads.clear()
    redis.process.send_signal(signal.SIGSTOP)
    for _ in range(10):
        with pytest.raises(FeatureStoreFailed):
            features.read(views, QUESTIONS)
    assert [read.outcome for read in reads] == ["timeout"] * 10
    assert reads[0].seconds >= 0.5
    assert sum(read.seconds for read in reads[1:]) < 0.5
    redis.process.send_signal(signal.SIGCONT)
    assert same(eventually_read(features, views), before)


class Sold:
    """Answers with what was sold."""

    def predict(self, columns: Columns) -> dict[str, Array]:
        return {"y": columns["sold"]}


def test_while_redis_is_away_defaults_answer_visibly_and_only_so_long(on_redis: FeatureStore, redis: Server) -> None:
    views = bind(on_redis, "shops", {}, {"sales": {"sold": -1.0}}).views
    features = OnlineFeatures(on_redis, AT_NOON)
    signature = Signature(inputs=(Column(name="shop", dtype="string"),), outputs=(Column(name="y", dtype="float64"),))
    shops: Columns = {"shop": np.array(["north", "nowhere"], dtype=object)}
    binding = FeatureBinding(service="shops", views=views)
    redis.kill()
    scored = score(shops, signature, binding, features.read, Sold(), "default")
    assert (scored.fallback, scored.outputs["y"].tolist(), scored.rejects) == (("sales",), [-1.0, -1.0], [])
    redis.start()
    eventually_read(features, views)
    scored = score(shops, signature, binding, features.read, Sold(), "default")
    assert (scored.fallback, scored.outputs["y"].tolist(), len(scored.rejects)) == ((), [12.0], 1)


def sold(store: FeatureStore) -> list[float]:
    views = bind(store, "shops", {}).views
    late = OnlineReadSettings(as_of=LAST, timeout_s=30)
    return list(OnlineFeatures(store, late).read(views, {"shop": np.array(["north", "south"], dtype=object)})["sold"])


def test_a_refresh_brings_what_is_new_and_says_how_fresh_each_view_was(tmp_path: Path) -> None:
    store = make(tmp_path)
    before = refresh(store, ["sales", "stock"], LAST, timedelta())
    assert [(it.view, it.until, it.ttl) for it in before] == [
        ("sales", NOON, timedelta(hours=3)),
        ("stock", NOON, None),
    ]
    assert sold(store) == [23.0, 123.0]
    assert [it.until for it in freshness(store, ["sales", "stock"])] == [LAST, LAST]
    assert [it.is_stale(LAST + timedelta(hours=4)) for it in freshness(store, ["sales", "stock"])] == [True, False]
    assert refresh(store, ["sales"], NOON, timedelta())[0].until == LAST
    assert sold(store) == [23.0, 123.0]


def test_what_stays_true_is_found_however_old_it_is_when_a_store_is_first_filled(tmp_path: Path) -> None:
    store = make_unfilled(tmp_path)
    assert freshness(store, ["stock"])[0].is_stale(LAST)
    refresh(store, ["stock"], LAST + timedelta(days=3_000), timedelta())
    views = bind(store, "shops_and_stock", {}).views
    asked = {"shop": np.array(["north"], dtype=object), "article": np.array([2])}
    read = OnlineFeatures(store, AT_NOON).read([view for view in views if view.name == "stock"], asked)
    assert read["pieces"].tolist() == [5.0]


def make_unfilled(folder: Path) -> FeatureStore:
    """The same views in a store that holds nothing yet."""
    filled = make(folder)
    objects = [*filled.list_entities(), *filled.list_feature_views(), *filled.list_feature_services()]
    for name in ("online.db", "registry.db"):
        (folder / name).unlink()
    store = open_store(FeatureStoreSettings(repository=str(folder)))
    for one in objects:
        if isinstance(one, FeatureView):
            one.materialization_intervals = []
    store.apply(objects)
    return store

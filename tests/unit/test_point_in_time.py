"""Point-in-time joins answer exactly as Feast's own join does."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import Bool, Float32, Float64, Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taxiway.feature_binding import FeatureViewBinding
from taxiway.features import HistoricalFeatures, join_by_feast, open_store
from taxiway.point_in_time import PointInTimeJoin
from taxiway.point_in_time_source import HistoryView, history_view, layout, scan
from taxiway.settings import FeatureStoreSettings
from taxiway.signature import Array, Columns

START = np.datetime64("2024-03-30T22:00", "us")
SECOND = np.timedelta64(1, "s")
TYPES = {
    "us": pa.timestamp("us"),
    "us, UTC": pa.timestamp("us", "UTC"),
    "us, Tokyo": pa.timestamp("us", "Asia/Tokyo"),
    "ms": pa.timestamp("ms"),
    "ns": pa.timestamp("ns"),
    "ns, UTC": pa.timestamp("ns", "UTC"),
}
SHOPS = ["north", "south", "o'hare", "é"]
CONFIG = """
project: joins
provider: local
registry: {folder}/registry.db
online_store: {{type: sqlite, path: {folder}/online.db}}
offline_store: {{type: {offline}}}
entity_key_serialization_version: 3
"""
KINDS = {"shop": ValueType.STRING, "article": ValueType.INT64}
JOINS = PointInTimeJoin(0), PointInTimeJoin(2**26)
WAYS = pytest.mark.parametrize("keep_bytes", [0, 2**20], ids=["read by DuckDB", "kept in memory"])


def make_store(folder: Path, offline: str = "duckdb") -> FeatureStore:
    (folder / "feature_store.yaml").write_text(CONFIG.format(folder=folder, offline=offline))
    return open_store(FeatureStoreSettings(repository=str(folder)))


def make_view(path: Path, name: str = "sales", **options: Any) -> FeatureView:
    """A view by shop and article, or by shop alone when `keys` says so."""
    keys = options.pop("keys", ("shop", "article"))
    source = {name: options.pop(name) for name in ("created_timestamp_column", "field_mapping") if name in options}
    fields = {"sold": Float64, "pieces": Int64, "weight": Float32, "open": Bool}
    return FeatureView(
        name=name,
        entities=[Entity(name=key, value_type=KINDS[key]) for key in keys],
        schema=[Field(name=f"{name}_{field}", dtype=dtype) for field, dtype in fields.items()],
        source=FileSource(path=str(path), timestamp_field="when", **source),
        ttl=options.pop("ttl", timedelta(0)),
        **options,
    )


def binding(view: FeatureView) -> FeatureViewBinding:
    return FeatureViewBinding(
        name=view.name,
        entity_keys=tuple(column.name for column in view.entity_columns),
        columns=tuple(feature.name for feature in view.features),
    )


def bits(columns: Columns) -> dict[str, list[int]]:
    """What a column holds to the last bit; a NaN is a NaN."""
    return {name: np.where(np.isnan(it), np.nan, it).view(np.int64).tolist() for name, it in columns.items()}


@dataclass(frozen=True)
class Case:
    """Histories (one a view), and what is asked."""

    tables: tuple[pa.Table, ...]
    ttls: tuple[timedelta, ...]
    created: bool
    keys: tuple[str, ...]
    columns: dict[str, Array]
    moments: Array


@st.composite
def cases(draw: st.DrawFn) -> Case:
    keys = draw(st.sampled_from([("shop",), ("article",), ("shop", "article")]))
    created = draw(st.booleans())
    ttls = draw(
        st.lists(st.sampled_from([timedelta(0), timedelta(seconds=3), timedelta(days=1)]), max_size=2, min_size=1)
    )
    tables = tuple(draw(histories(f"view_{place}", keys, created)) for place in range(len(ttls)))
    rows = draw(st.integers(1, 12))
    shops = draw(st.lists(st.sampled_from([*SHOPS, "nowhere", None]), min_size=rows, max_size=rows))
    articles = draw(st.lists(st.sampled_from([1, 2, 3, -7]), min_size=rows, max_size=rows))
    asked: dict[str, Array] = {"shop": np.array(shops, dtype=object), "article": np.array(articles)}
    if draw(st.booleans()):
        asked["article"] = np.where(asked["article"] == 3, np.nan, asked["article"])
    # Feast can't tell rows of one question apart, and answers them alike.
    offsets = draw(st.lists(st.integers(-2, 14), min_size=rows, max_size=rows))
    border = draw(st.sampled_from([0, 86_400]))
    moments = START + (np.array(offsets) + border) * SECOND
    moments += np.array(draw(st.lists(st.sampled_from([-1, 0, 1]), min_size=rows, max_size=rows)), "timedelta64[us]")
    return Case(tables, tuple(ttls), created, keys, {key: asked[key] for key in keys}, moments)


@st.composite
def histories(draw: st.DrawFn, name: str, keys: tuple[str, ...], created: bool) -> pa.Table:
    """Unsorted; of one key and moment several rows only where they were created at different times."""
    row = st.tuples(
        st.sampled_from([*SHOPS, None]), st.sampled_from([1, 2, 3, None]), st.integers(0, 10), st.integers(0, 3)
    )

    def same(one: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*picked(one, keys), one[2], one[3] if created else None)

    rows = draw(st.lists(row, max_size=25, unique_by=same))
    size: dict[str, Any] = {"min_size": len(rows), "max_size": len(rows)}
    zone: Any = TYPES[draw(st.sampled_from(sorted(TYPES)))]
    when = (START + np.array([it[2] for it in rows], np.int64) * SECOND).astype("datetime64[us]")
    made = [None if it[3] == 0 else START.item() + timedelta(seconds=it[3]) for it in rows]
    numbers = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
    return pa.table(
        {
            "shop": pa.array([it[0] for it in rows], pa.string()),
            "article": pa.array([it[1] for it in rows], pa.int64()),
            "when": pa.array(when, pa.timestamp("us")).cast(zone),
            "created": pa.array(made, pa.timestamp("us")),
            f"{name}_sold": pa.array(draw(st.lists(numbers, **size)), pa.float64()),
            f"{name}_pieces": pa.array(
                draw(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), **size)), pa.int64()
            ),
            f"{name}_weight": pa.array(draw(st.lists(st.one_of(st.none(), st.floats(width=32)), **size)), pa.float32()),
            f"{name}_open": pa.array(draw(st.lists(st.one_of(st.none(), st.booleans()), **size)), pa.bool_()),
        }
    )


def picked(row: tuple[Any, ...], keys: tuple[str, ...]) -> list[Any]:
    return [row[0] if key == "shop" else row[1] for key in keys]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make_store(tmp_path_factory.mktemp("joins"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sales.parquet"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("histories")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(case=cases())
def test_any_history_is_joined_as_feast_joins_it(store: FeatureStore, scratch: Path, case: Case) -> None:
    views = []
    for place, (table, ttl) in enumerate(zip(case.tables, case.ttls, strict=True)):
        pq.write_table(table, scratch / f"view_{place}.parquet", row_group_size=7)
        created = {"created_timestamp_column": "created"} if case.created else {}
        views.append(make_view(scratch / f"view_{place}.parquet", f"view_{place}", keys=case.keys, ttl=ttl, **created))
    store.apply([*(Entity(name=key, value_type=kind) for key, kind in KINDS.items() if key in case.keys), *views])
    bound = [binding(view) for view in views]
    expected = bits(join_by_feast(store, bound, case.columns, case.moments))
    for own in JOINS:
        answer: dict[str, Array] = {}
        for view, columns in zip(views, bound, strict=True):
            history = history_view(store, view)
            assert history is not None
            found = own.read(history, columns.columns, case.columns, case.moments)
            assert found is not None
            answer |= found
        assert bits(answer) == expected


def ask(view: HistoryView, keys: Columns, moments: Sequence[str], keep_bytes: int) -> list[float]:
    found = PointInTimeJoin(keep_bytes).read(view, ["sold"], keys, np.array(moments, "datetime64[us]"))
    assert found is not None
    return [float(value) for value in found["sold"]]


def write(path: Path, **columns: Sequence[Any]) -> HistoryView:
    """A history by shop whose features live for an hour."""
    times: dict[str, Any] = {
        name: np.array(columns.pop(name), "datetime64[us]") for name in ("when", "created") if name in columns
    }
    pq.write_table(pa.table({**columns, **times}), path)
    created = "created" if "created" in times else None
    return HistoryView("sales", str(path), (("shop", "shop"),), "when", created, 3_600_000_000, ())


NORTH: Columns = {"shop": np.array(["north"] * 3, dtype=object)}


@WAYS
def test_a_feature_just_as_old_as_its_time_to_live_is_known_and_one_microsecond_later_missing(
    path: Path, keep_bytes: int
) -> None:
    view = write(path, shop=["north"], when=["2024-05-01T12:00"], sold=[7.0])
    moments = ["2024-05-01T11:59:59.999999", "2024-05-01T13:00", "2024-05-01T13:00:00.000001"]
    np.testing.assert_array_equal(ask(view, NORTH, moments, keep_bytes), [np.nan, 7.0, np.nan])
    endless = replace(view, ttl_us=None)
    np.testing.assert_array_equal(ask(endless, NORTH, moments, keep_bytes), [np.nan, 7.0, 7.0])


@WAYS
def test_of_one_moment_the_last_created_counts_and_then_the_last_in_the_file(path: Path, keep_bytes: int) -> None:
    when = ["2024-05-01T12:00"] * 3
    created = ["2024-05-01T12:02", "2024-05-01T12:05", "NaT"]
    both = write(path, shop=["north"] * 3, when=when, created=created, sold=[1.0, 2.0, 3.0])
    assert ask(both, NORTH, ["2024-05-01T12:00"] * 3, keep_bytes) == [2.0] * 3
    assert ask(replace(both, created=None), NORTH, ["2024-05-01T12:00"] * 3, keep_bytes) == [3.0] * 3


@WAYS
def test_a_missing_key_is_nobodys_even_where_the_history_has_empty_ones(path: Path, keep_bytes: int) -> None:
    view = write(path, shop=["", None, "north"], when=["2024-05-01T12:00"] * 3, sold=[1.0, 2.0, 3.0])
    shops: Columns = {"shop": np.array([None, "", "north"], dtype=object)}
    np.testing.assert_array_equal(ask(view, shops, ["2024-05-01T12:00"] * 3, keep_bytes), [np.nan, 1.0, 3.0])


@WAYS
def test_a_moment_that_is_missing_knows_nothing(path: Path, keep_bytes: int) -> None:
    view = write(path, shop=["north"], when=["2024-05-01T12:00"], sold=[7.0])
    np.testing.assert_array_equal(ask(view, NORTH, ["NaT", "2024-05-01T12:00", "NaT"], keep_bytes), [np.nan, 7, np.nan])


@WAYS
def test_a_history_without_rows_knows_nothing(path: Path, keep_bytes: int) -> None:
    pq.write_table(
        pa.table(
            {
                "shop": pa.array([], pa.string()),
                "when": pa.array([], pa.timestamp("us")),
                "sold": pa.array([], pa.float64()),
            }
        ),
        path,
    )
    view = HistoryView("sales", str(path), (("shop", "shop"),), "when", None, None, ())
    assert np.isnan(ask(view, NORTH, ["2024-05-01T12:00"] * 3, keep_bytes)).all()
    none: Columns = {"shop": np.array([], dtype=object)}
    assert ask(view, none, [], keep_bytes) == []


@WAYS
def test_a_key_that_two_columns_make_is_not_mistaken_for_another(path: Path, keep_bytes: int) -> None:
    view = write(path, shop=["a", "b"], article=[1, 2], when=["2024-05-01T12:00"] * 2, sold=[1.0, 2.0])
    view = replace(view, keys=(("shop", "shop"), ("article", "asked")))
    keys: Columns = {"shop": np.array(["a", "a", "b", "b"], dtype=object), "asked": np.array([1.0, 2.0, 2.0, 2.5])}
    np.testing.assert_array_equal(ask(view, keys, ["2024-05-01T12:00"] * 4, keep_bytes), [1.0, np.nan, 2.0, np.nan])


def test_a_history_that_changes_is_read_again(path: Path) -> None:
    join = PointInTimeJoin()
    noon = np.array(["2024-05-01T12:00"] * 3, "datetime64[us]")
    for sold in (1.0, 2.0):
        view = write(path, shop=["north"], when=["2024-05-01T12:00"], sold=[sold])
        found = join.read(view, ["sold"], NORTH, noon)
        assert found is not None
        assert found["sold"].tolist() == [sold] * 3


def test_a_folder_of_parquet_files_is_one_history(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", shop=["north"], when=["2024-05-01T12:00"], sold=[1.0])
    write(tmp_path / "2.parquet", shop=["south"], when=["2024-05-01T12:00"], sold=[2.0])
    view = HistoryView("sales", str(tmp_path), (("shop", "shop"),), "when", None, None, ())
    shops: Columns = {"shop": np.array(["south", "north"], dtype=object)}
    for keep_bytes in (0, 2**20):
        assert ask(view, shops, ["2024-05-01T12:00"] * 2, keep_bytes) == [2.0, 1.0]


def test_only_the_time_that_can_count_is_read(path: Path) -> None:
    view = write(path, shop=["north"] * 2, when=["2024-05-01T12:00", "2024-05-01T13:00"], sold=[1.0, 2.0])
    with duckdb.connect() as connection:
        found = layout(connection, view)
        assert found is not None
        noon = int(np.datetime64("2024-05-01T12:00", "us").astype(np.int64))
        query = scan(view, found, ["sold"], (noon - 3_600_000_000, noon))
        assert [row[-1] for row in connection.execute(query).fetchall()] == [1.0]
        plan = str(connection.execute(f"EXPLAIN {query}").fetchall())
        assert "Filters" in plan
        assert "article" not in plan


def test_names_in_the_file_and_aliases_of_keys_are_those_of_the_view(store: FeatureStore, path: Path) -> None:
    columns: dict[str, Any] = {"shop": ["north", "south"], "t": np.array(["2024-05-01T12:00"] * 2, "datetime64[us]")}
    sold = {f"sales_{name}": [1.0, 2.0] for name in ("pieces", "weight", "open")} | {"s": [3.0, 4.0]}
    pq.write_table(pa.table(columns | sold), path)
    view = make_view(path, keys=("shop",), field_mapping={"t": "when", "s": "sales_sold"})
    store.apply([Entity(name="shop", value_type=ValueType.STRING), view])
    from_here = store.get_feature_view("sales").with_name("origin").with_join_key_map({"shop": "from"})
    history = history_view(store, from_here)
    assert history is not None
    asked: Columns = {"from": np.array(["south", "nowhere"], dtype=object)}
    noon = np.array(["2024-05-01T12:00"] * 2, "datetime64[us]")
    found = PointInTimeJoin().read(history, ["sales_sold"], asked, noon)
    assert found is not None
    frame = pd.DataFrame({"from": ["south", "nowhere"], "event_timestamp": pd.to_datetime(noon, utc=True)})
    service = FeatureService(name="trips", features=[from_here[["sales_sold"]]])
    store.apply([service])
    expected = store.get_historical_features(entity_df=frame, features=service).to_df().set_index("from")
    np.testing.assert_array_equal(found["sales_sold"], expected.loc[["south", "nowhere"], "sales_sold"])
    np.testing.assert_array_equal(found["sales_sold"], [4.0, np.nan])


def test_what_only_feast_can_join_is_left_to_feast(store: FeatureStore, path: Path, tmp_path: Path) -> None:
    write(path, shop=["north"], article=[1], when=["2024-05-01T12:00"], sales_sold=[1.0])
    view = make_view(path)
    store.apply([*(Entity(name=key, value_type=kind) for key, kind in KINDS.items()), view])
    assert history_view(store, view) is not None
    dask = tmp_path / "dask"
    dask.mkdir()
    assert history_view(make_store(dask, "file"), view) is None
    for source in (
        FileSource(path=str(path), timestamp_field="when", file_format=DeltaFormat()),
        FileSource(path=str(path), timestamp_field="when", s3_endpoint_override="http://localhost:9000"),
        FileSource(path="sales", timestamp_field="when"),
    ):
        other = copy(view)
        other.batch_source = source
        assert history_view(store, other) is None
    view.enabled = False
    assert history_view(store, view) is None


@pytest.mark.parametrize(
    ("shops", "sold"),
    [(np.array([1, 2]), [1.0, 2.0]), (np.array(["north", 7], dtype=object), [1.0, 2.0]), (None, ["1", "2"])],
    ids=["numbers for text", "mixed keys", "a feature of text"],
)
def test_types_that_might_be_compared_otherwise_are_left_to_feast(
    path: Path, shops: Array | None, sold: list[Any]
) -> None:
    view = write(path, shop=["north"] * 2, when=["2024-05-01T12:00"] * 2, sold=sold)
    asked: Columns = {"shop": np.array(["north"] * 2, dtype=object) if shops is None else shops}
    noon = np.array(["2024-05-01T12:00"] * 2, "datetime64[us]")
    assert PointInTimeJoin().read(view, ["sold"], asked, noon) is None


def test_views_that_are_left_to_feast_stand_beside_the_others(store: FeatureStore, tmp_path: Path) -> None:
    """Feast joins some rows at a time, and keeps their order."""
    for name, kind in (("own", pa.float64()), ("theirs", pa.decimal128(5, 1))):
        when = pa.array(np.array(["2024-05-01T12:00"] * 4, "datetime64[us]"))
        table = pa.table({"shop": pa.array(SHOPS), "when": when})
        for place, field in enumerate(("sold", "pieces", "weight", "open")):
            values = pa.array([place, 1.0, 2.0, 3.0]).cast(kind)
            table = table.append_column(f"{name}_{field}", values)
        pq.write_table(table, tmp_path / f"{name}.parquet")
    views = [make_view(tmp_path / f"{name}.parquet", name, keys=("shop",)) for name in ("own", "theirs")]
    store.apply([Entity(name="shop", value_type=ValueType.STRING), *views])
    shops: Columns = {"shop": np.array([*SHOPS, None], dtype=object)}
    found = HistoricalFeatures(store).read(
        [binding(view) for view in views], shops, np.array(["2024-05-01T13:00"] * 5, "datetime64[ns]")
    )
    for place, field in enumerate(("sold", "pieces", "weight", "open")):
        for name in ("own", "theirs"):
            np.testing.assert_array_equal(found[f"{name}_{field}"], [place, 1.0, 2.0, 3.0, np.nan])

"""When a served feature was true: the last moment before the answer at which its history held that value."""

import duckdb
import numpy as np
import pyarrow as pa
from feast import FeatureStore
from numpy.typing import NDArray

from batch.audit.compare import Served, StaleValues, quantiles
from taxiway.feature_binding import FeatureViewBinding
from taxiway.point_in_time_source import HistoryView, history_view, layout, scan

_FOREVER = 2**62


class Histories:
    """Asks the Parquet histories below Feast's DuckDB store; of other stores nothing is known."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def stale(self, view: FeatureViewBinding, served: Served) -> StaleValues | None:
        """Of served values that differ from the offline ones, those that the history held earlier.

        Raises:
            duckdb.Error: the history can't be read.
        """
        history = history_view(self._store, self._store.get_feature_view(view.name))
        if not len(served.values) or history is None:
            return None
        ages_s, behind_s = _ages(history, served)
        age, behind = quantiles(ages_s), quantiles(behind_s)
        return None if age is None or behind is None else StaleValues(rows=len(ages_s), age_s=age, behind_s=behind)


def _ages(history: HistoryView, served: Served) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds since the values were made, and since they were outdated; those that never were there are left out."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")  # as Feast reads a time without a zone
        if "://" in history.path:
            connection.execute("INSTALL httpfs")
            connection.execute("LOAD httpfs")
        found = layout(connection, history)
        if found is None or not found.covers(history, [served.column]):
            return np.empty(0), np.empty(0)
        connection.register("asked", _asked(history, served))
        query = _query(scan(history, found, [served.column]), history)
        answer = connection.execute(query).fetchnumpy()
    moment, made, replaced = (np.asarray(answer[name], np.int64) for name in ("moment", "made", "replaced"))
    outdated = np.minimum(replaced, made + (history.ttl_us or _FOREVER))
    return (moment - made) / 1e6, np.maximum(moment - outdated, 0) / 1e6


def _asked(history: HistoryView, served: Served) -> pa.Table:
    columns = {
        "row": pa.array(np.arange(len(served.values))),
        "moment": pa.array(served.moments.astype("datetime64[us]").astype(np.int64)),
        "served": pa.array(np.asarray(served.values, np.float64)),
    }
    keys = {
        f"key_{place}": pa.array(np.asarray(served.keys[asked]), from_pandas=True)
        for place, (_, asked) in enumerate(history.keys)
    }
    return pa.table(columns | keys)


def _query(history: str, view: HistoryView) -> str:
    keys = [f"key_{place}" for place in range(len(view.keys))]
    order = ["moment", *(["created NULLS FIRST"] if view.created else [])]
    window = f"PARTITION BY {', '.join(keys)} ORDER BY {', '.join(order)}"
    same = " AND ".join(f"asked.{key} = h.{key}" for key in keys)
    return f"""
        WITH wanted AS (SELECT h.* FROM ({history}) AS h SEMI JOIN asked ON {same}),
        dated AS (SELECT *, coalesce(lead(moment) OVER ({window}), {_FOREVER}) AS replaced FROM wanted)
        SELECT any_value(asked.moment) AS moment, max(h.moment) AS made, arg_max(h.replaced, h.moment) AS replaced
        FROM asked JOIN dated AS h ON {same} AND h.moment <= asked.moment AND h.feature_0 = asked.served
        GROUP BY asked.row
    """  # noqa: S608 - names are of our own, the history's are quoted

"""`python -m benchmarks.join`: rows joined with the history of their features, by Feast and by Taxiway."""

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

from taxiway.feature_binding import FeatureViewBinding
from taxiway.features import HistoricalFeatures, join_by_feast, open_store
from taxiway.settings import FeatureStoreSettings
from taxiway.signature import Array, Columns, take

RESULTS = Path(__file__).parent / "results" / "join.md"
PIECE_ROWS = 16_384
FEAST_ROWS = 100_000, 1_000_000
FEATURES = tuple(f"feature_{number}" for number in range(5))
START, YEAR_US, TTL = 1_700_000_000_000_000, 365 * 86_400 * 10**6, timedelta(days=30)
# What is joined, who joins it, and whether the rows come at once or as a scoring job asks for them.
WAYS = {
    "feast": "Feast, at once",
    "feast-pieces": f"Feast, pieces of {PIECE_ROWS:,}",
    "kept": "taxiway, at once, history in memory",
    "kept-pieces": f"taxiway, pieces of {PIECE_ROWS:,}, history in memory",
    "read": "taxiway, at once, ASOF join in DuckDB",
}


@dataclass(frozen=True)
class Measured:
    """One way of joining in a process of its own.

    Args:
        grown_mib: the most memory that the process held, less what it held before the first row.
        load: of the machine, the average of the last minute when it was over: what else ran shares its cores.
    """

    way: str
    rows: int
    seconds: float
    grown_mib: float
    digest: str
    load: float

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds


def main() -> int:
    """Measures every way in turn, checks that those of one size agree, and writes the table."""
    given = _arguments()
    if given.child:
        print(json.dumps(asdict(_measure(Path(given.folder), given.child, given.rows, given.entities))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder), given.entities, given.history)
        plan = [(way, rows) for rows in FEAST_ROWS if rows <= given.rows for way in WAYS]
        plan += [(way, given.rows) for way in WAYS if not way.startswith("feast")]
        measured = [_child(folder, way, rows, given.entities) for way, rows in dict.fromkeys(plan)]
    for rows in {it.rows for it in measured}:
        assert len({it.digest for it in measured if it.rows == rows}) == 1, f"the answers to {rows:,} rows differ"
    report = _report(measured, given.entities, given.history)
    RESULTS.write_text(report)
    print(report)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=_count, default=10_000_000, help="the most that are joined, as 10M")
    parser.add_argument("--entities", type=_count, default=10_000)
    parser.add_argument("--history", type=_count, default=1_000_000, help="rows of the history")
    parser.add_argument("--child", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def _count(text: str) -> int:
    scale = {"k": 10**3, "M": 10**6}
    return int(float(text[:-1]) * scale[text[-1]]) if text[-1] in scale else int(text)


def _child(folder: str, way: str, rows: int, entities: int) -> Measured:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.join", "--child", way, "--folder", folder]
    command += ["--rows", str(rows), "--entities", str(entities)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = Measured(**json.loads(done.stdout.splitlines()[-1]))
    print(f"{WAYS[way]}: {rows:,} rows, {found.rows_per_s:,.0f} rows/s", flush=True)
    return found


def _make(folder: Path, entities: int, rows: int) -> None:
    """A year of history in the order of time, as a pipeline writes it."""
    random = np.random.default_rng(0)
    moments = np.sort(START + random.integers(0, YEAR_US, rows)).astype("datetime64[us]")
    columns = {"entity": _names(random.integers(0, entities, rows)), "moment": moments}
    table = pd.DataFrame(columns | {name: random.random(rows) for name in FEATURES})
    pq.write_table(pa.Table.from_pandas(table), folder / "history.parquet")
    store = _open(folder)
    entity = Entity(name="entity", value_type=ValueType.STRING)
    source = FileSource(path=str(folder / "history.parquet"), timestamp_field="moment")
    schema = [Field(name=name, dtype=Float64) for name in FEATURES]
    store.apply([entity, FeatureView(name="view", entities=[entity], ttl=TTL, schema=schema, source=source)])


def _open(folder: Path) -> FeatureStore:
    (folder / "feature_store.yaml").write_text(
        f"project: bench\nprovider: local\nregistry: {folder}/registry.db\n"
        f"online_store: {{type: sqlite, path: {folder}/online.db}}\n"
        "offline_store: {type: duckdb}\nentity_key_serialization_version: 3\n"
    )
    return open_store(FeatureStoreSettings(repository=str(folder)))


def _names(numbers: Array) -> Array:
    return np.array([f"entity {number}" for number in range(int(numbers.max()) + 1)], dtype=object)[numbers]


def _measure(folder: Path, way: str, rows: int, entities: int) -> Measured:
    store = _open(folder)
    view = FeatureViewBinding(name="view", entity_keys=("entity",), columns=FEATURES)
    history = HistoricalFeatures(store, keep_bytes=0 if way == "read" else 2**30)

    def join(columns: Columns, moments: Array) -> Columns:
        if way.startswith("feast"):
            return join_by_feast(store, [view], columns, moments)
        return history.read([view], columns, moments)

    random = np.random.default_rng(1)
    columns: Columns = {"entity": _names(random.integers(0, entities, rows))}
    moments = (START + random.integers(0, YEAR_US, rows)).astype("datetime64[us]")
    step = PIECE_ROWS if way.endswith("pieces") else rows
    digest, before = hashlib.sha256(), _peak_mib()
    start = time.perf_counter()
    parts = [
        join(take(columns, slice(first, first + step)), moments[first : first + step]) for first in range(0, rows, step)
    ]
    seconds, peak = time.perf_counter() - start, _peak_mib()
    for name in FEATURES:
        for part in parts:
            digest.update(np.nan_to_num(part[name], nan=-1.0).tobytes())
    return Measured(way, rows, seconds, peak - before, digest.hexdigest(), os.getloadavg()[0])


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _report(measured: list[Measured], entities: int, history: int) -> str:
    introduction = (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}. One view of "
        f"{len(FEATURES)} features, {history:,} rows of {entities:,} entities in a year, a time to live of "
        f"{TTL.days} days; the asked rows are of any entity and moment of the year, in no order. Each line is a "
        "process of its own; times include the first reading of the history, memory is what the process grew by, "
        "answers included. Feast joins 65,536 rows at a time. The answers of one size are the same to the last bit. "
        "*Load* is the machine's average of the last minute: lines of different loads compare badly."
    )
    lines = [
        "# Joining the history of features: measured by `python -m benchmarks.join`",
        "",
        introduction,
        "",
        "| way | rows | s | rows/s | against Feast | memory MiB | load |",
        "|---|---|---|---|---|---|---|",
    ]
    base = {(it.way, it.rows): it.rows_per_s for it in measured}
    for it in measured:
        peer = base.get(("feast-pieces" if it.way.endswith("pieces") else "feast", it.rows))
        told = f"{it.rows_per_s / peer:.1f}" if peer else ""
        measures = f"{it.seconds:.1f} | {it.rows_per_s:,.0f} | {told} | {it.grown_mib:,.0f} | {it.load:.1f}"
        lines.append(f"| {WAYS[it.way]} | {it.rows:,} | {measures} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

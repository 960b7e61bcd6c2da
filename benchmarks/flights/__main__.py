"""`python -m benchmarks.flights`: prints the tables and writes them to benchmarks/results/flights.md."""

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.flights import batch, online
from examples.flights.prepare import folder

RESULTS = Path(__file__).parents[1] / "results" / "flights.md"


def main() -> int:
    """Measures the flights example; it must have been run once (`make run`)."""
    if not (folder() / "prepared").is_file():
        print("bench: there is no champion to measure; do `make run` first", file=sys.stderr)
        return 1
    print("online:", flush=True)
    requests = online.measure()
    print("batch:", flush=True)
    rows = batch.measure()
    report = "\n".join(
        ["# Flights: measured by `make bench`", "", _machine(), "", *_online(requests), "", *_batch(rows), ""]
    )
    RESULTS.write_text(report)
    print(f"\n{report}")
    return 0


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}; server and load generator "
        "on the same machine, everything in one run. Compare the rows with each other, not with other machines."
    )


def _online(rows: Sequence[dict[str, Any]]) -> list[str]:
    fastapi = {(row["payload"], row["connections"]): row for row in rows if row["server"] == "fastapi"}
    lines = [
        "One row a request. *lookup*: features from the online store; *features sent*: the request brings all 25.",
        "",
        "| server | payload | connections | requests/s | p50 ms | p99 ms | against FastAPI |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = row["requests_per_s"] / fastapi[row["payload"], row["connections"]]["requests_per_s"]
        lines.append(
            f"| {row['server']} | {row['payload']} | {row['connections']} | {row['requests_per_s']:,.0f} "
            f"| {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {ratio:.2f} |"
        )
    memory = {row["server"]: row["memory_mb"] for row in rows if "memory_mb" in row}
    lines += [
        "",
        "Memory of all processes under load (PSS): " + ", ".join(f"{k} {v:,.0f} MB" for k, v in memory.items()) + ".",
    ]
    return lines


def _batch(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "A quarter of flights with point-in-time features, Parquet to Parquet.",
        "",
        "| what | rows | seconds | rows/s |",
        "|---|---|---|---|",
    ]
    return lines + [
        f"| {row['what']} | {row['rows']:,} | {row['seconds']:.1f} | {row['rows_per_s']:,.0f} |" for row in rows
    ]


if __name__ == "__main__":
    sys.exit(main())

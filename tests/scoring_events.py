"""The events of a scoring job that never ran: six pieces of two actors, some rejects, an output in two partitions."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from batch.events import Event, Failed, PieceDone, Planned, Published, Started, Totals
from batch.manifest import Manifest
from batch.pieces import PartFile, PieceResult
from batch.run_plan import PlannedFile
from batch.summaries import summarize
from taxiway.signature import Array

BEGAN_S = 1_790_000_000.0
ROWS = 10_000


def piece(number: int, scores: Mapping[str, Array], rejects: Mapping[str, int], partition: str = "") -> PieceResult:
    """A piece of `ROWS` rows that took one second; every second piece is the other actor's."""
    began = BEGAN_S + 20 + number // 2
    written = ROWS - sum(rejects.values())
    part = PartFile(
        path=f"{partition}part-{number:05d}-job.parquet", rows=written, bytes=written * 40, sha256="ab" * 32
    )
    return PieceResult(
        piece=number,
        file=f"/data/flights/{number}.parquet",
        files=1,
        rows=ROWS,
        filtered=0,
        parts=(part,),
        quarantine=None,
        rejects=dict(rejects),
        bytes_read=ROWS * 100,
        started_s=began,
        ended_s=began + 1,
        seconds=1.0,
        actor=f"node-1/{4000 + number % 2}",
        scores={name: summarize(values) for name, values in scores.items()},
    )


def pieces(count: int = 6) -> list[PieceResult]:
    random = np.random.default_rng(7)
    return [
        piece(
            number,
            {"probability": random.beta(2, 6, ROWS)},
            {"missing_value": 12 + number, "unknown_category": 3} if number % 3 == 0 else {},
            "origin=EWR/" if number % 2 else "origin=JFK/",
        )
        for number in range(count)
    ]


def sums(results: Sequence[PieceResult]) -> Totals:
    total = Totals()
    for result in results:
        total = total.plus(result)
    return total


def manifest(results: Sequence[PieceResult], output: str, source: str = "/data/flights") -> Manifest:
    total = sums(results)
    return Manifest(
        job_id="20260922T000000-0badcafe",
        model="models:/flight-delay@champion",
        model_name="flight-delay",
        model_version="7",
        model_digest="0123456789abcdef" * 4,
        compared=None,
        input=source,
        output=output,
        settings={"model": '"models:/flight-delay@champion"', "batch_rows": "16384", "registry": "0123"},
        inputs=tuple(PlannedFile(path=it.file, size=it.bytes_read, changed=1, rows=it.rows) for it in results),
        left_out=(),
        skipped=(),
        parts=tuple(part for it in results for part in it.parts),
        quarantine=(),
        rows_read=total.rows,
        rows_written=total.written,
        rows_rejected=total.rejected,
        rows_filtered=0,
        rejects=dict(total.rejects),
        scores=dict(total.scores),
        started=datetime.fromtimestamp(BEGAN_S, UTC),
        ended=datetime.fromtimestamp(BEGAN_S + 24, UTC),
        resumed_pieces=0,
        seconds_by_stage={"planning": 4.0, "start-up": 16.0, "scoring": 3.0, "closing": 1.0},
    )


def planned(results: Sequence[PieceResult], output: str, source: str = "/data/flights") -> Planned:
    return Planned(
        job_id="20260922T000000-0badcafe",
        model="models:/flight-delay/7",
        compare=None,
        input=source,
        output=output,
        files=len(results),
        rows=ROWS * len(results),
        bytes=100 * ROWS * len(results),
        pieces=len(results),
        before=Totals(),
        repeated=0,
        time_s=BEGAN_S + 4,
    )


def published(output: str, results: Sequence[PieceResult] | None = None, source: str = "/data/flights") -> list[Event]:
    """A whole job that ends well."""
    results = pieces() if results is None else results
    done = [PieceDone(it, sums(results[: place + 1]), it.ended_s) for place, it in enumerate(results)]
    end = Published(manifest(results, output, source), sums(results), BEGAN_S + 24)
    return [planned(results, output, source), Started(2, BEGAN_S + 5), *done, end]


def failed(output: str, code: str = "too_many_rejects", message: str = "36 of 60000 rows were rejected") -> list[Event]:
    """One that ends after its first piece."""
    results = pieces()
    total = sums(results[:1])
    done = PieceDone(results[0], total, results[0].ended_s)
    end = Failed(code, message, 3, False, total, BEGAN_S + 22)
    return [planned(results, output), Started(2, BEGAN_S + 5), done, end]

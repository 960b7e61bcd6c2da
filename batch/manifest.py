"""What a job says about itself: what it read, wrote and set aside, and that the sums agree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from batch.inputs.storage import below, locate, storage_error
from batch.output.store import Store
from batch.pieces import PartFile, PieceResult
from batch.run_plan import PlannedFile, RunPlan, UnreadableFile
from batch.summaries import LabelSummary, NumberSummary, OutputSummary
from taxiway.errors import JobError
from taxiway.settings import Settings

_AT_A_TIME = 16


class PieceShare(Settings):
    """Of a piece that could not be read to its end: what is missing and why."""

    piece: int
    file: str
    rows_missing: int | None
    reason: str


class Manifest(Settings):
    """`_manifest.json` of a finished job.

    Attributes:
        settings: those that decide what the output holds, as JSON texts.
        inputs: the files as they were when the run began.
        left_out: files that could not be read at all.
        skipped: pieces that could not be read to their end.
        resumed_pieces: those that earlier attempts had finished.
    """

    job_id: str
    model: str
    model_name: str
    model_version: str
    model_digest: str
    compared: str | None
    input: str
    output: str
    settings: dict[str, str]
    inputs: tuple[PlannedFile, ...]
    left_out: tuple[UnreadableFile, ...]
    skipped: tuple[PieceShare, ...]
    parts: tuple[PartFile, ...]
    quarantine: tuple[PartFile, ...]
    rows_read: int
    rows_written: int
    rows_rejected: int
    rows_filtered: int
    rejects: dict[str, int]
    scores: dict[str, OutputSummary]
    started: datetime
    ended: datetime
    resumed_pieces: int
    seconds_by_stage: dict[str, float]

    @property
    def reject_share(self) -> float:
        return self.rows_rejected / self.rows_read if self.rows_read else 0.0


def make_manifest(
    plan: RunPlan,
    places: tuple[str, str],
    results: Sequence[PieceResult],
    scores: Mapping[str, NumberSummary | LabelSummary],
    times: tuple[datetime, datetime],
    seconds_by_stage: Mapping[str, float],
    resumed_pieces: int = 0,
) -> Manifest:
    """The sums of what the actors said.

    Args:
        places: input and output.
        times: when this attempt began, and now.
    """
    results = sorted(results, key=lambda result: result.piece)
    codes: Counter[str] = Counter()
    for result in results:
        codes.update(result.rejects)
    return Manifest(
        job_id=plan.job_id,
        model=plan.model.asked,
        model_name=plan.model.name,
        model_version=plan.model.version,
        model_digest=plan.model.digest,
        compared=f"models:/{plan.compare.name}/{plan.compare.version}" if plan.compare else None,
        input=places[0],
        output=places[1],
        settings=plan.settings,
        inputs=plan.files,
        left_out=plan.unreadable,
        skipped=tuple(_share(plan, result) for result in results if result.skipped is not None),
        parts=tuple(part for result in results for part in result.parts),
        quarantine=tuple(result.quarantine for result in results if result.quarantine),
        rows_read=sum(result.rows for result in results),
        rows_written=sum(result.written for result in results),
        rows_rejected=codes.total(),
        rows_filtered=sum(result.filtered for result in results),
        rejects=dict(codes.most_common()),
        scores=dict(scores),
        started=times[0],
        ended=times[1],
        resumed_pieces=resumed_pieces,
        seconds_by_stage=dict(seconds_by_stage),
    )


def _share(plan: RunPlan, result: PieceResult) -> PieceShare:
    planned = plan.pieces[result.piece].rows
    missing = planned - result.rows if planned is not None else None
    return PieceShare(piece=result.piece, file=result.file, rows_missing=missing, reason=result.skipped or "")


def check_sums(plan: RunPlan, manifest: Manifest, results: Sequence[PieceResult], store: Store) -> None:
    """Every piece is done once; each of its rows stands in exactly one of the two outputs, or was filtered.

    Raises:
        JobError: it is not so.
    """
    done = Counter(result.piece for result in results)
    for piece in plan.pieces:
        if done.pop(piece.number, 0) != 1:
            raise JobError(f"the sums do not agree: piece {piece.number} is not done once; nothing was published")
    if done:
        raise JobError(f"the sums do not agree: there is no piece {min(done)}; nothing was published")
    for result in results:
        planned = plan.pieces[result.piece].rows
        accounted = result.written + result.rejected + result.filtered
        if result.rows != accounted or (planned is not None and result.skipped is None and result.rows != planned):
            raise JobError(
                f"the sums do not agree: piece {result.piece} has {planned} rows, {result.rows} were read, "
                f"{result.written} written, {result.rejected} rejected, {result.filtered} filtered; "
                "nothing was published"
            )
    _check_footers(manifest, store)


def _check_footers(manifest: Manifest, store: Store) -> None:
    files = [*manifest.parts, *manifest.quarantine]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        found = list(pool.map(lambda file: _rows_in(store, file.path), files))
    for file, rows in zip(files, found, strict=True):
        if rows != file.rows:
            raise JobError(
                f"the sums do not agree: {file.path} holds {rows} rows, its commit record says {file.rows}; "
                "nothing was published"
            )


def _rows_in(store: Store, path: str) -> int:
    system, inside = locate(below(store.root, path))
    try:
        with system.open_input_file(inside) as source:
            return int(pq.read_metadata(source).num_rows)
    except pa.ArrowInvalid as error:
        raise JobError(f"{path}, which was just written, can't be read: {error}; nothing was published") from error
    except OSError as error:
        raise storage_error(f"{path}, which was just written, can't be read", store.root, error) from error

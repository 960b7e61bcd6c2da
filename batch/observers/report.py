"""What is to be told of a run that has ended, published or not: `_report.json`, and the source of every other form."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote

from batch.events import Failed, Planned, Published
from batch.manifest import Manifest
from batch.observers.shown import without_secrets
from batch.observers.throughput import Interval, Span, throughput
from batch.pieces import PartFile, PieceResult
from batch.summaries import OutputSummary
from taxiway.settings import Settings

VALUES, PAGE = "_report.json", "_report.html"
MAX_LISTED = 1_000
_SHOWN_ELSEWHERE = ("model", "input", "output", "registry")


class RowCounts(Settings):
    """Every row that was read is written, rejected or filtered."""

    read: int
    written: int
    rejected: int
    filtered: int


class FileCount(Settings):
    """An input file; `rows` is null where nobody has counted them."""

    path: str
    rows: int | None
    bytes: int


class PartitionCount(Settings):
    """What a folder of the output holds; the output itself has an empty name."""

    name: str
    rows: int
    files: int
    bytes: int


class ActorShare(Settings):
    """What one actor did in this attempt; `seconds` it was busy."""

    actor: str
    pieces: int
    rows: int
    seconds: float


class Problem(Settings):
    """A file, or a piece of one, that the output lacks."""

    where: str
    reason: str


class Failure(Settings):
    """Why nothing was published."""

    code: str
    message: str
    exit_status: int
    resumable: bool


class Report(Settings):
    """A run, without its secrets.

    Attributes:
        started: this attempt, not the first one.
        model_digest, input_digest: SHA-256 of the model's files, and of the input's file names, sizes and times;
            null when nothing was published.
        resumed_pieces, resumed_rows: that earlier attempts had finished.
        repeated_pieces: that they had begun; done again.
        rows_per_s: of this attempt from its first piece's begin to its last one's end, as are `throughput`, `actors`.
        input_files, partitions: the `MAX_LISTED` with most rows.
        settings: as JSON texts.
        failure: null when the output is published.
    """

    format: Literal[1] = 1
    job_id: str
    model: str
    model_digest: str | None
    compared: str | None
    input: str
    input_digest: str | None
    output: str
    started: datetime
    ended: datetime
    files: int
    pieces: int
    actors: int
    resumed_pieces: int
    resumed_rows: int
    repeated_pieces: int
    rows: RowCounts
    rows_per_s: float
    rejects: dict[str, int]
    scores: dict[str, OutputSummary]
    input_files: tuple[FileCount, ...]
    partitions: tuple[PartitionCount, ...]
    throughput: tuple[Interval, ...]
    seconds_by_stage: dict[str, float]
    actor_shares: tuple[ActorShare, ...]
    problems: tuple[Problem, ...]
    settings: dict[str, str]
    failure: Failure | None

    @property
    def seconds(self) -> float:
        return (self.ended - self.started).total_seconds()

    @property
    def reject_share(self) -> float:
        return self.rows.rejected / self.rows.read if self.rows.read else 0.0


def published_report(planned: Planned, actors: int, pieces: Sequence[PieceResult], event: Published) -> Report:
    """Of a job whose output readers see; `pieces` are those of this attempt."""
    manifest = event.manifest
    inputs = _input_files(planned, manifest, pieces)
    return _common(planned, actors, pieces).model_copy(
        update={
            "model_digest": manifest.model_digest,
            "input_digest": input_digest(manifest),
            "started": manifest.started,
            "ended": manifest.ended,
            "rows": RowCounts(
                read=manifest.rows_read,
                written=manifest.rows_written,
                rejected=manifest.rows_rejected,
                filtered=manifest.rows_filtered,
            ),
            "rejects": manifest.rejects,
            "scores": manifest.scores,
            "input_files": tuple(sorted(inputs, key=lambda file: -(file.rows or 0))[:MAX_LISTED]),
            "partitions": _partitions(manifest.parts),
            "seconds_by_stage": manifest.seconds_by_stage,
            "problems": _problems(manifest),
            "settings": {
                key: without_secrets(value) for key, value in manifest.settings.items() if key not in _SHOWN_ELSEWHERE
            },
        }
    )


def failed_report(planned: Planned, actors: int, pieces: Sequence[PieceResult], event: Failed) -> Report:
    """Of a job that had a plan and did not get to its end."""
    total = event.total
    return _common(planned, actors, pieces).model_copy(
        update={
            "ended": datetime.fromtimestamp(event.time_s, UTC),
            "rows": RowCounts(read=total.rows, written=total.written, rejected=total.rejected, filtered=total.filtered),
            "rejects": dict(total.rejects),
            "scores": dict(total.scores),
            "failure": Failure(
                code=event.code,
                message=without_secrets(event.message),
                exit_status=event.exit_status,
                resumable=event.resumable,
            ),
        }
    )


def input_digest(manifest: Manifest) -> str:
    """The same for the same files; a file that is written again is another one."""
    files = sorted(f"{file.path}\0{file.size}\0{file.changed}\n" for file in manifest.inputs)
    return hashlib.sha256("".join(files).encode("utf-8", "backslashreplace")).hexdigest()


def partition_of(path: str) -> str:
    """`origin=EWR/month=1` of a part's path below the output."""
    return "/".join(unquote(folder) for folder in path.split("/")[:-1] if "=" in folder)


def _common(planned: Planned, actors: int, pieces: Sequence[PieceResult]) -> Report:
    planned_at = datetime.fromtimestamp(planned.time_s, UTC)
    return Report(
        job_id=planned.job_id,
        model=planned.model,
        model_digest=None,
        compared=planned.compare,
        input=without_secrets(planned.input),
        input_digest=None,
        output=without_secrets(planned.output),
        started=planned_at,
        ended=planned_at,
        files=planned.files,
        pieces=planned.pieces,
        actors=actors,
        resumed_pieces=planned.before.pieces,
        resumed_rows=planned.before.rows,
        repeated_pieces=planned.repeated,
        rows=RowCounts(read=0, written=0, rejected=0, filtered=0),
        rows_per_s=_rows_per_s(pieces),
        rejects={},
        scores={},
        input_files=(),
        partitions=(),
        throughput=throughput([Span(piece.started_s, piece.ended_s, piece.rows) for piece in pieces]),
        seconds_by_stage={},
        actor_shares=_actor_shares(pieces),
        problems=(),
        settings={},
        failure=None,
    )


def _rows_per_s(pieces: Sequence[PieceResult]) -> float:
    if not pieces:
        return 0.0
    spent = max(piece.ended_s for piece in pieces) - min(piece.started_s for piece in pieces)
    return sum(piece.rows for piece in pieces) / spent if spent > 0 else 0.0


def _input_files(planned: Planned, manifest: Manifest, pieces: Sequence[PieceResult]) -> list[FileCount]:
    """Text files are counted by their pieces, where no piece is of several files or of an earlier attempt."""
    read: Counter[str] = Counter()
    if not planned.before.pieces and all(piece.files == 1 for piece in pieces):
        for piece in pieces:
            read[piece.file] += piece.rows
    return [
        FileCount(
            path=without_secrets(file.path),
            rows=read.get(file.path) if file.rows is None else file.rows,
            bytes=file.size,
        )
        for file in manifest.inputs
    ]


def _partitions(parts: Sequence[PartFile]) -> tuple[PartitionCount, ...]:
    rows: Counter[str] = Counter()
    files: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for part in parts:
        name = partition_of(part.path)
        rows[name] += part.rows
        files[name] += 1
        size[name] += part.bytes
    return tuple(
        PartitionCount(name=without_secrets(name), rows=count, files=files[name], bytes=size[name])
        for name, count in rows.most_common(MAX_LISTED)
    )


def _actor_shares(pieces: Sequence[PieceResult]) -> tuple[ActorShare, ...]:
    shares: dict[str, ActorShare] = {}
    for piece in pieces:
        before = shares.get(piece.actor) or ActorShare(actor=piece.actor, pieces=0, rows=0, seconds=0.0)
        shares[piece.actor] = ActorShare(
            actor=piece.actor,
            pieces=before.pieces + 1,
            rows=before.rows + piece.rows,
            seconds=before.seconds + piece.seconds,
        )
    return tuple(sorted(shares.values(), key=lambda share: -share.rows)[:MAX_LISTED])


def _problems(manifest: Manifest) -> tuple[Problem, ...]:
    left_out = [Problem(where=file.path, reason=f"left out: {file.reason}") for file in manifest.left_out]
    skipped = [
        Problem(
            where=f"piece {piece.piece} from {piece.file}",
            reason=f"{'an unknown number of' if piece.rows_missing is None else f'{piece.rows_missing:,}'} rows are "
            f"missing: {piece.reason}",
        )
        for piece in manifest.skipped
    ]
    return tuple(
        Problem(where=without_secrets(problem.where), reason=without_secrets(problem.reason))
        for problem in (*left_out, *skipped)
    )

"""What a job says about itself: what it read, wrote and set aside, and that the sums agree."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from batch.pieces import PartFile, PieceResult
from batch.plan import Plan
from taxiway.errors import JobError
from taxiway.settings import Settings


class InputEntry(Settings):
    """A file that was read."""

    path: str
    rows: int


class Manifest(Settings):
    """`_manifest.json` of a finished job."""

    job_id: str
    model: str
    model_name: str
    model_version: str
    input: str
    output: str
    inputs: tuple[InputEntry, ...]
    parts: tuple[PartFile, ...]
    quarantine: tuple[PartFile, ...]
    rows_read: int
    rows_written: int
    rows_rejected: int
    rejects: dict[str, int]
    started: datetime
    ended: datetime
    seconds_by_stage: dict[str, float]

    @property
    def reject_share(self) -> float:
        return self.rows_rejected / self.rows_read if self.rows_read else 0.0


def make_manifest(
    plan: Plan,
    output: Path,
    job_id: str,
    results: Sequence[PieceResult],
    started: datetime,
    seconds_by_stage: dict[str, float],
) -> Manifest:
    """The sums of what the actors said."""
    results = sorted(results, key=lambda result: result.piece)
    codes: Counter[str] = Counter()
    for result in results:
        codes.update(result.rejects)
    return Manifest(
        job_id=job_id,
        model=plan.settings.model,
        model_name=plan.version.name,
        model_version=plan.version.version,
        input=plan.settings.input,
        output=str(output),
        inputs=tuple(InputEntry(path=file.path, rows=file.rows) for file in plan.files),
        parts=tuple(result.part for result in results),
        quarantine=tuple(result.quarantine for result in results if result.quarantine),
        rows_read=sum(result.rows for result in results),
        rows_written=sum(result.part.rows for result in results),
        rows_rejected=codes.total(),
        rejects=dict(codes.most_common()),
        started=started,
        ended=started + timedelta(seconds=sum(seconds_by_stage.values())),
        seconds_by_stage=seconds_by_stage,
    )


def check_sums(manifest: Manifest, staging: Path) -> None:
    """Every row of the input's footers stands in exactly one of the two outputs' footers.

    Raises:
        JobError: it does not.
    """
    in_input = sum(file.rows for file in manifest.inputs)
    on_disk = {
        "written": _rows_on_disk(staging, manifest.parts),
        "rejected": _rows_on_disk(staging, manifest.quarantine),
    }
    said = {"written": manifest.rows_written, "rejected": manifest.rows_rejected}
    if on_disk != said or sum(on_disk.values()) != in_input or manifest.rows_read != in_input:
        raise JobError(
            f"the sums do not agree: the input holds {in_input} rows, the actors read {manifest.rows_read} "
            f"and report {said}, the files hold {on_disk}; nothing was published"
        )


def _rows_on_disk(folder: Path, files: Sequence[PartFile]) -> int:
    return sum(pq.read_metadata(folder / file.path).num_rows for file in files)

"""The end of a run: whether it was done already, whether it may go on, and its publication."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pydantic import ValidationError

from batch.events import Totals
from batch.inputs.listing import Listing
from batch.manifest import Manifest, check_sums, make_manifest
from batch.output.outputs import Output
from batch.output.workspace import Workspace
from batch.pieces import PieceResult
from batch.plan import estimated_bytes
from batch.run_plan import RunPlan, deciding, differences
from batch.settings import ScoreSettings
from batch.summaries import LabelSummary, NumberSummary
from taxiway.errors import ConfigError, TooManyRejects

_COMPRESSED_SHARE = 0.5


def already_done(output: Output, settings: ScoreSettings, listing: Listing) -> str:
    """What to say when the output holds the result of just this command; empty when there is something to do.

    Raises:
        ConfigError: it holds another run's, and the settings do not say to replace it.
    """
    content = output.finished()
    if content is None or settings.overwrite:
        return ""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError:
        told = "another release has written it"
    else:
        told = differences((manifest.settings, deciding(settings)), (manifest.inputs, listing.files))
        if not told:
            return f"already done: {output} holds job {manifest.job_id} of {manifest.ended:%Y-%m-%d %H:%M} UTC"
    raise ConfigError(f"output: {output} holds a finished job; set overwrite: true to replace it ({told})")


def check_room(plan: RunPlan, output: Output) -> None:
    """Raises ConfigError when the output can't possibly fit; files are compressed, so the estimate is halved."""
    estimate, free = estimated_bytes(plan), output.free_bytes()
    if estimate is not None and free is not None and free < estimate * _COMPRESSED_SHARE:
        raise ConfigError(
            f"output: {output} needs about {estimate / 1e6:,.0f} MB and has {free / 1e6:,.0f} MB free; make room"
        )


def too_many(total: Totals, rows: int | None, settings: ScoreSettings) -> bool:
    """Whether it is certain, or after enough rows clear, that more rows are rejected than allowed.

    Args:
        rows: of the whole input; None while nobody knows.
    """
    allowed = settings.max_reject_share
    if rows is not None and total.rejected > allowed * rows:
        return True
    return total.rows >= settings.early_reject_rows and total.rejected > allowed * total.rows


def finish(
    plan: RunPlan,
    results: Sequence[PieceResult],
    output: Output,
    workspace: Workspace,
    settings: ScoreSettings,
    scores: Mapping[str, NumberSummary | LabelSummary],
    began: datetime,
    seconds_by_stage: Mapping[str, float],
    resumed_pieces: int = 0,
) -> Manifest:
    """Checks the sums and the share of rejects, then publishes.

    Raises:
        JobError: nothing was published.
        TooManyRejects: nothing was published; the rejected rows are kept.
    """
    manifest = make_manifest(
        plan,
        (settings.input, str(output)),
        results,
        scores,
        (began, datetime.now(UTC)),
        seconds_by_stage,
        resumed_pieces,
    )
    content = manifest.model_dump_json(indent=2).encode()
    if manifest.rows_rejected > settings.max_reject_share * manifest.rows_read:
        kept = output.keep_quarantine(workspace, content)
        codes = ", ".join(f"{count} {code}" for code, count in manifest.rejects.items())
        early = "" if len(results) == len(plan.pieces) else f" after {len(results)} of {len(plan.pieces)} pieces"
        raise TooManyRejects(
            f"{manifest.rows_rejected} of {manifest.rows_read} rows were rejected{early}, more than max_reject_share "
            f"{settings.max_reject_share:g} allows: {codes}; nothing was published, the rows are in {kept}"
        )
    check_sums(plan, manifest, results, workspace.store)
    workspace.store.delete(workspace.strays(_files_of(manifest)))
    output.check_held()
    output.publish(workspace, content, settings.overwrite)
    return manifest


def _files_of(manifest: Manifest) -> set[str]:
    return {file.path for file in (*manifest.parts, *manifest.quarantine)}

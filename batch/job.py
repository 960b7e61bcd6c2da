"""One scoring job, from plan to published output."""

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from batch.layout import MANIFEST, OutputFolder
from batch.manifest import Manifest, check_sums, make_manifest
from batch.pieces import PieceResult
from batch.pipeline import cluster, free_cpus, score_pieces
from batch.plan import Plan
from batch.progress import Progress
from batch.scorer import ScorerSpec
from batch.settings import ScoreSettings
from taxiway.errors import JobError
from taxiway.settings import home

Say = Callable[[str], None]


def run(plan: Plan, output: OutputFolder, started: datetime, say: Say) -> Manifest:
    """Scores every piece and publishes the result.

    Raises:
        TaxiwayError: the job failed; nothing was published.
    """
    job_id = f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    with output.staging(job_id) as staging:
        # Again: a killed job's half-done replacement has been mended only now.
        output.check(plan.settings.input, plan.settings.overwrite)
        planned = datetime.now(UTC)
        results = _score(plan, job_id, staging, say)
        manifest = make_manifest(plan, output.path, job_id, results, started, _stages(started, planned, results))
        finish(manifest, output, staging, plan.settings)
    return manifest


def finish(manifest: Manifest, output: OutputFolder, staging: Path, settings: ScoreSettings) -> None:
    """Checks the sums and the share of rejects, then publishes.

    Raises:
        JobError: nothing was published; after too many rejects their quarantine is kept.
    """
    (staging / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    check_sums(manifest, staging)
    if manifest.reject_share > settings.max_reject_share:
        kept = output.keep_quarantine(staging)
        codes = ", ".join(f"{count} {code}" for code, count in manifest.rejects.items())
        raise JobError(
            f"{manifest.rows_rejected} of {manifest.rows_read} rows were rejected, more than max_reject_share "
            f"{settings.max_reject_share:g} allows: {codes}; nothing was published, the rows are in {kept}"
        )
    output.publish(staging, settings.input, settings.overwrite)


def _score(plan: Plan, job_id: str, staging: Path, say: Say) -> list[PieceResult]:
    spec = ScorerSpec(_absolute(plan.settings), plan.version, plan.schema, job_id, str(staging), str(home()))
    progress, results = Progress(plan.rows, say), []
    with cluster():
        free = free_cpus()
        if not free:
            say("no CPU of the cluster is free; the job waits for one")
        actors = min(plan.settings.actors or max(free, 1), len(plan.pieces))
        say(f"job {job_id}: {plan.rows:,} rows in {len(plan.pieces)} pieces, {actors} actors, {plan.version.uri}")
        for result in score_pieces(spec, plan.pieces, actors):
            results.append(result)
            progress.add(result)
    return results


def _absolute(settings: ScoreSettings) -> ScoreSettings:
    """Actors may have another working directory."""
    store = settings.feature_store
    if store is None:
        return settings
    resolved = store.model_copy(update={"repository": str(Path(store.repository).resolve())})
    return settings.model_copy(update={"feature_store": resolved})


def _stages(started: datetime, planned: datetime, results: list[PieceResult]) -> dict[str, float]:
    """Seconds from stage to stage; actors begin to score after Ray, their imports and the model."""
    now = time.time()
    marks = {
        "planning": planned.timestamp(),
        "start-up": min(result.started_s for result in results),
        "scoring": max(result.started_s + result.seconds for result in results),
        "closing": now,
    }
    spans, before = {}, started.timestamp()
    for stage, end in marks.items():
        spans[stage] = round(max(end - before, 0.0), 3)
        before = end
    return spans

"""One scoring job: begin or go on, score what is not done, publish."""

import secrets
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch.events import Failed, Observers, PieceDone, Planned, Published, Started, Totals
from batch.exit_status import exit_status
from batch.finish import already_done, check_room, finish, too_many
from batch.inputs.listing import Listing
from batch.inputs.storage import storage_error
from batch.inputs.tables import find_input
from batch.output.objects import this_job
from batch.output.outputs import Output, open_output
from batch.output.workspace import Workspace
from batch.pieces import Piece, PieceResult
from batch.plan import describe, reading_of
from batch.scorer import ScorerSpec
from batch.settings import ScoreSettings
from taxiway.errors import TaxiwayError
from taxiway.settings import home

if TYPE_CHECKING:
    from batch.pool import Cluster
    from batch.prepare import Prepared


@dataclass(frozen=True)
class Options:
    """What the command line says beside the config file."""

    restart: bool = False
    dry_run: bool = False
    day: date | None = None


@dataclass(frozen=True)
class _Work:
    """A run on its way."""

    prepared: "Prepared"
    output: Output
    workspace: Workspace
    settings: ScoreSettings
    began_s: float


def run(settings: ScoreSettings, options: Options, observers: Observers) -> str:
    """Scores what is not done yet and publishes; returns what there is to say when nothing was to be done.

    Raises:
        TaxiwayError: nothing was published; what is finished stays.
    """
    began_s = time.time()
    progress = _Progress(observers)
    try:
        settings = _absolute(settings.on(options.day))
        output = open_output(settings.output)
        output.check(settings.input)
        listing = find_input(settings.input, settings.input_format)
        if said := already_done(output, settings, listing):
            return said
        if options.dry_run:
            from batch.prepare import plan_only  # brings MLflow, which takes seconds

            prepared = plan_only(_job_id(began_s), began_s, settings, listing)
            check_room(prepared.plan, output)
            return describe(prepared.plan, prepared.models, settings, output.free_bytes())
        try:
            published = _run(settings, options, output, listing, progress, began_s)
        except OSError as error:
            raise storage_error("output", settings.output, error) from error
    except (TaxiwayError, KeyboardInterrupt) as error:
        progress.failed(error)
        raise
    with suppress(KeyboardInterrupt):  # readers see the output; only who listens hears no more
        observers.observe(published)
    return ""


def _run(
    settings: ScoreSettings,
    options: Options,
    output: Output,
    listing: Listing,
    progress: "_Progress",
    began_s: float,
) -> Published:
    from batch.pool import Cluster, Shares

    job_id = _job_id(began_s)
    with output.hold(this_job(job_id)):
        with Cluster(Shares(settings.cpus, settings.gpus, settings.actors)).running() as cluster:
            from batch.prepare import begin_or_go_on  # brings MLflow, and Ray starts meanwhile

            prepared = begin_or_go_on(job_id, began_s, settings, listing, output, options.restart)
            progress.resumable = True
            work = _Work(prepared, output, output.workspace(prepared.plan.job_id), settings, began_s)
            planned_s = time.time()
            results = _score(work, cluster, progress)
        stages = _stages(began_s, planned_s, results[len(prepared.run.before) :])
        manifest = finish(
            prepared.plan,
            results,
            output,
            work.workspace,
            settings,
            progress.total.scores,
            _moment(began_s),
            stages,
            len(prepared.run.before),
        )
    return Published(manifest, progress.total, time.time())


def _score(work: _Work, cluster: "Cluster", progress: "_Progress") -> list[PieceResult]:
    """All results, those of earlier attempts first; fewer when it is clear that too many rows are rejected."""
    from batch.pool import score_pieces

    prepared, settings = work.prepared, work.settings
    results = list(prepared.run.before)
    progress.planned(prepared, settings)
    left = _left(prepared.plan.pieces, results)
    if not left:
        return results
    spec = ScorerSpec(
        settings,
        prepared.models[0],
        prepared.models[1] if len(prepared.models) > 1 else None,
        prepared.plan.schema_of_parts,
        reading_of(prepared.plan, settings),
        work.workspace,
        str(home()),
    )
    progress.started(cluster.actors(len(left)))
    with closing(score_pieces(cluster, spec, prepared.carried, left)) as ready:
        for result in ready:
            results.append(result.model_copy(update={"scores": {}}))
            progress.done(result)
            work.output.check_held()
            if too_many(progress.total, prepared.plan.rows, settings):
                break
    return results


def _left(pieces: Sequence[Piece], done: Sequence[PieceResult]) -> list[Piece]:
    numbers = {result.piece for result in done}
    return [piece for piece in pieces if piece.number not in numbers]


class _Progress:
    """Sums up what has happened and tells it."""

    def __init__(self, observers: Observers) -> None:
        self.observers = observers
        self.total = Totals()
        self.resumable = False

    def planned(self, prepared: "Prepared", settings: ScoreSettings) -> None:
        for result in prepared.run.before:
            self.total = self.total.plus(result)
        plan = prepared.plan
        self.observers.observe(
            Planned(
                job_id=plan.job_id,
                model=prepared.models[0].uri,
                compare=prepared.models[1].uri if len(prepared.models) > 1 else None,
                input=settings.input,
                output=settings.output,
                files=len(plan.files),
                rows=plan.rows,
                bytes=plan.size,
                pieces=len(plan.pieces),
                before=self.total,
                repeated=prepared.run.repeated,
                time_s=time.time(),
            )
        )

    def started(self, actors: int) -> None:
        self.observers.observe(Started(actors, time.time()))

    def done(self, result: PieceResult) -> None:
        self.total = self.total.plus(result)
        self.observers.observe(PieceDone(result, self.total, time.time()))

    def failed(self, error: TaxiwayError | KeyboardInterrupt) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        code = "interrupted" if isinstance(error, KeyboardInterrupt) else error.code
        message = "interrupted" if interrupted else str(error)
        status = exit_status(error)
        resumable = self.resumable and code != "too_many_rejects"
        self.observers.observe(Failed(code, message, status, resumable, self.total, time.time()))


def _absolute(settings: ScoreSettings) -> ScoreSettings:
    """Actors may have another working directory."""
    changes: dict[str, object] = {
        key: path if "://" in path else str(Path(path).resolve())
        for key, path in (("input", settings.input), ("output", settings.output))
    }
    if settings.feature_store is not None:
        repository = str(Path(settings.feature_store.repository).resolve())
        changes["feature_store"] = settings.feature_store.model_copy(update={"repository": repository})
    return settings.model_copy(update=changes)


def _job_id(began_s: float) -> str:
    return f"{_moment(began_s):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _stages(began_s: float, planned_s: float, results: Sequence[PieceResult]) -> dict[str, float]:
    """Seconds from stage to stage; actors begin to score after Ray, their imports and the model."""
    marks = {"planning": planned_s}
    if results:
        marks["start-up"] = min(result.started_s for result in results)
        marks["scoring"] = max(result.ended_s for result in results)
    marks["closing"] = time.time()
    spans, before = {}, began_s
    for stage, end in marks.items():
        spans[stage] = round(max(end - before, 0.0), 3)
        before = end
    return spans

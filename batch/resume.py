"""What an earlier attempt has left, and whether the same command may go on with it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from batch.inputs.listing import Listing
from batch.output.outputs import Output
from batch.output.workspace import PLAN, Workspace
from batch.pieces import PieceResult
from batch.run_plan import RunPlan, deciding, differences, read_plan
from batch.settings import ScoreSettings
from taxiway.errors import JobError


@dataclass(frozen=True)
class Unfinished:
    """A run that has begun.

    Attributes:
        before: what was committed; nothing of it is done again.
        repeated: pieces that were begun and not committed.
    """

    plan: RunPlan
    before: tuple[PieceResult, ...] = ()
    repeated: int = 0


def unfinished(output: Output, settings: ScoreSettings, listing: Listing, restart: bool) -> Unfinished | None:
    """The run to go on with; None when there is none, or it was thrown away because of `restart`.

    Raises:
        JobError: settings or input have changed since it began.
    """
    content = output.workspace("").store.read(PLAN)
    if content is None:
        return None
    if restart:
        output.discard(_job_id(content))
        return None
    plan = read_plan(content)
    told = differences((plan.settings, deciding(settings)), (plan.files, listing.files))
    if told:
        raise JobError(
            f"an unfinished run ({plan.job_id}) of this output was begun with something else: {told}; "
            "change it back, or throw that run away with --restart"
        )
    workspace = output.workspace(plan.job_id)
    before = tuple(workspace.committed())
    return Unfinished(plan, before, _tidied(workspace, before))


def begin(output: Output, plan: RunPlan) -> Unfinished:
    """From now on the same command goes on with this plan."""
    output.workspace(plan.job_id).store.write(PLAN, plan.model_dump_json().encode())
    return Unfinished(plan)


def _tidied(workspace: Workspace, before: Sequence[PieceResult]) -> int:
    """Removes what was begun and not committed; returns how many pieces that is."""
    strays = workspace.strays({file.path for result in before for file in result.files_written})
    workspace.store.delete(strays)
    return len({workspace.piece_of(path) for path in strays})


def _job_id(content: bytes) -> str:
    """Of a plan that another release may have written."""
    try:
        return str(json.loads(content)["job_id"])
    except (ValueError, KeyError, TypeError):
        return ""

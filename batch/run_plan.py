"""What a run has pinned at its start, and how a later attempt finds out whether it may go on with it."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
from pydantic import ValidationError

from batch.inputs.listing import FoundFile
from batch.pieces import Piece
from batch.settings import ScoreSettings
from taxiway.errors import JobError
from taxiway.settings import Settings

_FREE_TO_CHANGE = frozenset(
    {
        "actors",
        "cpus",
        "early_reject_rows",
        "gpus",
        "max_reject_share",
        "mlflow",
        "on_corrupt_file",
        "overwrite",
        "pushgateway",
    }
)
_SHOWN = 3


class PinnedVersion(Settings):
    """A model version, the name under which it was asked for, and the digest of its files."""

    asked: str
    name: str
    version: str
    digest: str


class PlannedFile(Settings):
    """A file as it was when the run began; `rows` is null for text that nobody has counted."""

    path: str
    size: int
    changed: int
    rows: int | None


class UnreadableFile(Settings):
    """A file that was set aside before the start."""

    path: str
    reason: str


class RunPlan(Settings):
    """`plan.json` of a run: the model, the settings, the input's files, and the pieces they are cut into."""

    format: Literal[1] = 1
    job_id: str
    began_s: float
    model: PinnedVersion
    compare: PinnedVersion | None
    settings: dict[str, str]
    input_format: str
    files: tuple[PlannedFile, ...]
    unreadable: tuple[UnreadableFile, ...] = ()
    pieces: tuple[Piece, ...]
    part_schema: str
    text_types: str
    partition_types: str
    row_bytes: float

    @property
    def rows(self) -> int | None:
        counts = [piece.rows for piece in self.pieces]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)

    @property
    def schema_of_parts(self) -> pa.Schema:
        return decoded_schema(self.part_schema)


def read_plan(content: bytes) -> RunPlan:
    """Raises JobError for the plan of another release."""
    try:
        return RunPlan.model_validate_json(content)
    except ValidationError as error:
        raise JobError("the unfinished run was begun by another release; --restart begins anew") from error


def deciding(settings: ScoreSettings) -> dict[str, str]:
    """The settings that decide what the output holds, each as JSON; where the registry is only as a digest."""
    values: Mapping[str, Any] = settings.model_dump(mode="json", exclude=set(_FREE_TO_CHANGE))
    told = {key: json.dumps(value, sort_keys=True) for key, value in values.items()}
    # Its URI may hold a password.
    told["registry"] = hashlib.sha256(told["registry"].encode()).hexdigest()[:16]
    return told


def different_settings(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What a person changes to get the earlier run back, a sentence each."""
    keys = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
    return [
        f"{key} was {then.get(key, 'unknown')}, now {now.get(key, 'unknown')}" if key != "registry" else "registry"
        for key in keys
    ]


def different_files(then: Sequence[PlannedFile], now: Sequence[FoundFile]) -> list[str]:
    """What has happened to the input's files since, a sentence each."""
    before, after = ({file.path: file for file in files} for files in (then, now))
    told = [f"{path} is gone" for path in before if path not in after]
    told += [f"{path} is new" for path in after if path not in before]
    for path in before.keys() & after.keys():
        if before[path].size != after[path].size:
            told.append(f"{path} had {before[path].size} bytes, now {after[path].size}")
        elif before[path].changed != after[path].changed:
            told.append(f"{path} was written again")
    return told


def differences(
    settings: tuple[Mapping[str, str], Mapping[str, str]], files: tuple[Sequence[PlannedFile], Sequence[FoundFile]]
) -> str:
    """Both in one sentence; empty when a run may go on."""
    told = different_settings(*settings) + different_files(*files)
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return "; ".join(told[:_SHOWN]) + more


def encoded_schema(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def decoded_schema(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))

"""What jobs share that look back at the prediction log: their settings, a window, a seeded sample, its columns."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from batch.moments import fill_in_date
from batch.observers.settings import MlflowSettings
from retrain.relative import resolve, time_zone
from taxiway.arrow_columns import convert, is_convertible, moments
from taxiway.errors import ConfigError, JobError
from taxiway.predictions.reader import by_ids, scan
from taxiway.predictions.record import OK
from taxiway.settings import FileSettings, RegistrySettings, Settings, home
from taxiway.signature import Array, Column

Tell = Callable[[str], None]
Clock = Callable[[], datetime]
_ABOUT = ("prediction_id", "row", "version", "variant", "kind", "status")


class LookBackWindowSettings(Settings):
    """Answers made in [start, end): moments, or relative to the run as in a retraining's windows."""

    start: str = Field(default="now-1d/d", description="ISO 8601, or relative: now-7d/d is seven days ago at midnight")
    end: str = Field(default="now/d", description="as `start`; not inclusive")
    time_zone: str = Field(default="UTC", description="of the calendar's days, such as America/New_York")


class LookBackSettings(FileSettings):
    """Which answers are looked at, and where it is told what was found."""

    predictions: str = Field(
        default_factory=lambda: f"{home()}/predictions",
        description="the location of the prediction log; default ${TAXIWAY_HOME}/predictions",
    )
    endpoint: str = Field(description="whose answers are looked at")
    variant: str | None = Field(default=None, description="null: all variants that have answered with the version")
    window: LookBackWindowSettings = LookBackWindowSettings()
    answers: int = Field(default=20_000, ge=1, description="how many answers are looked at, drawn by their ids")
    seed: int = Field(default=0, ge=0, lt=2**63, description="another one draws other answers")
    output: str = Field(description="a folder for the report, local or s3://; {date} is what --date says")
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    mlflow: MlflowSettings | None = Field(
        default=MlflowSettings(experiment="monitoring"), description="log a run with the report; null: none"
    )

    def folder(self, day: date | None) -> str:
        """Raises ConfigError as `fill_in_date`."""
        return fill_in_date(self.output, day, "output")


@dataclass(frozen=True)
class Span:
    """The window of a run: `start` inclusive, `end` exclusive, days as `zone` has them."""

    start: datetime
    end: datetime
    zone: ZoneInfo


def utc_now() -> datetime:
    return datetime.now(UTC)


def span_of(settings: LookBackWindowSettings, day: date | None, clock: Clock) -> Span:
    """The window of this run; with a date `now` is the beginning of that day.

    Raises:
        ConfigError: a moment can't be read, or the window is empty.
    """
    zone = time_zone(settings.time_zone)
    now = datetime.combine(day, time(), zone) if day else clock()
    start, end = (resolve(text, now, zone) for text in (settings.start, settings.end))
    if start >= end:
        raise ConfigError(f"window: it ends at {end.isoformat()}, not after its start {start.isoformat()}")
    return Span(start, end, zone)


@dataclass(frozen=True)
class Who:
    """Whose records are meant: the live answers of a version, of one variant or of all (None)."""

    endpoint: str
    version: str
    variant: str | None

    def of(self, table: pa.Table) -> pa.Table:
        """Their records that have an answer."""
        wanted: Any = (pc.field("version") == self.version) & (pc.field("kind") == "live") & (pc.field("status") == OK)
        return table.filter(wanted if self.variant is None else wanted & (pc.field("variant") == self.variant))


@dataclass(frozen=True)
class Sample:
    """Logged records, and how many answers there were to draw from."""

    table: pa.Table
    answers: int
    of_answers: int


def sample(settings: LookBackSettings, who: Who, span: Span, columns: Sequence[str]) -> Sample:
    """All rows of the drawn answers, in the order of their ids.

    Drawn are the answers whose ids have the smallest keyed hashes (a bottom-k sample; Cohen and Kaplan, "Summarizing
    data using bottom-k sketches", PODC 2007): the same ones in every run, whatever the files look like.

    Raises:
        ConfigError: the location is of no known kind.
        JobError: there is no such answer.
        OSError: the storage can't be read.
    """
    drawn: list[tuple[int, str]] = []
    found = 0
    for batch in scan(settings.predictions, who.endpoint, span.start, span.end, _ABOUT):
        table = who.of(pa.Table.from_batches([batch]))
        firsts: Any = table.filter(pc.field("row") == 0)["prediction_id"]
        names = [str(name) for name in firsts.to_pylist()]
        found += len(names)
        drawn = sorted([*drawn, *((_hash(name, settings.seed), name) for name in names)])[: settings.answers]
    if not drawn:
        variant = f" as {who.variant}" if who.variant else ""
        raise JobError(
            f"{who.endpoint}: version {who.version} has answered nothing{variant} between {span.start.isoformat()} and "
            f"{span.end.isoformat()} in {settings.predictions}; look at predictions, endpoint, variant and window"
        )
    names = [name for _, name in drawn]
    records = who.of(by_ids(settings.predictions, names, who.endpoint, [*_ABOUT, "time", *columns]))
    return Sample(records.sort_by([("prediction_id", "ascending"), ("row", "ascending")]), len(drawn), found)


def _hash(name: str, seed: int) -> int:
    digest = hashlib.blake2b(name.encode(), key=seed.to_bytes(8, "big"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


@dataclass(frozen=True)
class Logged:
    """Columns as the model takes and gives them.

    Args:
        columns: those that the log has.
        unreadable: rows [n] with a value that is not of its column's type; they hold placeholders.
        absent: columns that the log does not have.
    """

    columns: dict[str, Array]
    unreadable: NDArray[np.bool_]
    absent: tuple[str, ...]


def logged(table: pa.Table, columns: Sequence[Column], prefix: str) -> Logged:
    """The columns `PREFIX.NAME` of records.

    Raises:
        ConfigError: a column is of another type: it was encrypted or hashed.
    """
    found: dict[str, Array] = {}
    unreadable = np.zeros(table.num_rows, np.bool_)
    for column in columns:
        name = f"{prefix}.{column.name}"
        if name not in table.column_names or pa.types.is_null(table.schema.field(name).type):
            continue
        kind = table.schema.field(name).type
        if not is_convertible(kind, column.dtype, column.shape):
            raise ConfigError(
                f"{name}: the log holds {kind} where the model has {column.dtype}; a field that is hashed or encrypted "
                "(predictions.fields) can't be looked back at"
            )
        found[column.name], refused = convert(column, table[name])
        for reject in refused:
            unreadable[reject.rows] = True
    absent = tuple(column.name for column in columns if column.name not in found)
    return Logged(found, unreadable, absent)


def moments_of(table: pa.Table) -> NDArray[np.datetime64]:
    """When each record's request arrived: datetime64[us], UTC."""
    return moments("time", table["time"])[0]

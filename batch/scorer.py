"""Scores pieces: read, convert, complete, predict, write. One lives in each actor, and needs no Ray."""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from pyarrow import fs

from batch.parts import first_rejects, part_table, quarantine_table, write_part
from batch.pieces import PartFile, Piece, PieceResult
from batch.reader import PieceReader
from batch.schema import STAMPS, needs_moments, quarantine_schema, read_names, wanted_columns
from batch.settings import ScoreSettings
from taxiway.arrow_columns import convert, missing_rows, moments
from taxiway.errors import JobError
from taxiway.feature_binding import FeatureViewBinding
from taxiway.registry import LoadedModel, ModelVersion, Registry
from taxiway.scoring import Scored, score
from taxiway.signature import Array, Columns, Reject, take

QUARANTINE = "_quarantine"
JoinFeatures = Callable[[Sequence[FeatureViewBinding], Columns, Array], dict[str, Array]]
"""Reads every feature of some views for each row as of that row's moment."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScorerSpec:
    """All that a scorer needs to know, in a form that travels to another process."""

    settings: ScoreSettings
    version: ModelVersion
    schema: pa.Schema
    job_id: str
    staging: str
    home: str


@dataclass(frozen=True)
class _Inputs:
    """A piece as the model takes it; the rows of `rejects` hold placeholders."""

    table: pa.Table
    columns: dict[str, Array]
    moments: Array
    rejects: list[Reject]

    @property
    def good(self) -> Array:
        refused = np.concatenate([[], *(reject.rows for reject in self.rejects)])
        return np.setdiff1d(np.arange(self.table.num_rows), refused).astype(np.intp)


class PieceScorer:
    """Writes a part file, and a quarantine file where rows are refused, for each piece.

    A piece that is scored again after a crash writes the same files again.
    """

    def __init__(self, spec: ScorerSpec, model: LoadedModel, join_features: JoinFeatures) -> None:
        self._spec, self._settings = spec, spec.settings
        self._package, self._predictor = model.package, model.predictor
        self._join_features = join_features
        self._stamps = dict(zip(STAMPS, (spec.version.name, spec.version.version, spec.job_id), strict=True))
        self._reader = PieceReader(lambda schema: read_names(self._package, schema, self._settings))
        self._originals = PieceReader(lambda schema: schema.names)

    def score(self, piece: Piece) -> PieceResult:
        """Raises JobError when the piece can't be read or written."""
        started, clock = time.time(), time.perf_counter()
        try:
            inputs = self._inputs(piece)
            scored = self._scored(inputs)
            part = self._write_part(piece, inputs, scored)
            first = first_rejects([*inputs.rejects, *scored.rejects])
            quarantine = self._write_quarantine(piece, inputs, first) if first else None
        except (OSError, pa.ArrowException) as error:
            _log.exception("piece %d failed", piece.number)
            raise JobError(f"{piece.file}, from row {piece.first_row} of the input on: {error}") from error
        return PieceResult(
            piece=piece.number,
            rows=piece.rows,
            part=part,
            quarantine=quarantine,
            rejects=dict(Counter(code for code, _, _ in first.values())),
            started_s=started,
            seconds=time.perf_counter() - clock,
        )

    def _inputs(self, piece: Piece) -> _Inputs:
        table = self._reader.read(piece)
        row_id, timestamp = self._settings.row_id, self._settings.event_timestamp
        if row_id not in table.column_names:
            numbers = pa.array(np.arange(piece.first_row, piece.first_row + piece.rows))
            table = table.append_column(row_id, numbers)
        rejects = missing_rows(row_id, "row id", table.column(row_id))
        columns, when = {}, np.empty(0, "datetime64[us]")
        for column in wanted_columns(self._package, table.schema):
            columns[column.name], refused = convert(column, table.column(column.name))
            rejects += refused
        if needs_moments(self._package, table.column_names):
            when, refused = moments(timestamp, table.column(timestamp))
            rejects += refused
        return _Inputs(table, columns, when, rejects)

    def _scored(self, inputs: _Inputs) -> Scored:
        """Answers and rejects by their positions in the piece."""
        good = inputs.good
        if not len(good):
            return Scored(good, {}, [])
        when = inputs.moments[good] if len(inputs.moments) else inputs.moments
        scored = score(
            take(inputs.columns, good),
            self._package.signature,
            self._package.features,
            lambda views, columns: self._join_features(views, columns, when),
            self._predictor,
        )
        rejects = [replace(reject, rows=good[reject.rows]) for reject in scored.rejects]
        return Scored(good[scored.rows], scored.outputs, rejects)

    def _write_part(self, piece: Piece, inputs: _Inputs, scored: Scored) -> PartFile:
        kept = inputs.table.select(list(dict.fromkeys([self._settings.row_id, *self._settings.keep])))
        table = part_table(self._spec.schema, kept.take(scored.rows), scored.outputs, self._stamps)
        return self._write(self._name(piece), table)

    def _write_quarantine(self, piece: Piece, inputs: _Inputs, described: dict[int, tuple[str, str, str]]) -> PartFile:
        positions = np.array(list(described), dtype=np.int64)
        table = quarantine_table(
            quarantine_schema(self._spec.schema),
            inputs.table.column(self._settings.row_id).take(positions),
            self._originals.read(piece).take(positions),
            list(described.values()),
            self._stamps,
        )
        return self._write(f"{QUARANTINE}/{self._name(piece)}", table)

    def _name(self, piece: Piece) -> str:
        return f"part-{piece.number:05d}-{self._spec.job_id}.parquet"

    def _write(self, path: str, table: pa.Table) -> PartFile:
        return write_part(fs.LocalFileSystem(), self._spec.staging, path, table)


def load_scorer(spec: ScorerSpec) -> PieceScorer:
    """Loads the model and opens the feature store, once for each actor.

    Raises:
        TaxiwayError: one of them can't be had.
    """
    # Feast and the embedded registry look for their files there; an actor may run on another node.
    os.environ["TAXIWAY_HOME"] = spec.home
    model = Registry(spec.settings.registry).load(spec.version)
    return PieceScorer(spec, model, _join(spec.settings) if model.package.features else _nothing)


def _join(settings: ScoreSettings) -> JoinFeatures:
    if settings.feature_store is None:
        return _nothing
    from taxiway.features import HistoricalFeatures, open_store  # takes seconds; many models read no features

    features = HistoricalFeatures(open_store(settings.feature_store))

    def join(views: Sequence[FeatureViewBinding], columns: Columns, when: Array) -> dict[str, Array]:
        try:
            return features.read(views, columns, when)
        except Exception as error:
            _log.exception("the join of features failed")
            names = ", ".join(view.name for view in views)
            raise JobError(f"the features of {names} can't be joined: {type(error).__name__}: {error}") from error

    return join


def _nothing(views: Sequence[FeatureViewBinding], columns: Columns, when: Array) -> dict[str, Array]:
    raise JobError("feature_store: the model reads features, and no store is configured")

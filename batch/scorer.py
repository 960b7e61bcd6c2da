"""Scores pieces: read, convert, complete, predict, write. One lives in each actor, and needs no Ray."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from batch.filters import Filter, parse_filter
from batch.inputs.ahead import ahead
from batch.inputs.reading import PieceReader, RawBatch, Reading
from batch.inputs.storage import is_remote, storage_error
from batch.model import ScoringModel
from batch.output.parts import PartsForm, PieceFiles, first_rejects, part_table, quarantine_table
from batch.output.workspace import Workspace
from batch.pieces import Piece, PieceResult
from batch.schema import COMPARED, STAMPS, needs_moments, quarantine_schema, read_names, wanted_columns
from batch.settings import ScoreSettings
from batch.summaries import LabelSummary, NumberSummary, merge, summarize
from taxiway.arrow_columns import convert, missing_rows, moments
from taxiway.errors import JobError
from taxiway.feature_binding import FeatureViewBinding
from taxiway.scoring import Predictor, Scored, score
from taxiway.signature import Array, Columns, Reject, RejectCode, take

JoinFeatures = Callable[[Sequence[FeatureViewBinding], Columns, Array], dict[str, Array]]
"""Reads every feature of some views for each row as of that row's moment."""
Summaries = Mapping[str, NumberSummary | LabelSummary]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScorerSpec:
    """All that a scorer needs to know, in a form that travels to another process."""

    settings: ScoreSettings
    model: ScoringModel
    compared: ScoringModel | None
    schema: pa.Schema
    reading: Reading
    workspace: Workspace
    home: str

    @property
    def models(self) -> tuple[ScoringModel, ...]:
        return (self.model,) if self.compared is None else (self.model, self.compared)


@dataclass
class _Counts:
    rows: int = 0
    filtered: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    scores: Summaries = field(default_factory=dict)


class PieceScorer:
    """Writes a part file, a quarantine file where rows are refused, and the commit record of each piece.

    A piece that is scored again after a crash writes the same files again.

    Args:
        predictors: of the model, and of the one that it is compared with.
    """

    def __init__(
        self, spec: ScorerSpec, predictors: Sequence[Predictor], join_features: JoinFeatures, actor: str = ""
    ) -> None:
        self._spec, self._settings, self._actor = spec, spec.settings, actor
        self._predictors, self._join_features = predictors, join_features
        self._filter: Filter | None = parse_filter(spec.settings.filter) if spec.settings.filter else None
        self._stamps = dict(zip(STAMPS, (spec.model.name, spec.model.version, spec.workspace.job_id), strict=True))
        compression = spec.settings.compression
        self._form = PartsForm(
            spec.schema,
            quarantine_schema(spec.schema),
            spec.settings.partition_by,
            "NONE" if compression == "none" else compression,
        )
        self._reader = PieceReader(spec.reading, lambda names: read_names(spec.models, names, spec.settings))

    def score(self, piece: Piece) -> PieceResult:
        """Commits the piece.

        Raises:
            JobError: it can't be read or written.
            TryLater: the storage is away.
        """
        started, clock = time.time(), time.perf_counter()
        try:
            with PieceFiles(self._spec.workspace, piece.number, self._form) as files:
                counts, skipped = self._scored(piece, files)
                parts, quarantine = files.close()
            first = piece.spans[0] if piece.spans else None
            result = PieceResult(
                piece=piece.number,
                file=first.file if first else "",
                files=len({span.file for span in piece.spans}),
                partition=_common_partition(piece),
                rows=counts.rows,
                filtered=counts.filtered,
                parts=parts,
                quarantine=quarantine,
                rejects=dict(counts.rejects),
                bytes_read=piece.size,
                started_s=started,
                ended_s=time.time(),
                seconds=time.perf_counter() - clock,
                actor=self._actor,
                scores=dict(counts.scores),
                skipped=skipped,
            )
            self._spec.workspace.commit(result)
        except OSError as error:
            _log.exception("piece %d failed", piece.number)
            raise storage_error(f"piece {piece.number}", self._spec.workspace.store.root, error) from error
        return result

    def _scored(self, piece: Piece, files: PieceFiles) -> tuple[_Counts, str | None]:
        counts = _Counts()
        batches: Iterable[RawBatch] = self._reader.batches(piece)
        if piece.spans and is_remote(piece.spans[0].file):
            batches = ahead(batches)
        iterator = iter(batches)
        while True:
            try:
                batch = next(iterator, None)
            except (OSError, pa.ArrowException, ValueError) as error:
                self._reader.close()
                return counts, self._unreadable(piece, error)
            if batch is None:
                return counts, None
            self._score_batch(batch, files, counts)

    def _unreadable(self, piece: Piece, error: Exception) -> str:
        """Why a file could not be read to its end, where the settings say to go on without the rest of the piece."""
        where = piece.spans[0]
        name = where.file if len(piece.spans) == 1 else f"{where.file} or one of the {len(piece.spans) - 1} after it"
        if isinstance(error, OSError) and is_remote(where.file):
            raise storage_error(f"input: {name}", where.file, error) from error
        if self._settings.on_corrupt_file == "skip":
            return f"{name}: {error}"
        _log.exception("piece %d can't be read", piece.number)
        raise JobError(f"input: {name}: can't be read: {error}; on_corrupt_file: skip goes on without it") from error

    def _score_batch(self, batch: RawBatch, files: PieceFiles, counts: _Counts) -> None:
        counts.rows += batch.table.num_rows + len(batch.malformed)
        self._refuse_malformed(batch, files, counts)
        kept, positions = self._filtered(batch)
        counts.filtered += batch.table.num_rows - kept.table.num_rows
        if not kept.table.num_rows:
            return
        answers, rejects = self._answers(kept)
        first = first_rejects(rejects)
        if first:
            self._refuse(kept, positions, first, files)
            counts.rejects.update(code for code, _, _ in first.values())
        counts.scores = merge(counts.scores, {name: summarize(values) for name, values in answers.outputs.items()})
        names = list(dict.fromkeys([self._settings.row_id, *self._settings.keep]))
        shown = kept.table.select([name for name in names if name in kept.table.column_names])
        if len(answers.rows) != kept.table.num_rows:
            shown = shown.take(answers.rows)
        stamps: dict[str, str | None] = dict(self._stamps)
        if self._spec.compared is not None:
            stamps[COMPARED] = self._spec.compared.version
        files.write(part_table(self._spec.schema, shown, answers.outputs, stamps))

    def _filtered(self, batch: RawBatch) -> tuple[RawBatch, Array | None]:
        """The rows that the filter leaves, and where they stood; None when it leaves all."""
        if self._filter is None:
            return batch, None
        try:
            mask = self._filter.mask(batch.table).to_numpy()
        except ValueError as error:
            raise JobError(str(error)) from error
        if mask.all():
            return batch, None
        positions = np.flatnonzero(mask)
        places = np.cumsum(mask) - 1
        refused = []
        for reject in batch.refused:
            stays = mask[reject.rows]
            reasons = [reason for reason, stay in zip(reject.reasons, stays, strict=True) if stay]
            refused.append(Reject(places[reject.rows[stays]], reject.code, reject.field, reasons))
        return replace(batch, table=batch.table.take(positions), refused=refused), positions

    def _answers(self, batch: RawBatch) -> tuple[Scored, list[Reject]]:
        """Answers of the first model, with those of the second beside them, and all that is against some row."""
        own = [
            *batch.refused,
            *missing_rows(self._settings.row_id, "row id", batch.table.column(self._settings.row_id)),
        ]
        main = self._asked(self._spec.model, self._predictors[0], batch.table, own)
        if self._spec.compared is None or self._settings.compare is None:
            return main, main.rejects
        other = self._asked(self._spec.compared, self._predictors[1], batch.table, own)
        outputs = dict(main.outputs)
        for column in self._spec.compared.signature.outputs:
            values = _at(other, column.name, main.rows)
            outputs[column.name + self._settings.compare.suffix] = values
        return Scored(main.rows, outputs, main.rejects), main.rejects

    def _asked(self, model: ScoringModel, predictor: Predictor, table: pa.Table, own: Sequence[Reject]) -> Scored:
        """Answers and rejects by their positions in the table; refused rows hold placeholders until then."""
        rejects, columns = list(own), {}
        when = np.empty(0, "datetime64[us]")
        for column in wanted_columns(model, table.schema):
            columns[column.name], refused = convert(column, table.column(column.name))
            rejects += refused
        if needs_moments(model, table.column_names):
            name = self._settings.event_timestamp
            when, refused = moments(name, table.column(name))
            rejects += refused
        if not rejects:
            return self._score(model, predictor, columns, when, table.num_rows)
        good = np.setdiff1d(np.arange(table.num_rows), np.concatenate([reject.rows for reject in rejects]))
        if not len(good):
            return Scored(good, {}, rejects)
        scored = self._score(model, predictor, take(columns, good), when[good] if len(when) else when, len(good))
        later = [replace(reject, rows=good[reject.rows]) for reject in scored.rejects]
        return Scored(good[scored.rows], scored.outputs, rejects + later)

    def _score(
        self, model: ScoringModel, predictor: Predictor, columns: dict[str, Array], when: Array, rows: int
    ) -> Scored:
        return score(
            columns,
            model.signature,
            model.features,
            lambda views, keys: self._join_features(views, keys, when),
            predictor,
        )

    def _refuse(
        self, batch: RawBatch, positions: Array | None, first: dict[int, tuple[str, str, str]], files: PieceFiles
    ) -> None:
        places = np.array(list(first), dtype=np.int64)
        originals = batch.originals((places if positions is None else positions[places]).tolist())
        row_ids = batch.table.column(self._settings.row_id).take(places)
        files.refuse(quarantine_table(self._form.quarantine, row_ids, originals, list(first.values()), self._stamps))

    def _refuse_malformed(self, batch: RawBatch, files: PieceFiles, counts: _Counts) -> None:
        if not batch.malformed:
            return
        texts = [text for text, _ in batch.malformed]
        described = [(str(RejectCode.MALFORMED_ROW), "", reason) for _, reason in batch.malformed]
        row_ids = pa.nulls(len(texts), self._form.quarantine.field(0).type)
        files.refuse(quarantine_table(self._form.quarantine, row_ids, texts, described, self._stamps))
        counts.rejects[str(RejectCode.MALFORMED_ROW)] += len(texts)


def _at(scored: Scored, name: str, rows: Array) -> Any:
    """One output at some positions; None where there is no answer."""
    if np.array_equal(scored.rows, rows):
        return scored.outputs.get(name, np.empty(0))
    place = {int(row): index for index, row in enumerate(scored.rows)}
    values = scored.outputs.get(name, np.empty(0)).tolist()
    found = [values[place[int(row)]] if int(row) in place else None for row in rows]
    return np.array(found, dtype=np.object_)


def _common_partition(piece: Piece) -> dict[str, str | None]:
    partitions = [span.partition for span in piece.spans]
    if not partitions or any(partition != partitions[0] for partition in partitions):
        return {}
    return dict(partitions[0])

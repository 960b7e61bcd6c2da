"""Scores logged requests again as batch does, with point-in-time features, and says where the answers differ."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.audit.compare import ColumnSkew, Served, compare
from batch.looking_back import logged, moments_of
from taxiway.errors import ConfigError, InvalidInput, JobError, TaxiwayError
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding, apply_policies
from taxiway.package import ModelPackage
from taxiway.registry import LoadedModel
from taxiway.scoring import Scored, score
from taxiway.signature import Array, Columns, take

if TYPE_CHECKING:
    from batch.audit.staleness import Histories
    from taxiway.features import HistoricalFeatures


@dataclass(frozen=True)
class Offline:
    """The offline features of a store, and its histories for the age of a value."""

    features: "HistoricalFeatures"
    histories: "Histories"


@dataclass(frozen=True)
class Skew:
    """What an audit has found.

    Args:
        rows: that were compared.
        unreadable: logged rows that are not of the model's types; they are left out.
        refused: answered rows that batch sets aside, by code; their outputs are not compared.
        absent: columns that the log does not have; they are not compared.
    """

    rows: int
    unreadable: int
    features: tuple[ColumnSkew, ...]
    outputs: tuple[ColumnSkew, ...]
    refused: dict[str, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    @property
    def refused_share(self) -> float:
        return sum(self.refused.values()) / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class _Rows:
    """The audited rows: what the client sent, what the store had brought, what was answered."""

    sent: Columns
    served: Columns
    answered: Columns
    moments: NDArray[np.datetime64]
    unreadable: int
    absent: tuple[str, ...]


def replay(
    table: pa.Table, model: LoadedModel, offline: Offline | None, tolerance: float, as_of: np.datetime64 | None
) -> Skew:
    """Compares records of one version with what batch answers to their request columns.

    Args:
        offline: None for a model without features.
        as_of: the moment of all rows; None: when each request arrived.

    Raises:
        ConfigError: the log lacks a column without which nothing can be scored.
        JobError: the features can't be joined.
    """
    rows = _rows(table, model.package, as_of)
    joined, scored = _score(rows, model, offline)
    features = _features(rows, model.package.features, joined, offline, tolerance)
    outputs = tuple(
        compare(name, values[scored.rows], scored.outputs[name], tolerance).skew()
        for name, values in rows.answered.items()
        if name in scored.outputs
    )
    return Skew(len(rows.moments), rows.unreadable, features, outputs, _refused(scored), rows.absent)


def _rows(table: pa.Table, package: ModelPackage, as_of: np.datetime64 | None) -> _Rows:
    stored = package.features.optional_inputs if package.features else ()
    parts = (
        logged(table, package.signature.inputs, "input"),
        logged(table, stored, "input"),
        logged(table, package.signature.outputs, "output"),
    )
    bad = np.logical_or.reduce([part.unreadable for part in parts])
    sent, served, answered = (take(part.columns, ~bad) for part in parts)
    moments = moments_of(table)[~bad]
    return _Rows(
        sent=sent,
        served=served,
        answered=answered,
        moments=moments if as_of is None else np.full(len(moments), as_of),
        unreadable=int(bad.sum()),
        absent=tuple(name for part in parts for name in part.absent),
    )


def _score(rows: _Rows, model: LoadedModel, offline: Offline | None) -> tuple[Columns, Scored]:
    """The joined features by the binding's policies, and the answers; refused rows have features too."""
    joined: dict[str, Array] = {}

    def read(views: Sequence[FeatureViewBinding], keys: Columns) -> dict[str, Array]:
        if offline is None:
            raise ConfigError("feature_store: the model reads features; say where their store is")
        try:
            found = offline.features.read(views, keys, rows.moments)
        except TaxiwayError:
            raise
        except Exception as error:  # each store has errors of its own
            names = ", ".join(view.name for view in views)
            raise JobError(f"the features of {names} can't be joined: {type(error).__name__}: {error}") from error
        joined.update(apply_policies(views, found, keys)[0])
        return found

    package = model.package
    try:
        return joined, score(rows.sent, package.signature, package.features, read, model.predictor)
    except InvalidInput as error:
        raise ConfigError(
            f"predictions: the log has no input.{error.field}, and nothing can be scored without it; a field that is "
            "dropped (predictions.fields) can't be replayed"
        ) from error


def _features(
    rows: _Rows, binding: FeatureBinding | None, joined: Columns, offline: Offline | None, tolerance: float
) -> tuple[ColumnSkew, ...]:
    return tuple(
        _feature(Served(name, rows.served[name], rows.moments, rows.sent), view, joined[name], offline, tolerance)
        for view in (binding.views if binding else ())
        for name in view.columns
        if name in rows.served and name in joined
    )


def _feature(
    served: Served, view: FeatureViewBinding, right: Array, offline: Offline | None, tolerance: float
) -> ColumnSkew:
    compared = compare(served.column, served.values, right, tolerance, view.defaults.get(served.column))
    odd = compared.differs & compared.online
    if offline is None or not odd.any():
        return compared.skew()
    return compared.skew(offline.histories.stale(view, served.take(odd)))


def _refused(scored: Scored) -> dict[str, int]:
    """Of a row the first reject counts."""
    codes: dict[int, str] = {}
    for reject in scored.rejects:
        for row in reject.rows.tolist():
            codes.setdefault(row, str(reject.code))
    return dict(Counter(codes.values()))

"""`python -m examples.flights.moving`: does retraining pay? A champion of May, and each month a fresh challenger.

Every month from June on is answered by a model that has learned the year until May, and by one that has learned
until the month begins: what a nightly retraining would have had.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from matplotlib.figure import Figure

from examples.flights.quickstart import RETRAIN_FILE
from retrain.compare import Comparison, Estimate, compare
from retrain.dataset import Dataset
from retrain.features import join_features, open_features
from retrain.labels import read_labels
from retrain.model import Layout, layout, one_thread
from retrain.settings import RetrainSettings, WindowSettings, load_retraining
from retrain.trainers.choice import open_trainer
from retrain.trainers.contract import FittedModel, Trainer
from taxiway.errors import TaxiwayError
from taxiway.settings import home
from taxiway.signature import Array

ITERATIONS = 100
_MONTHS = range(6, 13)
_NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True)
class Month:
    """How the champion and a challenger that has learned until its first day answer one month."""

    begin: datetime
    learned: int
    comparison: Comparison


def main() -> int:
    try:
        months = moved(load_retraining(RETRAIN_FILE, datetime.now(UTC)))
    except TaxiwayError as error:
        print(f"moving: {error}", file=sys.stderr)
        return 1
    print(table(months))
    path = home() / "flights" / "moving.png"
    picture(months).savefig(path)
    print(f"\n{path}")
    return 0


def moved(settings: RetrainSettings) -> list[Month]:
    """One month after the other, with the search's first parameters: only what was learned from differs."""
    begin = settings.train.start
    whole = settings.model_copy(
        update={
            "train": WindowSettings(start=begin, end=_first(6)),
            "evaluate": WindowSettings(start=_first(6), end=_first(13)),
        }
    )
    binding, history = open_features(whole)
    read = read_labels(whole, datetime.now(UTC))
    examples, _ = join_features(read.examples, binding, history)
    matrix, trainer = layout(settings.inputs, binding.columns if binding else ()), open_trainer(settings.trainer)
    champion = _fitted(trainer, examples.between(begin, _first(6)), matrix, settings)
    found = []
    for month in _MONTHS:
        known, asked = examples.between(begin, _first(month)), examples.between(_first(month), _first(month + 1))
        challenger = champion if month == _MONTHS[0] else _fitted(trainer, known, matrix, settings)
        with one_thread():
            fresh, stale = (model.predict(_columns(model, asked)) for model in (challenger, champion))
        comparison = compare(asked.labels, fresh, stale, {}, seed=settings.search.seed)
        found.append(Month(_first(month), len(known), comparison))
    return found


def _fitted(trainer: Trainer, known: Dataset, matrix: Layout, settings: RetrainSettings) -> FittedModel:
    return trainer.final(known, matrix, trainer.space().defaults, ITERATIONS, settings.search.seed)


def _columns(model: FittedModel, asked: Dataset) -> dict[str, Array]:
    return {column.name: asked.columns[column.name] for column in model.inputs}


def _first(month: int) -> datetime:
    """Midnight in New York on the first day of a month of 2013; 13 is January 2014."""
    year, within = (2014, 1) if month == 13 else (2013, month)
    return datetime(year, within, 1, tzinfo=_NEW_YORK)


def table(months: Sequence[Month]) -> str:
    head = ("month", "rows", "learned from", "AUC", "champion's", "difference (95%)", "AP", "champion's")
    rows = [head]
    for month in months:
        auc, precision = month.comparison.auc, month.comparison.average_precision
        rows.append(
            (
                f"{month.begin:%Y-%m}",
                f"{month.comparison.challenger.rows:,}",
                f"{month.learned:,}",
                f"{auc.challenger.value:.4f}",
                _value(auc.champion),
                _difference(auc.difference),
                f"{precision.challenger.value:.4f}",
                _value(precision.champion),
            )
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _value(estimate: Estimate | None) -> str:
    return f"{estimate.value:.4f}" if estimate else ""


def _difference(estimate: Estimate | None) -> str:
    return f"{estimate.value:+.4f} ({estimate.low:+.4f} to {estimate.high:+.4f})" if estimate else ""


def picture(months: Sequence[Month]) -> Figure:
    """The two AUCs over the months, and their difference with its interval."""
    figure = Figure(figsize=(7, 6), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    names = [f"{month.begin:%b}" for month in months]
    metrics = [month.comparison.auc for month in months]
    above.plot(names, [it.challenger.value for it in metrics], marker="o", color="#1f5fa8", label="retrained")
    beside = [it.champion.value if it.champion else np.nan for it in metrics]
    above.plot(names, beside, marker="o", color="#8a8a8a", label="learned until May")
    above.set(ylabel="AUC", title="Flights of 2013: a fresh model each month, and one that stays")
    above.legend(frameon=False)
    known = [(name, it.difference) for name, it in zip(names, metrics, strict=True) if it.difference]
    middle = np.array([it.value for _, it in known])
    reach = np.array([[it.value - it.low, it.high - it.value] for _, it in known]).T
    below.axhline(0, color="#8a8a8a", linewidth=1)
    below.errorbar([name for name, _ in known], middle, yerr=reach, fmt="o", capsize=3, color="#1f5fa8")
    below.set(ylabel="difference of AUC, 95%")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    sys.exit(main())

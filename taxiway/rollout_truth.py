"""What ground truth says of both versions of a rollout: figures for people, of the rows whose truth is known."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from taxiway.predictions.join import label_window
from taxiway.predictions.losses import Versions, answers_of, label_numbers, records_of, wrong
from taxiway.rollout.observations import Counts
from taxiway.rollout.plan import QualitySettings
from taxiway.rollout.quality import BinaryQuality, RegressionQuality
from taxiway.rollout.state import RolloutState

_COLUMNS = ("variant", "version", "kind", "output.*")

Quality = BinaryQuality | RegressionQuality | Counts
"""Of two classes, of numbers, of several classes: there, how many answers were right."""


@dataclass(frozen=True)
class Compared:
    """Both versions on rows of one kind."""

    champion: Quality
    challenger: Quality


@dataclass(frozen=True)
class Truth:
    """Answers of a rollout's time beside what proved true.

    Args:
        live: each version's own live answers; they are of different requests.
        paired: the champion's live answers and the challenger's copies of the same rows.
        labels: as `predictions.join.Labelled` has them, likewise `corrections` and `unmatched`.
    """

    live: Compared
    paired: Compared
    labels: int
    corrections: int
    unmatched: int


def read_truth(location: str, state: RolloutState, until: datetime) -> Truth | None:
    """What is known by `until`; None where the plan judges no quality, or no row has a label.

    Raises:
        ConfigError: the output that is judged is not in the log, or the location is of no known kind.
        OSError: the log can't be read.
    """
    settings, plan = state.plan.checks.quality, state.plan
    if settings is None:
        return None
    found = label_window(location, state.endpoint, state.began, state.ended or until, until, _COLUMNS)
    versions = Versions((plan.champion, state.champion_version), (plan.challenger, state.challenger_version))
    if not found.table.num_rows:
        return None
    live, paired = truth_of(found.table, settings, versions)
    return Truth(live, paired, found.labels, found.corrections, found.unmatched)


def truth_of(table: pa.Table, settings: QualitySettings, versions: Versions) -> tuple[Compared, Compared]:
    """Of labelled predictions: live answers, and pairs of answers to the same rows.

    Raises:
        ConfigError: the output that is judged is not there.
    """
    answers_of(table, settings.output)  # raises when the output can't be told, also where no row is of these versions
    champion, challenger = (records_of(table, *who, "live") for who in (versions.champion, versions.challenger))
    one, other = _pairs(champion, records_of(table, *versions.challenger, "shadow"))
    live = Compared(_quality(champion, settings), _quality(challenger, settings))
    return live, Compared(_quality(one, settings), _quality(other, settings))


def figures(quality: Quality) -> dict[str, float]:
    """What a person asks of it, by name; what is not known yet is not there. `rows` comes first."""
    found: dict[str, float | None]
    if isinstance(quality, BinaryQuality):
        found = {
            "rows": quality.n,
            "AUC": quality.auc(),
            "log loss": quality.log_loss.mean,
            "Brier score": quality.brier.mean,
            "calibration error": quality.calibration_error(),
            "mean prediction": quality.predicted.mean,
            "label 1": quality.positives.rate,
        }
    elif isinstance(quality, RegressionQuality):
        found = {
            "rows": quality.squared.n,
            "mean squared error": quality.squared.mean,
            "mean absolute error": quality.absolute.mean,
            "mean error": quality.error.mean,
        }
    else:
        found = {"rows": quality.n, "right answers": quality.rate}
    return {name: value for name, value in found.items() if value is not None}


def truth_lines(truth: Truth, state: RolloutState) -> Iterator[str]:
    """For a terminal."""
    for name, compared in (("live answers", truth.live), ("the same rows", truth.paired)):
        sides = ((state.champion_version, compared.champion), (state.challenger_version, compared.challenger))
        for version, quality in sides:
            known = figures(quality)
            if known["rows"]:
                told = ", ".join(f"{what} {value:.4f}" for what, value in known.items() if what != "rows")
                yield f"{name}, version {version}: {told} ({int(known['rows']):,} rows with ground truth)"


def _pairs(one: pa.Table, other: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows that both have, in one order."""
    keys = ["prediction_id", "row"]
    named = [
        table.select(keys).append_column(name, pa.array(np.arange(table.num_rows)))
        for table, name in ((one, "first"), (other, "second"))
    ]
    joined = named[0].join(named[1], keys, join_type="inner")
    return one.take(joined["first"]), other.take(joined["second"])


def _quality(table: pa.Table, settings: QualitySettings) -> Quality:
    answers = answers_of(table, settings.output)
    if settings.task == "classes":
        known = wrong(table, answers)
        known = known[np.isfinite(known)]
        return Counts(len(known), len(known) - int(known.sum()))
    labels, numbers = label_numbers(table), np.asarray(answers.to_numpy(zero_copy_only=False), np.float64)
    if settings.task == "binary":
        usable = np.isin(labels, (0.0, 1.0)) & (numbers >= 0) & (numbers <= 1)
        return BinaryQuality.of(labels[usable], numbers[usable])
    usable = np.isfinite(labels) & np.isfinite(numbers)
    return RegressionQuality.of(labels[usable], numbers[usable])
